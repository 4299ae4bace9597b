"""How explanations and matrices look on a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from podwall.explain.explanation import Explanation, Grant, hook_story
from podwall.explain.grouping import Grid, group
from podwall.explain.matrix import ReachMatrix
from podwall.explain.story import Line, Tone, direction_lines, stop_lines, whose
from podwall.policy.decision import DirectionDecision
from podwall.ruleset.journey import StopTrace

_STYLE = {True: "green", False: "bold red"}
_TONES = {Tone.PLAIN: "", Tone.ASIDE: "dim", Tone.WARNING: "yellow"}
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
        console.print(f"  decided by the {deciding.direction.value} of {whose(deciding)}")
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


def _show_direction(console: Console, direction: DirectionDecision, grant: Grant | None) -> None:
    console.print(
        Text.assemble(
            (f"{direction.direction.value.capitalize()}", "bold"),
            f" of {whose(direction)}: ",
            (direction.verdict.value, _STYLE[direction.allowed]),
        )
    )
    _show_lines(console, direction_lines(direction, grant), 1)


def _show_stop(console: Console, explanation: Explanation, stop: StopTrace) -> None:
    story = hook_story(stop.stop.hook, stop.stop.node)
    console.print(
        Text.assemble(
            f"  {story} ({stop.stop.hook.value}): ",
            (stop.trace.verdict.value, _STYLE[stop.trace.verdict.value == "allowed"]),
        )
    )
    _show_lines(console, stop_lines(explanation, stop), 2)


def _show_lines(console: Console, lines: Iterable[Line], depth: int) -> None:
    for line in lines:
        margin = "  " * (depth + line.depth)
        console.print(Text(f"{margin}{line.text}", style=_TONES[line.tone]))


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
