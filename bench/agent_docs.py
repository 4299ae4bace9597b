"""Writes what was measured into docs/scale.md, so that no figure there is typed by hand."""

from __future__ import annotations

import datetime
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

from agent_results import Outcome, Row, rows, shown

NODES = 5_000
CHANGES = (10, 100, 1_000)
"""Changes of pods in a cluster, a second."""


def write(outcomes: Sequence[Outcome], path: Path) -> None:
    """Put the tables between their marks."""
    text = path.read_text(encoding="utf-8")
    for name, block in (("figures", figures(outcomes)), ("traffic", traffic(outcomes[-1]))):
        place = re.search(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)", text, re.DOTALL)
        if place is None:
            raise ValueError(f"{path} has no place for {name}")
        text = text[: place.start()] + block + text[place.end() :]
    path.write_text(text, encoding="utf-8")


def figures(outcomes: Sequence[Outcome]) -> str:
    """All rows as a table, with the targets and the day."""
    head = " | ".join(each.name for each in outcomes)
    lines = [f"| | {head} | ratio |", f"|---|{'---:|' * (len(outcomes) + 1)}"]
    lines += [_line(each) for each in rows(outcomes)]
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    kernel = ".".join(platform.release().split(".")[:2])
    machine = f"{os.cpu_count()} CPUs, Linux {kernel}, Python"
    lines.append(f"\nMeasured on {day} with {machine} {platform.python_version()}.")
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    cells = []
    for index, value in enumerate(row.values):
        target = row.targets[index] if row.targets else None
        mark = (
            "" if target is None else f" ({'**over** ' if row.missed()[index] else ''}≤ {target:g})"
        )
        cells.append(f"{shown(value, row.unit)}{mark}")
    ratio = f"{row.values[-1] / row.values[0]:.2f}" if row.compared else ""
    name = row.name.strip()
    indented = f"· {name}" if row.name != name else name
    return f"| {indented} | {' | '.join(cells)} | {ratio} |"


def traffic(outcome: Outcome) -> str:
    """What news of pods are on the wire, for one agent and for thousands."""
    event, first = outcome.wire["pod"], outcome.start_bytes
    lines = [
        f"| pod changes a second | one agent receives | {NODES:,} agents | CPU of one agent |",
        "|---:|---:|---:|---:|",
    ]
    seconds = sorted(outcome.cpu)[len(outcome.cpu) // 2] / 1000
    for rate in CHANGES:
        lines.append(
            f"| {rate:,} | {_bytes(rate * event)}/s | {_bytes(NODES * rate * event)}/s "
            f"| {100 * rate * seconds:.1f} % of a core |"
        )
    lines += [
        "",
        f"One event of a pod is {event:,.0f} bytes, of a namespace "
        f"{outcome.wire['namespace']:,.0f}, of a policy {outcome.wire['policy']:,.0f}; the first "
        f"picture of {outcome.name} is {_bytes(first)} for one agent, {_bytes(NODES * first)} for "
        f"{NODES:,}.",
    ]
    return "\n".join(lines) + "\n"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
