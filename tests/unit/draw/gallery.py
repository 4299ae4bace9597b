"""All pictures of a cluster, and clusters worth a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from podwall.cluster.snapshot import Snapshot
from podwall.draw import Picture, chains_picture, policy_picture, translation_picture
from podwall.model.net import Family
from podwall.model.settings import Settings
from podwall.ruleset.compile import compile_node

ROOT = Path(__file__).parents[3]
EXAMPLES = [
    *(ROOT / "examples" / each for each in ("test-network-policy", "shop")),
    *sorted(path.parent for path in (ROOT / "tests" / "golden").glob("*/cluster.yaml")),
]


def pictures_of(
    snapshot: Snapshot, settings: Settings = Settings(), most: int = 20, nodes: int = 1
) -> Iterator[Picture]:
    """Of all policies together, of each, of what became of each, and of the chains."""
    keys = list(snapshot.policies)[:most]
    if keys:
        yield policy_picture(snapshot, list(snapshot.policies))
    for key in keys:
        yield policy_picture(snapshot, [key])
    for node in list(snapshot.nodes)[:nodes]:
        ruleset = compile_node(snapshot, node, settings)
        for key in keys:
            yield translation_picture(snapshot, ruleset, key, where=node)
        for family in Family:
            yield chains_picture(ruleset, family=family, where=node)


HOSTILE = (
    "<script>alert(1)</script>",
    "]]><script>",
    "--><svg onload=x>",
    "a&b;&lt;",
    "\"'`{}[]()|#;:",
    "\u202egnp.exe",
    "a\x00b\x1b[31mc\u2028d",
    "\ud800",
    "%s{0}$(reboot)",
    "\\N\\l\\",
    "e\u0301\u0301\u0301\u0301",
    "漢字" * 30,
    "W" * 300,
)
"""Names that no API server takes, and that a file may hold all the same."""
