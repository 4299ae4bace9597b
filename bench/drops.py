"""What logging denied packets costs under a flood: the packets' way, and the agent's CPU.

Two nodes stand side by side, each a network namespace with a real agent; one of the agents logs
what is denied, and somebody follows it with `podwall drops`.  Denied packets of one flow, and of
65,000 flows, are sent to both in turns, as fast as the machine can.  What is reported is the ratio
of a packet's cost with logging to that without, in the same round, and the share of a CPU that the
agent takes meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from agent_process import AgentProcess
from lanes import (
    Batch,
    BenchError,
    Lane,
    Loadgen,
    compile_loadgen,
    create_lane,
    enter_private_namespaces,
    group_by_lane,
)
from scenario import NODE, Scenario, draw_flows, make_scenario, manifests, pack_flows

NODES = ((1, 1), (250, 100))
"""Local pods and policies of the nodes that are measured."""

FLOODS = {"one flow": 1, "65,000 flows": 65_000}
FRAMES = 16_384
"""Frames of a batch of one flow; of many, each flow once."""

RATIO_TARGET = 1.05
CPU_TARGET = 0.5
RATE_TARGET = 200_000
"""Denied packets a second; a flood that is slower proves nothing."""

_FIRST_PORT = 9650
_BLOCKS = 5


@dataclass(frozen=True, slots=True)
class Effort:
    """Batches per node, and for how many seconds the agent's CPU is measured."""

    rounds: int = 60
    seconds: float = 10.0


QUICK = Effort(rounds=15, seconds=4.0)


@dataclass(frozen=True, slots=True)
class Result:
    """One flood on one node.

    `ratio` is of a packet's cost, between batches of the same round; `mean_ratio` that of all
    frames, preempted ones and those that are logged included.  `rate` is packets a second while the
    agent's CPU was measured, `logged` denials a second that the agent told of meanwhile.
    """

    mode: str
    pods: int
    policies: int
    flood: str
    nanoseconds_off: float
    nanoseconds_on: float
    ratio: float
    ratio_min: float
    ratio_max: float
    mean_ratio: float
    rate: float
    logged: float
    cpu: float

    @property
    def missed(self) -> list[str]:
        """Targets that are missed."""
        return [
            what
            for what, good in (
                ("ratio", self.ratio <= RATIO_TARGET),
                ("cpu", self.cpu <= CPU_TARGET),
                ("rate", self.rate >= RATE_TARGET),
            )
            if not good
        ]


@dataclass(frozen=True, slots=True)
class Site:
    """Two nodes: their lanes, and the agent that logs."""

    lanes: tuple[Lane, Lane]
    agent: AgentProcess


@contextmanager
def _api_server(directory: Path, scenario: Scenario) -> Iterator[Path]:
    kubeconfig = directory / "kubeconfig"
    argv = (sys.executable, "-m", "podwall.lab.apiserver", "--kubeconfig", str(kubeconfig))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}}
            items = manifests(scenario)["items"]
            assert isinstance(items, list)
            for each in (namespace, *items):
                _store(url, each)
            yield kubeconfig
        finally:
            process.kill()


def _store(url: str, thing: object) -> None:
    request = urllib.request.Request(
        f"{url}/faults/store",
        method="POST",
        data=json.dumps(thing).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30):
        pass


@contextmanager
def _site(scenario: Scenario, mode: str, first: int) -> Iterator[Site]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/run")))
        kubeconfig = stack.enter_context(_api_server(directory, scenario))
        lanes, agents = [], []
        for index, options in enumerate(((), ("--log-denied",)), start=first):
            lane = create_lane(index, mode, (pod.address for pod in scenario.local))
            state_dir = directory / lane.netns
            state_dir.mkdir()
            agent = AgentProcess(
                kubeconfig,
                state_dir,
                *("--netns", f"/run/netns/{lane.netns}", "--mode", mode, *options),
                node=NODE,
                port=_FIRST_PORT + index,
            )
            stack.callback(agent.stop)
            agent.wait_ready(60)
            lanes.append(lane)
            agents.append(agent)
        stack.enter_context(_follower(state_dir / "agent"))
        yield Site((lanes[0], lanes[1]), agents[1])


@contextmanager
def _follower(state_dir: Path) -> Iterator[None]:
    argv = [sys.executable, "-m", "podwall", "drops", "--follow", "--state-dir", str(state_dir)]
    with subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            said = ""
            while "Ctrl-C ends it" not in said:
                line = process.stderr.readline()
                said += line
                if not line:
                    raise BenchError(f"podwall drops has ended: {said}")
            yield
        finally:
            process.kill()


def measure(modes: Sequence[str], effort: Effort, loadgen: Loadgen) -> Iterator[Result]:
    """Measure every node in every mode; yields results as they come."""
    first = 0
    for pods, policies in NODES:
        scenario = make_scenario(pods, policies)
        for mode in modes:
            note(f"{mode}: {pods} pods, {policies} policies")
            with _site(scenario, mode, first) as site:
                first += 2
                for flood, count in FLOODS.items():
                    flows = _flows(scenario, count)
                    yield _measure(site, loadgen, effort, flows, (mode, pods, policies, flood))


