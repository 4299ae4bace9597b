"""An outcome in words: what text and review comments have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from podwall.explain.reach import in_words
from podwall.model.net import Family
from podwall.whatif.bundles import Bundle
from podwall.whatif.outcome import Outcome, Shift

MOST_NAMES = 6
"""How many names of one list are shown."""


def counted(number: int, noun: str) -> str:
    """``1 pod``, ``2 pods``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def pair_count(shifts: Iterable[Shift]) -> int:
    """Between how many pairs of parties something shifts."""
    return len({(each.source, each.target) for each in shifts})


def headline(outcome: Outcome) -> str:
    """How much opens and closes, in one sentence."""
    opens, closes = pair_count(outcome.opens), pair_count(outcome.closes)
    between = f"{counted(outcome.pairs, 'pair')} of workloads, nodes and hosts"
    if not opens and not closes:
        return f"The change neither opens nor closes a connection between {between}."
    parts = [
        f"{number} {verb if number == 1 else plural}"
        for number, verb, plural in ((opens, "opens", "open"), (closes, "closes", "close"))
        if number
    ]
    left = "stays as it is" if outcome.unchanged == 1 else "stay as they are"
    return f"Of {between} {', '.join(parts)}, {outcome.unchanged} {left}."


def what_text(bundle: Bundle) -> str:
    """Ports, and whether that is so for some pods or in one family only."""
    text = in_words(bundle.what)
    if bundle.pairs < bundle.of:
        text += f" (for {bundle.pairs} of {counted(bundle.of, 'pair')} of pods)"
    if bundle.not_itself:
        everyone = len(bundle.not_itself) == len(set(bundle.sources) & set(bundle.targets))
        text += ", not to themselves" if everyone else ", some not to themselves"
    return text


def family_text(bundle: Bundle, families: Sequence[Family]) -> str:
    """``IPv6``, if that is not so in all families of the cluster."""
    if set(bundle.families) >= set(families):
        return ""
    return " and ".join(f"IPv{each.value}" for each in bundle.families)


def families_of(outcome: Outcome) -> tuple[Family, ...]:
    """The families that anything is said about."""
    shifts = (*outcome.opens, *outcome.closes, *outcome.arrivals, *outcome.departures)
    return tuple(sorted({family for each in shifts for family in each.families}))


def shown(names: Sequence[str], most: int = MOST_NAMES) -> list[str]:
    """The names, or the first of them and how many more there are."""
    if len(names) <= most + 1:
        return list(names)
    return [*names[:most], f"{len(names) - most} more"]
