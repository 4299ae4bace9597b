"""What was measured of an agent, what it is held to, and how that is written down."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

SOURCES = ("remote pod", "local pod", "policy")
"""What single events are about; in clusters nearly all of them are about remote pods."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The most that each may be; seconds and MiB."""

    start: float
    median: float
    worst: float
    cpu: float
    memory: float


SMALL_TARGETS = Targets(start=3, median=0.020, worst=0.100, cpu=0.5, memory=120)
LARGE_TARGETS = Targets(start=30, median=0.030, worst=0.150, cpu=0.5, memory=350)


@dataclass(slots=True)
class Outcome:
    """Everything that was measured of one cluster; times are seconds, memory is in MiB.

    `effect` has the times from a write to the API until its effect, by what the event was about;
    `agent` those that the agent itself measured, from the arrival of the event's bytes.
    """

    name: str
    targets: Targets | None
    rules: int = 0
    start: float = 0
    start_cpu: float = 0
    start_bytes: int = 0
    restart: float = 0
    rss: float = 0
    peak: float = 0
    idle_cpu: float = 0
    effect: dict[str, list[float]] = field(default_factory=dict)
    agent: dict[str, list[float]] = field(default_factory=dict)
    cpu: list[float] = field(default_factory=list)
    wire: dict[str, float] = field(default_factory=dict)
    crowd: dict[str, float] = field(default_factory=dict)
    wide: dict[str, float] = field(default_factory=dict)
    churn: dict[str, float] = field(default_factory=dict)
    churn_slowest: list[float] = field(default_factory=list)
    same: bool = True

    def all_effects(self) -> list[float]:
        """The times of all single events."""
        return [each for times in self.effect.values() for each in times]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a figure of each cluster, and where it is held to a target."""

    name: str
    unit: str
    values: Sequence[float]
    targets: Sequence[float | None] = ()
    compared: bool = False

    def missed(self) -> list[bool]:
        """Whether each value is above its target."""
        pairs = zip(self.values, self.targets, strict=False)
        return [target is not None and value > target for value, target in pairs]


def quantile(times: Iterable[float], share: float) -> float:
    """The smallest time that so large a share of them does not exceed."""
    ordered = sorted(times)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """The table."""

    def targets(name: str) -> list[float | None]:
        return [getattr(each.targets, name, None) for each in outcomes]

    def row(name: str, unit: str, values: Iterable[float]) -> Row:
        return Row(name, unit, tuple(values))

    found = [
        Row("start to enforced", "s", [each.start for each in outcomes], targets("start")),
        row("  CPU of the agent for it", "s", (each.start_cpu for each in outcomes)),
        row("  received for it", "MB", (each.start_bytes / 1e6 for each in outcomes)),
        row("restart, nothing to write", "s", (each.restart for each in outcomes)),
    ]
    for label, share, name in (("p50", 0.5, "median"), ("p99", 0.99, "worst")):
        values = [1000 * quantile(each.all_effects(), share) for each in outcomes]
        limits = [each and each * 1000 for each in targets(name)]
        found.append(Row(f"event to kernel {label}", "ms", values, limits, compared=True))
    for source in SOURCES:
        for label, share in (("p50", 0.5), ("p99", 0.99)):
            values = [1000 * quantile(each.effect.get(source, ()), share) for each in outcomes]
            found.append(Row(f"  {source} {label}", "ms", values, compared=True))
    inner = ([t for times in each.agent.values() for t in times] for each in outcomes)
    found += [
        row("  by the agent's clock p50", "ms", (1000 * quantile(each, 0.5) for each in inner)),
        Row(
            "CPU for 1,000 relabels for nobody",
            "s",
            [statistics.median(each.cpu) for each in outcomes],
            targets("cpu"),
            compared=True,
        ),
        row("CPU of a second without events", "ms", (1000 * each.idle_cpu for each in outcomes)),
        Row("memory, settled", "MiB", [each.rss for each in outcomes], targets("memory")),
        Row("memory, at most", "MiB", [each.peak for each in outcomes], targets("memory")),
        *_heavy(outcomes),
    ]
    return found


def _heavy(outcomes: Sequence[Outcome]) -> Iterable[Row]:
    def row(name: str, unit: str, part: str, key: str, scale: float = 1) -> Row:
        dicts: list[Mapping[str, float]] = [getattr(each, part) for each in outcomes]
        return Row(name, unit, [scale * each.get(key, math.nan) for each in dicts])

    yield row("a namespace enters a set: members", "", "crowd", "members")
    yield row("  until enforced", "ms", "crowd", "joined", 1000)
    yield row("  until it left again", "ms", "crowd", "left", 1000)
    yield row("a policy that selects many: members", "", "wide", "members")
    yield row("  until enforced", "ms", "wide", "came", 1000)
    yield row("  until it is gone", "ms", "wide", "gone", 1000)
    yield row("churn: changes a second", "", "churn", "rate")
    yield row("  for", "s", "churn", "seconds")
    yield row("  last change enforced after", "ms", "churn", "caught_up", 1000)
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        values = [1000 * quantile(each.churn_slowest, share) for each in outcomes]
        yield Row(f"  slowest event of an apply {label}", "ms", values)
    yield row("  CPU of the agent", "cores", "churn", "cpu")
    yield row("  memory afterwards", "MiB", "churn", "rss")
    for kind in ("pod", "namespace", "policy"):
        yield row(f"bytes of a {kind}'s event", "B", "wire", kind)


def format_table(outcomes: Sequence[Outcome]) -> str:
    """The rows for people."""
    head = "".join(f"{each.name:>30}" for each in outcomes)
    lines = [f"{'':38}{head}   ratio"]
    for each in rows(outcomes):
        cells = "".join(_cell(each, index) for index in range(len(outcomes)))
        ratio = f"{each.values[-1] / each.values[0]:8.2f}" if each.compared else ""
        lines.append(f"{each.name:38}{cells}{ratio}".rstrip())
    for outcome in outcomes:
        state = "what the API server has" if outcome.same else "NOT what the API server has"
        lines.append(f"{outcome.name}: {outcome.rules} rules; the kernel holds {state} at the end")
    return "\n".join(lines) + "\n"


def shown(value: float, unit: str) -> str:
    """A figure with as many digits as it is worth."""
    digits = 0 if value >= 1000 or unit in ("", "B") else 1 if value >= 10 else 2
    return "-" if math.isnan(value) else f"{value:,.{digits}f} {unit}".rstrip()


def _cell(row: Row, index: int) -> str:
    target = row.targets[index] if row.targets else None
    verdict = ""
    if target is not None:
        verdict = f" {'MISS' if row.missed()[index] else 'PASS'} (≤ {target:g})"
    return f"{shown(row.values[index], row.unit):>13}{verdict:17}"


def any_missed(outcomes: Sequence[Outcome]) -> bool:
    """Whether a target is missed, or something was lost."""
    return any(any(each.missed()) for each in rows(outcomes)) or not all(o.same for o in outcomes)