def _flows(scenario: Scenario, count: int) -> bytes:
    """Refused flows from pods of another node; one is repeated until it fills a batch."""
    if count == 1:
        return pack_flows(draw_flows(scenario, 1, scenario.remote, allowed=False)) * FRAMES
    packed = pack_flows(draw_flows(scenario, 1000, scenario.remote, allowed=False))
    # Refused whatever the port: these are ports that no rule has.
    known = [packed[start : start + 8] for start in range(0, len(packed), 12)]
    ends = sorted(set(known))
    return b"".join(
        ends[number % len(ends)] + (40_000).to_bytes(2, "big") + port.to_bytes(2, "big")
        for number in range(count)
        for port in (3_000 + number // len(ends) % 60_000,)
    )


def _measure(
    site: Site, loadgen: Loadgen, effort: Effort, flows: bytes, what: tuple[str, int, int, str]
) -> Result:
    batches = loadgen("new", "tcp", flows, site.lanes, rounds=effort.rounds)
    _check(batches)
    off, on = group_by_lane(batches)
    ratios = [b.nanoseconds / a.nanoseconds for a, b in zip(off, on, strict=True)]
    size = max(1, len(ratios) // _BLOCKS)
    blocks = [statistics.median(ratios[i : i + size]) for i in range(0, len(ratios), size)]
    mode, pods, policies, flood = what
    rate, logged, cpu = _hold(site, loadgen, effort, flows)
    return Result(
        mode=mode,
        pods=pods,
        policies=policies,
        flood=flood,
        nanoseconds_off=statistics.median(each.nanoseconds for each in off),
        nanoseconds_on=statistics.median(each.nanoseconds for each in on),
        ratio=statistics.median(ratios),
        ratio_min=min(blocks),
        ratio_max=max(blocks),
        mean_ratio=statistics.median(b.mean / a.mean for a, b in zip(off, on, strict=True)),
        rate=rate,
        logged=logged,
        cpu=cpu,
    )


def _hold(site: Site, loadgen: Loadgen, effort: Effort, flows: bytes) -> tuple[float, float, float]:
    """Packets a second of a flood, what the agent told of it a second, and its share of a CPU."""
    lane = site.lanes[1:]
    [sample] = loadgen("new", "tcp", flows, lane)
    rounds = max(1, round(effort.seconds * 1e9 / (sample.mean * sample.sent)))
    told, cpu, start = _told(site.agent), site.agent.cpu(), time.perf_counter()
    batches = loadgen("new", "tcp", flows, lane, rounds=rounds)
    seconds = time.perf_counter() - start
    cpu, told = site.agent.cpu() - cpu, _told(site.agent) - told
    _check(batches)
    return sum(each.sent for each in batches) / seconds, told / seconds, cpu / seconds


def _told(agent: AgentProcess) -> float:
    found = re.findall(r"^podwall_denied_flows_total{.*} (\S+)$", agent.metrics(), re.MULTILINE)
    return sum(map(float, found))


def _check(batches: Sequence[Batch]) -> None:
    passed = sum(each.forwarded for each in batches)
    if passed:
        raise BenchError(f"{passed} packets passed that should have been denied")


def format_table(results: Sequence[Result]) -> str:
    """Results as a table for people."""
    lines = [
        f"{'mode':7} {'pods':>4} {'policies':>8}  {'flood':13} {'off ns':>6} {'on ns':>6}  "
        f"{'ratio':>5}  {'min..max':10}  {'mean':>5}  {'packets/s':>9}  {'told/s':>6}  "
        f"{'agent CPU':>9}"
    ]
    for each in results:
        spread = f"{each.ratio_min:.2f}..{each.ratio_max:.2f}"
        verdict = f"FAIL ({', '.join(each.missed)})" if each.missed else "PASS"
        lines.append(
            f"{each.mode:7} {each.pods:4} {each.policies:8}  {each.flood:13} "
            f"{each.nanoseconds_off:6.0f} {each.nanoseconds_on:6.0f}  {each.ratio:5.3f}  "
            f"{spread:10}  {each.mean_ratio:5.3f}  {each.rate:9,.0f}  {each.logged:6.0f}  "
            f"{each.cpu:8.0%}   {verdict}"
        )
    return "\n".join(lines) + "\n"


def format_json(results: Sequence[Result], effort: Effort) -> str:
    """Results with what they were measured on."""
    document = {
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "targets": {"ratio": RATIO_TARGET, "cpu": CPU_TARGET, "rate": RATE_TARGET},
        "effort": asdict(effort),
        "results": [asdict(each) | {"missed": each.missed} for each in results],
    }
    return json.dumps(document, indent=2) + "\n"


def note(text: str) -> None:
    """Say what is going on; results alone go to standard output."""
    print(text, file=sys.stderr, flush=True)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Measure what logging denied packets costs under a flood of them.",
        epilog="Exit status: 0 done, 1 with --check if a target is missed, 2 it cannot run here.",
    )
    parser.add_argument("--mode", choices=("legacy", "nft", "both"), default="both")
    parser.add_argument("--quick", action="store_true", help="about a minute, less exact")
    parser.add_argument("--check", action="store_true", help="exit 1 if a target is missed")
    parser.add_argument("-o", dest="output", choices=("table", "json"), default="table")
    last = max(os.sched_getaffinity(0))
    parser.add_argument("--cpu", type=int, default=last, help="CPU to send from (default: last)")
    return parser.parse_args()


def main() -> int:
    """Measure and report; gives the exit status."""
    arguments = parse_arguments()
    effort = QUICK if arguments.quick else Effort()
    modes = ("legacy", "nft") if arguments.mode == "both" else (arguments.mode,)
    try:
        enter_private_namespaces()
        with tempfile.TemporaryDirectory(dir="/run") as directory:
            loadgen = Loadgen(compile_loadgen(Path(directory)), arguments.cpu)
            results = list(measure(modes, effort, loadgen))
    except BenchError as error:
        note(f"drops: {error}")
        return 2
    if arguments.output == "json":
        sys.stdout.write(format_json(results, effort))
    else:
        sys.stdout.write(format_table(results))
    return 1 if arguments.check and any(each.missed for each in results) else 0


def _stop(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    # The first process of a PID namespace ignores SIGTERM unless it handles it.
    signal.signal(signal.SIGTERM, _stop)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
