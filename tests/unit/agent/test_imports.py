"""An agent lives long, on every node: what it imports is memory in all of them."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys
from podwall.cli.main import build_parser
build_parser(["agent"])
import podwall.agent.run
print(*sorted({each.partition(".")[0] for each in sys.modules} | set(sys.modules)))
"""


def test_an_agent_imports_neither_what_prints_nor_what_reads_kubeconfigs_nor_the_lab() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    imported = set(done.stdout.split())
    assert "podwall.agent.reconcile.reconciler" in imported
    assert imported.isdisjoint(
        {
            *("rich", "yaml", "kubernetes_asyncio", "podwall.cli.output", "podwall.manifest"),
            *("podwall.lab", "podwall.api"),
        }
    )
