"""A whole ruleset as the text that the tools take, for reading and for diffing in review.

Loaded into an empty kernel, sets first and then rules, the text is what ``podwall apply`` would
have made of it. It is the same to the byte for equal input. Lines that start with ``#`` say in
words what a set or chain is for; the tools skip them.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from podwall.dataplane.ipset.render import render_set_step
from podwall.dataplane.iptables.render import render_chain_step
from podwall.model.net import Family
from podwall.ruleset.comments import safe_comment
from podwall.ruleset.diff import diff
from podwall.ruleset.ir import Ruleset
from podwall.ruleset.plan import ChainStep, Observed, SetStep


class RulesetText(msgspec.Struct, frozen=True):
    """The input of ``ipset restore``, ``iptables-restore`` and ``ip6tables-restore``.

    The last two want ``--noflush``.
    """

    ipset: str
    iptables: str
    ip6tables: str

    @property
    def files(self) -> dict[str, str]:
        """The texts by the name of the file to keep them in."""
        return {
            "ipset.restore": self.ipset,
            "iptables.restore": self.iptables,
            "ip6tables.restore": self.ip6tables,
        }


def render_ruleset(ruleset: Ruleset) -> RulesetText:
    """Everything of ``ruleset``, as an apply to an empty kernel would send it."""
    texts = {Family.V4: "", Family.V6: ""}
    sets = ""
    for step in diff(Observed(), ruleset).steps:
        match step:
            case ChainStep():
                texts[step.family] += _with_titles(
                    render_chain_step(step), {each.name: each.title for each in step.replace}
                )
            case SetStep():
                titles = {each.name: each.title for each in step.create}
                sets += _with_titles(render_set_step(step), titles)
    return RulesetText(sets, texts[Family.V4], texts[Family.V6])


def _with_titles(text: str, titles: dict[str, str]) -> str:
    """Put a line in words before the first line about each set or chain that has a title."""
    return "".join(f"{line}\n" for line in _titled(text, dict(titles)))


def _titled(text: str, titles: dict[str, str]) -> Iterator[str]:
    for line in text.splitlines():
        words = line.split(" ")
        if words[0] in ("create", "-A") and len(words) > 1:
            title = titles.pop(words[1], "")
            if title:
                yield f"# {safe_comment(title)}"
        yield line
