"""``podwall completion``: scripts for the shells that shtab knows."""

from __future__ import annotations

import argparse
import sys

from podwall.cli.output import Status
from podwall.errors import InputError

SHELLS = ("bash", "zsh", "tcsh")


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall completion``."""
    parser.add_argument("shell", choices=SHELLS)


def run(args: argparse.Namespace) -> Status:
    """Print the completion script of a shell."""
    try:
        import shtab  # noqa: PLC0415 - an extra that only this command needs
    except ImportError:
        raise InputError(
            "completion needs the Python package shtab: pip install 'podwall[completion]'"
        ) from None
    from podwall.cli.main import build_parser  # noqa: PLC0415 - main imports this module

    parser = build_parser()
    sys.stdout.write(shtab.complete(parser, shell=args.shell) + "\n")
    return Status.OK
