"""``python -m podwall``."""

from podwall.cli.main import entry

entry()
