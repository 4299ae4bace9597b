"""How long podwall takes from manifests to the text for one node of a large cluster.

The stages are timed one by one: loading (JSON to objects), the snapshot, resolving (what the
policies mean for the node), compiling (the ruleset), planning (against an empty kernel) and
rendering (text for ipset and iptables).  Every repetition starts from the file.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

from cluster_gen import NODE, ClusterShape, cluster

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.dataplane.ipset.render import render_set_step
from podwall.dataplane.iptables.render import render_chain_step
from podwall.manifest.loader import load
from podwall.manifest.manifests import Manifests
from podwall.policy.resolve import resolve
from podwall.ruleset.compile import compile_ruleset
from podwall.ruleset.diff import diff
from podwall.ruleset.plan import Observed, Plan, SetStep

TARGET = 3.0
"""Seconds from manifests to text for 10,000 pods, 1,000 policies and 250 local pods."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out, so that equal times can be told from equal work."""

    pods: int
    policies: int
    sets: int
    members: int
    chains: int
    rules: int
    bytes: int


class Stopwatch:
    """Seconds per stage of one repetition."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, stage: str, work: Callable[[], _T]) -> _T:
        """Run one stage; garbage of the stages before it is not on its bill."""
        gc.collect()
        start = time.perf_counter()
        result = work()
        self.seconds[stage] = time.perf_counter() - start
        return result


def run_once(path: str) -> tuple[dict[str, float], Outcome]:
    """From file to text; gives seconds per stage and what came out."""
    watch = Stopwatch()
    loaded: Manifests = watch.time("load", lambda: load([path]))
    if loaded.has_errors:
        raise SystemExit(f"compiler: the generated cluster is not clean: {loaded.errors[0]}")
    snapshot: Snapshot = watch.time(
        "snapshot",
        lambda: build_snapshot(loaded.pods, loaded.namespaces, loaded.policies, loaded.nodes),
    )
    resolved = watch.time("resolve", lambda: resolve(snapshot, NODE))
    ruleset = watch.time("compile", lambda: compile_ruleset(resolved))
    plan = watch.time("plan", lambda: diff(Observed(), ruleset))
    texts = watch.time("render", lambda: render(plan))
    outcome = Outcome(
        pods=len(loaded.pods),
        policies=len(loaded.policies),
        sets=sum(len(each.sets) for each in ruleset.families),
        members=sum(len(s.members) for each in ruleset.families for s in each.sets.values()),
        chains=sum(len(each.chains) for each in ruleset.families),
        rules=sum(len(c.rules) for each in ruleset.families for c in each.chains.values()),
        bytes=sum(map(len, texts)),
    )
    return watch.seconds, outcome


def render(plan: Plan) -> list[str]:
    """The text of every step."""
    return [
        render_set_step(step) if isinstance(step, SetStep) else render_chain_step(step)
        for step in plan.steps
    ]


def format_table(seconds: dict[str, list[float]], outcome: Outcome, shape: ClusterShape) -> str:
    """The stages as a table for people."""
    lines = [
        f"{outcome.pods} pods, {outcome.policies} policies, {shape.local_pods} local pods -> "
        f"{outcome.sets} sets with {outcome.members} members, {outcome.chains} chains, "
        f"{outcome.rules} rules, {outcome.bytes / 1e6:.1f} MB of text",
        "",
        f"{'stage':10} {'median':>8}  min..max (seconds)",
    ]
    for stage, times in seconds.items():
        spread = f"{min(times):.3f}..{max(times):.3f}"
        lines.append(f"{stage:10} {statistics.median(times):8.3f}  {spread}")
    total = statistics.median(seconds["total"])
    verdict = "PASS" if total < TARGET else "FAIL"
    return "\n".join(lines) + f"   {verdict} (target {TARGET:.1f})\n"


def format_json(seconds: dict[str, list[float]], outcome: Outcome, shape: ClusterShape) -> str:
    """The same for programs: seconds of every repetition."""
    document = {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "shape": asdict(shape),
        "outcome": asdict(outcome),
        "seconds": seconds,
        "target": TARGET,
    }
    return json.dumps(document, indent=2) + "\n"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Time podwall from manifests to the text of one node's ruleset.",
        epilog="Exit status: 0 done, 1 with --check if the target is missed.",
    )
    defaults = ClusterShape()
    for field in fields(defaults):
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=int, default=getattr(defaults, field.name))
    parser.add_argument("--repeat", type=int, default=5, help="repetitions (default: 5)")
    parser.add_argument("--quick", action="store_true", help="two repetitions")
    parser.add_argument("--check", action="store_true", help="exit 1 if the target is missed")
    parser.add_argument("-o", dest="output", choices=("table", "json"), default="table")
    return parser.parse_args(arguments)


def main() -> int:
    """Measure and report; gives the exit status."""
    arguments = parse_arguments()
    shape = ClusterShape(**{f.name: getattr(arguments, f.name) for f in fields(ClusterShape)})
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "cluster.json"
        path.write_text(json.dumps(cluster(shape)))
        runs = [run_once(str(path)) for _ in range(2 if arguments.quick else arguments.repeat)]
    stages = list(runs[0][0])
    seconds = {stage: [run[stage] for run, _ in runs] for stage in stages}
    seconds["total"] = [sum(run.values()) for run, _ in runs]
    make_text = format_json if arguments.output == "json" else format_table
    sys.stdout.write(make_text(seconds, runs[0][1], shape))
    missed = statistics.median(seconds["total"]) >= TARGET
    return 1 if arguments.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
