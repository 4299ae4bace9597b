"""How denied packets are printed: as lines as they come, or all at once at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec
from rich.text import Text

from podwall.cli.drops_model import Drop, Gap
from podwall.cli.output import err, out, print_json

MOST_PAIRS = 10
"""So many pairs are named in a summary."""

MOST_KEPT = 100_000
"""So many denials, or pairs, are kept for one JSON document or a table; more are only counted."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """What one count is about; ends are workloads, where they have one and that is asked for."""

    kind: str
    source: str
    target: str
    service: str
    direction: str

    def __str__(self) -> str:
        told = "" if self.kind == "deny" else " (audit)"
        return f"{self.source} → {self.target} {self.service}{told}"


class Count(msgspec.Struct):
    """So many denials of a pair, between two times in seconds since the epoch."""

    count: int
    first: float
    last: float


class Pairs:
    """Counts denials by pair; :data:`MOST_KEPT` pairs, ``beyond`` counts those of others."""

    def __init__(self, *, workloads: bool) -> None:
        self.beyond = 0
        self._workloads = workloads
        self._counts: dict[Pair, Count] = {}

    def add(self, drop: Drop) -> None:
        """Count a denial."""
        source, target = drop.source, drop.target
        if self._workloads:
            source, target = drop.source_workload or source, drop.target_workload or target
        pair = Pair(
            kind=drop.kind,
            source=source,
            target=target,
            service=drop.service,
            direction=drop.direction,
        )
        self.put(pair, Count(1, drop.time, drop.time))

    def put(self, pair: Pair, more: Count) -> None:
        """Add what was counted of a pair."""
        found = self._counts.get(pair)
        if found is not None:
            found.count += more.count
            found.first, found.last = min(found.first, more.first), max(found.last, more.last)
        elif len(self._counts) < MOST_KEPT:
            self._counts[pair] = more
        else:
            self.beyond += more.count

    def most(self) -> list[tuple[Pair, Count]]:
        """All of them, the most frequent first."""
        return sorted(self._counts.items(), key=lambda each: (-each[1].count, str(each[0])))

    @property
    def total(self) -> int:
        """How many denials there were."""
        return self.beyond + sum(each.count for each in self._counts.values())


class Sink(Protocol):
    """Where denials go."""

    def add(self, drop: Drop) -> None:
        """One more."""
        ...

    def finish(self, gaps: Sequence[Gap]) -> None:
        """There are no more; these are missing."""
        ...


class Lines:
    """A line of text for each denial, as it comes; with ``width`` also the node."""

    def __init__(self, width: int = 0) -> None:
        self._console = out()
        self._width = width

    def add(self, drop: Drop) -> None:
        """Print it."""
        parts: list[str | tuple[str, str]] = [(f"{clock_text(drop.time)}  ", "dim")]
        if self._width:
            parts.append((f"{drop.node:<{self._width}}  ", "cyan"))
        style = "bold red" if drop.kind == "deny" else "bold yellow"
        parts += [(drop.source, "bold"), " → ", (drop.target, "bold"), f" {drop.service} "]
        parts += [(drop.verb, style), f": {drop.reason}"]
        self._console.print(Text.assemble(*parts), soft_wrap=True)
        sys.stdout.flush()

    def finish(self, gaps: Sequence[Gap]) -> None:
        """Nothing is left to print."""


class JsonLines:
    """A line of JSON for each denial, as it comes."""

    def add(self, drop: Drop) -> None:
        """Print it."""
        sys.stdout.write(msgspec.json.encode(drop).decode() + "\n")
        sys.stdout.flush()

    def finish(self, gaps: Sequence[Gap]) -> None:
        """Nothing is left to print."""


class Document:
    """One JSON document at the end."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._drops: list[Drop] = []
        self._beyond = 0

    def add(self, drop: Drop) -> None:
        """Keep it."""
        if len(self._drops) < MOST_KEPT:
            self._drops.append(drop)
        else:
            self._beyond += 1

    def finish(self, gaps: Sequence[Gap]) -> None:
        """Print it."""
        print_json(
            {
                "origin": self._origin,
                "denials": self._drops,
                "beyond": self._beyond,
                "lost": sum(each.count for each in gaps),
            }
        )


class Counted:
    """How often which pairs were denied, at the end."""

    def __init__(self, origin: str, output: str, pairs: Pairs) -> None:
        self._origin = origin
        self._output = output
        self._pairs = pairs

    def add(self, drop: Drop) -> None:
        """Count it."""
        self._pairs.add(drop)

    def finish(self, gaps: Sequence[Gap]) -> None:
        """Print it."""
        rows = [
            {**msgspec.to_builtins(pair), **msgspec.to_builtins(count)}
            for pair, count in self._pairs.most()
        ]
        if self._output == "jsonl":
            sys.stdout.writelines(msgspec.json.encode(row).decode() + "\n" for row in rows)
        elif self._output == "json":
            lost = sum(each.count for each in gaps)
            print_json({"origin": self._origin, "pairs": rows, "lost": lost})
        else:
            _print_table(self._pairs)


def clock_text(when: float, now: float | None = None) -> str:
    """Local time, with the date if that is another day than today."""
    then, today = time.localtime(when), time.localtime(now)
    shape = "%H:%M:%S" if then[:3] == today[:3] else "%Y-%m-%d %H:%M:%S"
    return time.strftime(shape, then)


def print_summary(pairs: Pairs) -> None:
    """A line for each of the most frequent pairs, on standard error."""
    console = err()
    found = pairs.most()
    denials = "1 denial" if pairs.total == 1 else f"{pairs.total} denials"
    console.print(Text(f"{denials}{':' if found else ''}", style="dim"))
    width = len(f"{found[0][1].count}") if found else 0
    for pair, count in found[:MOST_PAIRS]:
        console.print(Text(f"  {count.count:>{width}}× {pair}", style="dim"))
    more = len(found) - MOST_PAIRS
    if more > 0:
        console.print(Text(f"  and {more} {'pair' if more == 1 else 'pairs'} more", style="dim"))


def _print_table(pairs: Pairs) -> None:
    found = pairs.most()
    if not found:
        return
    head = ("count", "last", "source", "", "target", "service", "direction")
    rows = [
        (
            *(str(count.count), clock_text(count.last), pair.source, "→", pair.target),
            *(pair.service, f"{pair.direction}{'' if pair.kind == 'deny' else ' (audit)'}"),
        )
        for pair, count in found
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    console = out()
    console.print(Text(_row(head, widths), style="dim"), soft_wrap=True)
    for row in rows:
        console.print(Text(_row(row, widths)), soft_wrap=True)


def _row(cells: Iterable[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    text = "  ".join(f"{cell:<{width}}" for cell, width in others)
    return f"{first[0]:>{first[1]}}  {text}".rstrip()
