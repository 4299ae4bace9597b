"""How explanations and matrices look on a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from podwall.explain.explanation import Explanation, hook_story, judged_end
from podwall.explain.matrix import OWN_ADDRESS, ReachCell, ReachMatrix
from podwall.policy.decision import DirectionDecision
from podwall.ruleset.ir import Drop, Goto, IPSet, Jump, Reject, Return, Rule
from podwall.ruleset.journey import StopTrace

_STYLE = {True: "green", False: "bold red"}
_SHOWN_MEMBERS = 4
_LONGEST_CELL = 28
_MOST_COLUMNS = 12


def show_explanation(console: Console, explanation: Explanation) -> None:
    """Print one explanation: the verdict, each direction, and the way through the rules."""
    decision = explanation.decision
    console.print(
        Text.assemble(
            f"{explanation.source.title} → {explanation.target.title} {explanation.service}: ",
            (decision.verdict.value.upper(), _STYLE[decision.allowed]),
            f"   ({decision.flow.src} → {decision.flow.dst})",
        )
    )
    deciding = explanation.deciding
    if deciding is not None:
        console.print(f"  decided by the {deciding.direction.value} of {_who(deciding)}")
    if not explanation.agrees:
        console.print(
            Text(
                "  the rules give another verdict than the policies: this is a defect of podwall, "
                "please report it",
                style="bold red",
            )
        )
    for direction in decision.directions:
        console.print()
        _show_direction(console, direction)
    if explanation.journey.stops:
        console.print("\nThe way through the kernel:")
        for stop in explanation.journey.stops:
            _show_stop(console, explanation, stop)
    else:
        console.print("\nNo node of the cluster judges this traffic.")


def _who(direction: DirectionDecision) -> str:
    return str(direction.subject) if direction.subject else judged_end(direction.direction)


def _show_direction(console: Console, direction: DirectionDecision) -> None:
    console.print(
        Text.assemble(
            (f"{direction.direction.value.capitalize()}", "bold"),
            f" of {_who(direction)}: ",
            (direction.verdict.value, _STYLE[direction.allowed]),
        )
    )
    if direction.isolated_by:
        console.print(f"  isolated by {', '.join(map(str, direction.isolated_by))}")
    if direction.exemption is not None:
        console.print(f"  {direction.exemption.value}")
    if direction.allowed_by is not None:
        console.print(f"  allowed by {direction.allowed_by}")
    for refusal in direction.refusals:
        if not refusal.rules:
            console.print(f"  {refusal}")
        for rule in refusal.rules:
            console.print(f"  {rule.rule} does not allow it:")
            reasons = [*map(str, rule.peers), *map(str, rule.ports)]
            for reason in reasons or ["nothing in it could be understood (S10)"]:
                console.print(f"    {reason}")
        if refusal.rules and refusal.problems:
            for problem in refusal.problems:
                console.print(f"  not understood: {problem}")


def _show_stop(console: Console, explanation: Explanation, stop: StopTrace) -> None:
    story = hook_story(stop.stop.hook, stop.stop.node)
    console.print(
        Text.assemble(
            f"  {story} ({stop.stop.hook.value}): ",
            (stop.trace.verdict.value, _STYLE[stop.trace.verdict.value == "allowed"]),
        )
    )
    skipped: dict[str, int] = {}
    for step in stop.trace.steps:
        if not step.matched:
            skipped[step.chain] = skipped.get(step.chain, 0) + 1
            continue
        text = f"    {step.chain} rule {step.index + 1}: {_target(step.rule)}"
        console.print(Text(text + (f"   # {step.rule.comment}" if step.rule.comment else "")))
    for ipset in explanation.sets_of(stop):
        console.print(Text(f"    set {_set_text(ipset)}", style="dim"))


def _target(rule: Rule) -> str:
    match rule.target:
        case Jump(chain):
            return f"on to {chain}"
        case Goto(chain):
            return f"on to {chain} for good"
        case Return():
            return "goes back: nothing against it here"
        case Drop():
            return "dropped"
        case Reject():
            return "rejected"


def _set_text(ipset: IPSet) -> str:
    members = [str(getattr(each, "cidr", each)) for each in sorted(ipset.members)]
    shown = ", ".join(members[:_SHOWN_MEMBERS])
    more = f" and {len(members) - _SHOWN_MEMBERS} more" if len(members) > _SHOWN_MEMBERS else ""
    return f"{ipset.name} ({ipset.type.value}, {len(members)} members): {shown}{more}"


def show_matrix(console: Console, matrix: ReachMatrix) -> None:
    """Print a matrix as one grid for each family, or as a list where a grid would not fit."""
    for family in matrix.families:
        cells = {(c.source, c.target): c for c in matrix.cells if c.family is family}
        console.print(f"IPv{family.value}: rows reach columns on the ports in the cell")
        names = [
            party.title
            for party in matrix.parties
            if any(end.address(family) for end in party.ends)
        ]
        if len(names) <= _MOST_COLUMNS:
            console.print(_grid(names, cells))
        else:
            _show_list(console, names, cells)
    console.print(
        Text("all: everything; -: nothing; a | b: depends on the pod; self: one pod", style="dim")
    )


def _grid(names: list[str], cells: dict[tuple[str, str], ReachCell]) -> Table:
    table = Table(show_lines=False, header_style="bold")
    table.add_column("from \\ to", no_wrap=True)
    for name in names:
        table.add_column(name, overflow="fold", min_width=6)
    for source in names:
        row = [Text(source)]
        for target in names:
            row.append(_styled(cells.get((source, target))))
        table.add_row(*row)
    return table


def _styled(cell: ReachCell | None) -> Text:
    if cell is None:
        return Text("")
    text = str(cell)
    if text == OWN_ADDRESS:
        return Text(text, style="dim")
    if text == "-":
        return Text(text, style="red")
    return Text(text, style="green" if text == "all" else "yellow")


def _show_list(console: Console, names: list[str], cells: dict[tuple[str, str], ReachCell]) -> None:
    """One paragraph a target: who reaches it, those with equal answers on one line."""
    for target in names:
        answers: dict[str, list[str]] = {}
        for source in names:
            cell = cells.get((source, target))
            if cell is not None and str(cell) != OWN_ADDRESS:
                answers.setdefault(str(cell), []).append(source)
        if not answers:
            continue
        console.print(Text(f"to {target}", style="bold"))
        for answer, sources in sorted(answers.items(), key=lambda each: len(each[1])):
            style = {"-": "red", "all": "green"}.get(answer, "yellow")
            console.print(Text.assemble("  ", (answer, style), f": from {_listed(sources)}"))


def _listed(names: list[str]) -> str:
    if len(names) <= _MOST_COLUMNS:
        return ", ".join(names)
    return f"{', '.join(names[:_MOST_COLUMNS])} and {len(names) - _MOST_COLUMNS} more"


def matrix_csv(matrix: ReachMatrix) -> str:
    """The matrix as comma-separated values, one line for each cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("from", "to", "family", "reach"))
    writer.writerows(_csv_rows(matrix))
    return text.getvalue()


def _csv_rows(matrix: ReachMatrix) -> Iterator[tuple[str, ...]]:
    for cell in matrix.cells:
        yield (_plain(cell.source), _plain(cell.target), f"ipv{cell.family.value}", str(cell))


def _plain(text: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in "=+-@\t\r" else text
