"""A whole ruleset as the text that the tools take, for reading and for diffing in review.

Loaded into an empty kernel, sets first and then rules, the text is what ``podwall apply`` would
have made of it. It is the same to the byte for equal input. Lines that start with ``#`` say in
words what a set or chain is for; the tools skip them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from podwall.dataplane.ipset.render import render_set_step
from podwall.dataplane.iptables.render import render_chain_step
from podwall.model.net import Family
from podwall.ruleset.comments import safe_comment
from podwall.ruleset.diff import diff
from podwall.ruleset.ir import Chain, Ruleset
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
                notes = {chain.name: _chain_notes(chain) for chain in step.replace}
                texts[step.family] += _with_notes(render_chain_step(step), notes)
            case SetStep():
                notes = {each.name: [each.title] for each in step.create}
                sets += _with_notes(render_set_step(step), notes)
    return RulesetText(sets, texts[Family.V4], texts[Family.V6])


def _chain_notes(chain: Chain) -> list[str]:
    """What to say before each rule of a chain; the chain's title goes before the first."""
    notes = [chain.notes.get(index, "") for index in range(len(chain.rules))]
    notes[:1] = ["\n".join(filter(None, (chain.title, *notes[:1])))]
    return notes


def _with_notes(text: str, notes: Mapping[str, Sequence[str]]) -> str:
    """Put a line in words before the lines about a set or chain that have a note."""
    return "".join(f"{line}\n" for line in _noted(text, notes))


def _noted(text: str, notes: Mapping[str, Sequence[str]]) -> Iterator[str]:
    met: Counter[str] = Counter()
    for line in text.splitlines():
        words = line.split(" ")
        if words[0] in ("create", "-A") and len(words) > 1:
            mine = notes.get(words[1], ())
            index = met[words[1]]
            met[words[1]] += 1
            if index < len(mine) and mine[index]:
                yield from (f"# {safe_comment(each)}" for each in mine[index].split("\n"))
        yield line
