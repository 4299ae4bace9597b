"""How explanations and matrices look on a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from podwall.explain.explanation import Explanation, Grant, hook_story, judged_end
from podwall.explain.grouping import Grid, group
from podwall.explain.matrix import ReachMatrix
from podwall.policy.decision import DirectionDecision, PolicyRefusal
from podwall.ruleset.ir import (
    AddressPort,
    AddToSet,
    ChainRole,
    Drop,
    Goto,
    IPSet,
    Jump,
    Log,
    Match,
    MatchPorts,
    MatchProtocol,
    MatchSet,
    Member,
    Net,
    Reject,
    Return,
    Rule,
)
from podwall.ruleset.journey import StopTrace

_STYLE = {True: "green", False: "bold red"}
_SHOWN_MEMBERS = 4
_NAME_WIDTH = 44
_MOST_COLUMNS = 6
_MOST_NAMES = 12


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
        _show_direction(console, direction, explanation.grant(direction))
    if explanation.journey.stops:
        console.print("\nThe way through the kernel:")
        for stop in explanation.journey.stops:
            _show_stop(console, explanation, stop)
    else:
        console.print("\nNo node of the cluster judges this traffic.")


def _who(direction: DirectionDecision) -> str:
    return str(direction.subject) if direction.subject else judged_end(direction.direction)


def _show_direction(console: Console, direction: DirectionDecision, grant: Grant | None) -> None:
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
        if grant is not None:
            console.print(f"    {grant.peer}; {grant.port}")
    _show_refusals(console, direction.refusals, "  ")
    if direction.audited_by:
        _show_audit(console, direction)


def _show_audit(console: Console, direction: DirectionDecision) -> None:
    """What policies that are only audited would make of it."""
    console.print(f"  audited by {', '.join(map(str, direction.audited_by))}")
    audit = direction.audit
    if audit is None:
        return
    if direction.would_deny:
        console.print(Text("  would be denied if enforced:", style="yellow"))
        _show_refusals(console, audit.refusals, "    ")
    elif audit.allowed_by is not None and audit.allowed_by.policy in direction.audited_by:
        console.print(f"  would be allowed by {audit.allowed_by} if enforced")


def _show_refusals(console: Console, refusals: Sequence[PolicyRefusal], margin: str) -> None:
    for refusal in refusals:
        if not refusal.rules:
            console.print("\n".join(f"{margin}{line}" for line in str(refusal).splitlines()))
        for rule in refusal.rules:
            console.print(f"{margin}{rule.rule} does not allow it:")
            reasons = [*map(str, rule.peers), *map(str, rule.ports)]
            for reason in reasons or ["nothing in it could be understood (S10)"]:
                console.print(f"{margin}  {reason}")
        if refusal.rules and refusal.problems:
            for problem in refusal.problems:
                console.print(f"{margin}not understood: {problem}")


def _show_stop(console: Console, explanation: Explanation, stop: StopTrace) -> None:
    story = hook_story(stop.stop.hook, stop.stop.node)
    console.print(
        Text.assemble(
            f"  {story} ({stop.stop.hook.value}): ",
            (stop.trace.verdict.value, _STYLE[stop.trace.verdict.value == "allowed"]),
        )
    )
    rules = explanation.rulesets[stop.stop.node].family(explanation.decision.flow.src.family)
    for step in stop.trace.steps:
        note = step.rule.comment or rules.chains[step.chain].notes.get(step.index, "")
        comment = f"   # {note}" if note else ""
        if step.failed is None:
            where = f"    {step.chain} rule {step.index + 1}: "
            console.print(Text(f"{where}{_target(step.rule)}{comment}"))
        elif rules.chains[step.chain].role is ChainRole.PROFILE:
            where = f"    {step.chain} rule {step.index + 1}: "
            console.print(Text(f"{where}no, {_failure(step.failed)}{comment}", style="dim"))
    for ipset, holds in explanation.sets_of(stop):
        answer = "holds it" if holds else "does not hold it"
        console.print(Text(f"    set {_set_text(ipset)}: {answer}", style="dim"))


def _failure(match: Match) -> str:
    """Why a rule of a profile does not match, in words."""
    match match:
        case MatchSet(name, ends):
            return f"{','.join(end.value for end in ends)} is not in {name}"
        case MatchProtocol(protocol):
            return f"it is not {protocol.name}"
        case MatchPorts(ports):
            return f"the port is not in {','.join(map(str, ports))}"
        case _:
            return f"{type(match).__name__} does not hold"


def _target(rule: Rule) -> str:
    match rule.target:
        case Jump(chain):
            return f"calls {chain}"
        case Goto(chain):
            return f"goes to {chain}"
        case Return():
            return "goes back: nothing against it here"
        case Drop():
            return "dropped"
        case Reject():
            return "rejected"
        case Log(kind, group):
            return f"told to who listens to NFLOG group {group}, as {kind.value}"
        case AddToSet(name):
            return f"its flow is noted in {name}, to be told of once"


def _set_text(ipset: IPSet) -> str:
    members = [_member_text(each) for each in sorted(ipset.members)]
    shown = ", ".join(members[:_SHOWN_MEMBERS])
    more = f" and {len(members) - _SHOWN_MEMBERS} more" if len(members) > _SHOWN_MEMBERS else ""
    return f"{ipset.name} ({ipset.type.value}, {len(members)} members): {shown}{more}"


def _member_text(member: Member) -> str:
    match member:
        case Net(cidr, nomatch):
            return f"{cidr} nomatch" if nomatch else str(cidr)
        case AddressPort(address, protocol, port):
            return f"{address} {port}/{protocol.name.lower()}"
        case _:
            return str(member)


def show_matrix(console: Console, matrix: ReachMatrix) -> None:
    """Print a matrix as one grid for each family; equal rows and columns are put together."""
    for index, family in enumerate(matrix.families):
        if index:
            console.print()
        answers = {
            (cell.source, cell.target): str(cell)
            for cell in matrix.cells
            if cell.family is family and cell.reaches
        }
        grid = group([party.title for party in matrix.parties], answers)
        console.print(f"IPv{family.value}: what each column can reach of each row")
        console.print(_sources(grid))
        for start in range(0, len(grid.sources), _MOST_COLUMNS):
            console.print(_grid(grid, range(start, min(start + _MOST_COLUMNS, len(grid.sources)))))
    console.print(
        Text("all: everything   -: nothing   a | b: depends on the pod   blank: not asked", "dim")
    )


def _sources(grid: Grid) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", style="bold")
    table.add_column(overflow="fold")
    for number, each in enumerate(grid.sources, start=1):
        table.add_row(str(number), Text(_listed(each.members)))
    return table


def _grid(grid: Grid, columns: range) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("to ↓  from →", overflow="fold", min_width=24, max_width=_NAME_WIDTH)
    for column in columns:
        table.add_column(str(column + 1), overflow="fold")
    for row, target in enumerate(grid.targets):
        cells = [_styled(grid.cells.get((column, row), "")) for column in columns]
        table.add_row(Text("\n".join(_shortened(target.members))), *cells)
    return table


def _styled(answer: str) -> Text:
    style = {"": "", "-": "red", "all": "green"}.get(answer, "yellow")
    return Text(answer.replace(", ", "\n"), style=style)


def _shortened(names: Sequence[str]) -> list[str]:
    if len(names) <= _MOST_NAMES:
        return list(names)
    return [*names[:_MOST_NAMES], f"and {len(names) - _MOST_NAMES} more"]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(_shortened(names))


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
