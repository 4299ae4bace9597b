"""An explanation on its own, with its texts in place, for a page that asks for one."""

from __future__ import annotations

from podwall.explain.explanation import Explanation
from podwall.explain.story import Tone
from podwall.page.content import Text
from podwall.page.telling import Keeper


def plain(explanation: Explanation) -> dict[str, object]:
    """An explanation in the form that pages carry, with texts instead of their numbers."""
    keeper = Keeper()
    told = keeper.keep(explanation)
    texts, parts = keeper.texts.all, keeper.parts.all

    def line(each: int | Text) -> list[object]:
        if isinstance(each, int):
            return [texts[each], 0, Tone.PLAIN.value]
        return [texts[each.text], each.depth, each.tone]

    def part(number: int) -> dict[str, object]:
        each = parts[number]
        lines = [line(one) for one in each.lines]
        return {"head": texts[each.head], "allowed": each.allowed, "lines": lines}

    return {
        "source": texts[told.source],
        "target": texts[told.target],
        "service": texts[told.service],
        "addresses": texts[told.addresses],
        "allowed": told.allowed,
        "agrees": told.agrees,
        "directions": [part(each) for each in told.directions],
        "stops": [part(each) for each in told.stops],
    }
