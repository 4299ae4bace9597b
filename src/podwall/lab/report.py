"""The matrix for people: a table that fits the terminal, and the differences in words; pure.

Columns are sources, numbered; rows are destinations and their ports, so that names, which are long,
stand in rows. Parties that are alike share a column or a row (:mod:`podwall.lab.grouping`), and
what is still too wide is continued in a further table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from podwall.lab.grouping import ALLOWED, DENIED, DIFFERENT, ONLY, Grid, Group, group
from podwall.lab.matrix import Cell, Change, Matrix, Party
from podwall.lab.naming import join_names
from podwall.lab.topology import Kind

_STYLES = {
    ALLOWED: "green",
    DENIED: "dim",
    DIFFERENT: "bold red",
    **dict.fromkeys(ONLY.values(), ""),
}
_MANY_DIFFERENCES = 20
_MANY_CHANGES = 60
_NAME_WIDTH = 34
_PORT_WIDTH = 20
_ROW_WIDTH = _NAME_WIDTH + _PORT_WIDTH + 4
_COLUMN_WIDTH = 4


def render_matrix(matrix: Matrix, width: int) -> RenderableType:
    """The whole report: who is who, the tables, their legend, differences and the sum."""
    if not matrix.cells:
        return Text("nothing was probed: no endpoint or port matches")
    grid = group(matrix)
    parts: list[RenderableType] = [_who_is_who(matrix, grid)]
    columns = max(4, (width - _ROW_WIDTH) // _COLUMN_WIDTH)
    for first in range(0, len(grid.sources), columns):
        parts.append(_table(matrix, grid, range(first, min(first + columns, len(grid.sources)))))
    parts.append(_legend(matrix))
    parts.extend(_rows_in_full(matrix, grid))
    parts.extend(_differences(matrix))
    parts.append(summary(matrix))
    return Stack(*parts)


def render_changes(changes: Sequence[Change]) -> RenderableType:
    """Which answers are others than before, gains first."""
    if not changes:
        return Text("no answer changed")
    families = {change.family for change in changes}
    lines = Text()
    ordered = sorted(changes, key=lambda each: not each.after)
    for change in ordered[:_MANY_CHANGES]:
        mark = ALLOWED if change.after else DENIED
        word = "now allowed" if change.after else "now denied"
        family = f" (IPv{change.family})" if len(families) > 1 else ""
        lines.append(f"{mark} ", _STYLES[mark])
        lines.append(f"{change.src} → {change.dst} {change.service}{family}: {word}\n")
    if len(ordered) > _MANY_CHANGES:
        lines.append(f"… and {len(ordered) - _MANY_CHANGES} more (-o json has all)\n")
    gained = sum(change.after for change in changes)
    answers = "1 answer" if len(changes) == 1 else f"{len(changes)} answers"
    lines.append(f"{answers} changed: {gained} now allowed, ")
    lines.append(f"{len(changes) - gained} now denied")
    return lines


def summary(matrix: Matrix) -> Text:
    """One line: how many probes, and whether all is as expected."""
    allowed = sum(cell.happened for cell in matrix.cells)
    differences = len(matrix.differences)
    asked = len(matrix.cells)
    text = Text(f"{asked} {'probe' if asked == 1 else 'probes'}: {allowed} got through, ")
    text.append(f"{len(matrix.cells) - allowed} did not; ")
    if differences:
        text.append(f"{differences} not as expected", "bold red")
    else:
        text.append("all as expected", "green")
    return text


def _who_is_who(matrix: Matrix, grid: Grid) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", style="bold")
    table.add_column(overflow="fold")
    table.add_column(style="dim", overflow="fold")
    for number, each in enumerate(grid.sources, start=1):
        # As Text, for rich takes plain strings in tables for its markup: names may hold brackets.
        table.add_row(str(number), Text(_members(matrix, each)), Text(_remark(matrix, each)))
    return table


def _members(matrix: Matrix, each: Group) -> str:
    return join_names(matrix.parties[member].name for member in each.members)


def _rows_in_full(matrix: Matrix, grid: Grid) -> Iterator[RenderableType]:
    """Who else stands in the rows that several destinations share."""
    shared = [each for each in grid.targets if len(each.members) > 1]
    if not shared:
        return
    lines = (f"{_group_name(matrix, each)}: {_members(matrix, each)}" for each in shared)
    yield Text("\n".join(("rows in full:", *lines, "")), "dim")


def _remark(matrix: Matrix, sources: Group) -> str:
    if len(sources.members) > 1:
        return f"{len(sources.members)} alike"
    party = matrix.parties[sources.members[0]]
    return party.title or " ".join(party.addresses)


def _table(matrix: Matrix, grid: Grid, columns: range) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("to ↓  from →", no_wrap=True, max_width=_NAME_WIDTH, overflow="ellipsis")
    table.add_column("port", max_width=_PORT_WIDTH)
    for column in columns:
        table.add_column(str(column + 1), justify="center", min_width=2, no_wrap=True)
    for row, target in enumerate(grid.targets):
        name = _group_name(matrix, target)
        for services, marks in grid.rows(row):
            shown = (marks.get(column, " ") for column in columns)
            table.add_row(
                Text(name), " ".join(services), *(Text(m, _STYLES.get(m, "")) for m in shown)
            )
            name = ""
    return table


def _group_name(matrix: Matrix, target: Group) -> str:
    first = matrix.parties[target.members[0]].name
    if len(target.members) == 1:
        return first
    more = f" +{len(target.members) - 1}"
    room = _NAME_WIDTH - len(more)
    return (first if len(first) <= room else first[: room - 1] + "…") + more


def _legend(matrix: Matrix) -> Text:
    words = [f"{ALLOWED} gets through", f"{DENIED} does not", f"{DIFFERENT} not as expected"]
    if len({cell.family for cell in matrix.cells}) > 1:
        words.insert(1, f"{ONLY[4]} or {ONLY[6]} only by IPv4 or IPv6")
    return Text("   ".join(words) + "   blank: not asked\n", "dim")


def _differences(matrix: Matrix) -> Iterator[RenderableType]:
    differences = matrix.differences
    if not differences:
        return
    text = Text()
    for cell in differences[:_MANY_DIFFERENCES]:
        text.append(f"{DIFFERENT} ", _STYLES[DIFFERENT])
        text.append(f"{_sentence(matrix, cell)}\n")
    if len(differences) > _MANY_DIFFERENCES:
        text.append(f"… and {len(differences) - _MANY_DIFFERENCES} more (-o json has all)\n")
    yield text


def _sentence(matrix: Matrix, cell: Cell) -> str:
    src, dst = matrix.parties[cell.src], matrix.parties[cell.dst]
    expected = "allowed" if cell.expected else "denied"
    happened = cell.outcome.name.lower()
    return (
        f"{_named(src)} → {_named(dst)} {cell.service} (IPv{cell.family}): "
        f"expected {expected}, but it was {happened}"
    )


def _named(party: Party) -> str:
    return f"{party.name} ({party.title})" if party.kind is Kind.OUTSIDE else party.name
