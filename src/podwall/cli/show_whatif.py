"""How ``podwall whatif`` shows what a change does on a terminal: opens first, alike together."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from podwall.api import Outcome
from podwall.cli.cuts import Cuts
from podwall.model.net import Family
from podwall.whatif.bundles import bundled
from podwall.whatif.outcome import Shift, Turn
from podwall.whatif.words import (
    counted,
    families_of,
    family_text,
    headline,
    shown,
    what_text,
)

_MOST_PODS = 10
_MOST_CUTS = 50


def show_outcome(console: Console, outcome: Outcome) -> None:
    """Print what opens, what closes, and what pods that come or go have to do with it."""
    families = families_of(outcome)
    console.print(Text(headline(outcome), style="bold"))
    _show(console, "opens", outcome.opens, families)
    _show(console, "closes", outcome.closes, families)
    sections = (
        ("comes", outcome.comes, outcome.arrivals),
        ("goes", outcome.goes, outcome.departures),
    )
    for word, pods, shifts in sections:
        if pods:
            console.print()
            names = ", ".join(shown(list(map(str, pods)), _MOST_PODS))
            console.print(Text(f"{word} with the change: {counted(len(pods), 'pod')}, {names}"))
            if not shifts:
                console.print(Text("  as the other pods of their workloads", style="dim"))
            title = "what opens with them" if word == "comes" else "what closes with them"
            _show(console, title, shifts, families)


def _show(
    console: Console, title: str, shifts: Sequence[Shift], families: Sequence[Family]
) -> None:
    if not shifts:
        return
    console.print()
    console.print(Text(title, style="bold"))
    sign, style = ("+", "green") if shifts[0].turn is Turn.OPENS else ("-", "red")
    for bundle in bundled(shifts):
        family = family_text(bundle, families)
        what = what_text(bundle) + (f", {family} only" if family else "")
        ends = f"{', '.join(shown(bundle.sources))} → {', '.join(shown(bundle.targets))}"
        console.print(Text.assemble((f"  {sign} ", style), ends, "  ", (what, style)))
        for cause in bundle.causes:
            console.print(Text(f"      {cause}", style="dim"))


def show_cuts(console: Console, cuts: Cuts) -> None:
    """Print which established connections would be cut."""
    total = sum(each.count for each in cuts.cuts)
    of = counted(cuts.connections, "connection")
    where = f"{of} of pods that policies are about, on {', '.join(shown(cuts.nodes))}"
    console.print()
    if not cuts.cuts:
        console.print(Text(f"cuts none of {where}", style="bold"))
        return
    verb = "denies, but would not cut (a switch),"
    console.print(Text(f"{verb if cuts.kept else 'cuts'} {total} of {where}", style="bold"))
    for each in cuts.cuts[:_MOST_CUTS]:
        times = f"  ({each.count})" if each.count > 1 else ""
        text = f"{each.source} → {each.target} {each.service}{times}"
        console.print(Text.assemble(("  x ", "red"), text, (f"  {each.node}", "dim")))
    if len(cuts.cuts) > _MOST_CUTS:
        console.print(Text(f"  and {len(cuts.cuts) - _MOST_CUTS} more", style="dim"))
