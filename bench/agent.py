"""What the agent costs, in two clusters at a time: start, latency, CPU and memory.

Each cluster is a process of its own (`agent_site.py`) with an API server, a kernel and a real
`podwall agent` in private namespaces. Whatever is compared is measured in turns, so that a busy
machine is busy for both. Everything ends with this process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import agent_docs
from agent_cluster import LARGE, SMALL, TINY, AgentShape
from agent_results import (
    LARGE_TARGETS,
    SMALL_TARGETS,
    SOURCES,
    Outcome,
    Targets,
    any_missed,
    format_table,
    rows,
)
from lanes import BenchError

COMMANDS = dict(zip(SOURCES, ("relabel", "locals", "policies"), strict=True))


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured. `events` are those of a round, by what they are about."""

    rounds: int = 5
    events: tuple[int, ...] = (60, 6, 6)
    idle_seconds: int = 20
    churn_rate: int = 500
    churn_seconds: int = 60
    peers: int = 10_000


QUICK = Effort(rounds=2, events=(20, 4, 4), idle_seconds=6, churn_seconds=8, peers=1_000)


class Site:
    """A cluster that runs; see `agent_site.py` for what it can be told."""

    def __init__(self, shape: AgentShape, targets: Targets | None) -> None:
        self.shape = shape
        self.outcome = Outcome(shape.name, targets)
        self._process = subprocess.Popen(
            (sys.executable, str(Path(__file__).with_name("agent_site.py")), _as_json(shape)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, command: str, **words: object) -> dict[str, Any]:
        """Have something done; what came of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        note(f"{self.shape.name}: {command}")
        self._process.stdin.write(json.dumps({"do": command, **words}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"{self.shape.name}: {command}: the site ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchError(f"{self.shape.name}: {command}: {answer['error']}")
        return answer

    def end(self) -> None:
        """End it, with all that runs in it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            # unshare passes no other signal on.
            self._process.kill()
            self._process.wait()


@contextmanager
def running(shape: AgentShape, targets: Targets | None) -> Iterator[Site]:
    """A site, gone when the context ends."""
    site = Site(shape, targets)
    try:
        yield site
    finally:
        site.end()


def measure(sites: Sequence[Site], effort: Effort) -> list[Outcome]:
    """Everything, in turns."""
    for site in sites:
        _measure_start(site, effort)
    for index in range(effort.rounds):
        note(f"round {index + 1} of {effort.rounds}")
        for site in sites:
            _measure_events(site, effort)
        for site in sites:
            found = site.tell("nobody", count=1000)
            # What the agent does anyway, such as looking for drift, is not on the events' bill.
            site.outcome.cpu.append(found["cpu"] - site.outcome.idle_cpu * found["seconds"])
    for site in sites:
        _measure_heavy(site, effort)
    return [site.outcome for site in sites]


def _measure_start(site: Site, effort: Effort) -> None:
    out, found = site.outcome, site.tell("start")
    out.start, out.start_cpu, out.start_bytes = found["seconds"], found["cpu"], found["bytes"]
    site.tell("stop")
    out.restart = site.tell("start")["seconds"]
    out.rules = site.tell("prepare")["rules"]
    out.idle_cpu = site.tell("idle", seconds=effort.idle_seconds)["cpu"]
    out.wire = site.tell("wire", count=20)


def _measure_events(site: Site, effort: Effort) -> None:
    for source, count in zip(SOURCES, effort.events, strict=True):
        found = site.tell(COMMANDS[source], count=count)
        site.outcome.effect.setdefault(source, []).extend(found["effect"])
        site.outcome.agent.setdefault(source, []).extend(found["agent"])


def _measure_heavy(site: Site, effort: Effort) -> None:
    out = site.outcome
    out.rss = site.tell("memory")["rss"]
    out.crowd = site.tell("crowd")
    out.wide = site.tell("wide", peers=effort.peers)
    churn = site.tell("churn", rate=effort.churn_rate, seconds=effort.churn_seconds)
    out.churn_slowest = churn.pop("slowest")
    out.churn = {**churn, "rate": churn["changes"] / churn["seconds"]}
    out.peak = site.tell("memory")["peak"]
    verdict = site.tell("verify")
    out.same = verdict["same"]
    if not out.same:
        note(verdict["text"])


def _as_json(shape: AgentShape) -> str:
    return json.dumps(asdict(shape))


def format_json(outcomes: Sequence[Outcome], effort: Effort) -> str:
    """The same for programs, every sample included."""
    document = {
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "effort": asdict(effort),
        "rows": [asdict(each) | {"missed": each.missed()} for each in rows(outcomes)],
        "outcomes": [asdict(each) for each in outcomes],
    }
    return json.dumps(document, indent=2) + "\n"


def note(text: str) -> None:
    """Say what is going on; results alone go to standard output."""
    print(text, file=sys.stderr, flush=True)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Measure the agent in clusters of 5,000 and 150,000 pods.",
        epilog="Exit status: 0 done, 1 with --check if a target is missed, 2 it cannot run here.",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a minute or two: clusters of 1,000 and 5,000 pods; files stay as they are",
    )
    parser.add_argument("--check", action="store_true", help="exit 1 if a target is missed")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the results as SVG")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the figures between their marks in FILE"
    )
    parser.add_argument("--save", type=Path, metavar="FILE", help="write all samples as JSON")
    parser.add_argument("-o", dest="output", choices=("table", "json"), default="table")
    return parser.parse_args()


def main() -> int:
    """Measure and report; gives the exit status."""
    arguments = parse_arguments()
    effort = QUICK if arguments.quick else Effort()
    shapes: tuple[tuple[AgentShape, Targets | None], ...] = (
        ((TINY, None), (SMALL, SMALL_TARGETS))
        if arguments.quick
        else ((SMALL, SMALL_TARGETS), (LARGE, LARGE_TARGETS))
    )
    try:
        with ExitStack() as stack:
            sites = [stack.enter_context(running(*each)) for each in shapes]
            outcomes = measure(sites, effort)
    except BenchError as error:
        note(f"agent: {error}")
        return 2
    text = format_json(outcomes, effort)
    if arguments.save:
        arguments.save.write_text(text)
    sys.stdout.write(text if arguments.output == "json" else format_table(outcomes))
    if arguments.plot and not arguments.quick:
        from agent_plot import draw  # noqa: PLC0415 - needs matplotlib, which nothing else does

        draw(outcomes, arguments.plot)
    if arguments.write and not arguments.quick:
        agent_docs.write(outcomes, arguments.write)
    return 1 if arguments.check and any_missed(outcomes) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
