"""An explanation on its own, with its texts in place, for a page that asks for one."""

from __future__ import annotations

from podwall.explain.explanation import Explanation
from podwall.page.content import Part
from podwall.page.telling import Keeper


def plain(explanation: Explanation) -> dict[str, object]:
    """An explanation in the form that pages carry, with texts instead of their numbers."""
    keeper = Keeper()
    told = keeper.keep(explanation)
    texts = keeper.texts.all

    def part(each: Part) -> dict[str, object]:
        return {
            "head": texts[each.head],
            "allowed": each.allowed,
            "lines": [[texts[line.text], line.depth, line.tone] for line in each.lines],
        }

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
