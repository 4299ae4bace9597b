"""What podwall costs per packet, beside conntrack alone and the layout it started from.

Three nodes stand side by side in private network namespaces, one with each ruleset, and take turns:
one batch here, one there.  The result of a batch is divided by that of the conntrack-only node in
the same round, so a slow moment of the machine cancels out.  Take the ratios, not the nanoseconds.

Two kinds of packet: one that opens a connection, and one of an established connection.  Two ways:
from a pod of another node (only the destination's ingress is judged), and between two pods of the
node (the source's egress as well).  Every connection is between another pair of pods, at another
port: rules and sets come from caches as cold as traffic among all pods makes them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType

from lanes import (
    Batch,
    BenchError,
    Lane,
    Layout,
    Loadgen,
    compile_loadgen,
    create_lane,
    enter_private_namespaces,
    group_by_lane,
    load_layout,
)
from original_layout import original_layout
from podwall_layout import podwall_layout
from results import CONNTRACK, FROM_NODE, NODES, ORIGINAL, POD_TO_POD, PODWALL, Result
from scenario import Pod, Scenario, draw_flows, make_scenario, pack_flows

RULES = 10
BLOCKS = 5
"""Rounds are cut into so many blocks; a table's `min..max` is over the blocks' medians."""


@dataclass(frozen=True, slots=True)
class Effort:
    """What to measure, and how much to send: flows and frames per batch, batches per node."""

    nodes: tuple[tuple[int, int], ...] = NODES
    flows: int = 4096
    established_flows: int = 1024
    packets: int = 16384
    rounds: int = 60


QUICK = Effort(nodes=(NODES[0], NODES[-1]), rounds=10)


def conntrack_only(_scenario: Scenario) -> Layout:
    """The least that a stateful firewall does: look up the connection, let replies pass."""
    rule = "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"
    return Layout(ipset="", iptables=f"*filter\n{rule}\nCOMMIT\n")


LAYOUTS: dict[str, Callable[[Scenario], Layout]] = {
    CONNTRACK: conntrack_only,
    ORIGINAL: original_layout,
    PODWALL: podwall_layout,
}


def measure(
    modes: Sequence[str], protocol: str, effort: Effort, loadgen: Loadgen
) -> Iterator[Result]:
    """Measure every node in every mode; yields results as they come."""
    first_lane = 0
    for pods, policies in effort.nodes:
        scenario = make_scenario(pods, policies, rules=RULES, protocol=protocol.upper())
        for mode in modes:
            note(f"{mode}: {pods} pods, {policies} policies")
            lanes = _build(scenario, mode, first_lane)
            first_lane += len(lanes)
            _verify(scenario, protocol, loadgen, lanes)
            yield from _measure_node(scenario, protocol, effort, loadgen, lanes)


def _build(scenario: Scenario, mode: str, first: int) -> list[Lane]:
    lanes = []
    for index, make_layout in enumerate(LAYOUTS.values(), start=first):
        lane = create_lane(index, mode, (pod.address for pod in scenario.local))
        load_layout(lane, make_layout(scenario))
        lanes.append(lane)
    return lanes


def _paths(scenario: Scenario) -> Iterator[tuple[str, tuple[Pod, ...]]]:
    yield FROM_NODE, scenario.remote
    if len(scenario.local) > 1:
        yield POD_TO_POD, scenario.local


def _verify(scenario: Scenario, protocol: str, loadgen: Loadgen, lanes: Sequence[Lane]) -> None:
    """A fast ruleset that decides wrongly is worth nothing: check the verdicts first.

    The original layout is only held to what it can do: it does let through what it should refuse.
    """
    names = list(LAYOUTS)
    for path, sources in _paths(scenario):
        for allowed in (True, False):
            flows = pack_flows(draw_flows(scenario, 1000, sources, allowed=allowed))
            for name, batch in zip(names, loadgen("probe", protocol, flows, lanes), strict=True):
                expected = batch.sent if allowed or name == CONNTRACK else 0
                if batch.forwarded != expected and (allowed or name == PODWALL):
                    raise BenchError(
                        f"{name}, {path}: {batch.forwarded} of {batch.sent} "
                        f"{'allowed' if allowed else 'refused'} flows passed, expected {expected}"
                    )


def _measure_node(
    scenario: Scenario, protocol: str, effort: Effort, loadgen: Loadgen, lanes: Sequence[Lane]
) -> Iterator[Result]:
    for path, sources in _paths(scenario):
        for packet, count in (("new", effort.flows), ("established", effort.established_flows)):
            batches = loadgen(
                packet,
                protocol,
                pack_flows(draw_flows(scenario, count, sources)),
                lanes,
                rounds=effort.rounds,
                packets=effort.packets,
            )
            empty = Result(
                mode=lanes[0].mode,
                pods=len(scenario.local),
                policies=len(scenario.profiles),
                path=path,
                packet=packet,
                layout="",
                nanoseconds=0,
                ratio=1,
                ratio_min=1,
                ratio_max=1,
            )
            yield from summarise(empty, list(LAYOUTS), batches)


def summarise(empty: Result, layouts: Sequence[str], batches: Iterable[Batch]) -> Iterator[Result]:
    """One result for each layout from the batches of one measurement; layout 0 is the base."""
    costs = [[_cost(each) for each in lane] for lane in group_by_lane(batches)]
    for layout, cost in zip(layouts, costs, strict=True):
        ratios = [own / base for own, base in zip(cost, costs[0], strict=True)]
        size = max(1, len(ratios) // BLOCKS)
        blocks = [statistics.median(ratios[i : i + size]) for i in range(0, len(ratios), size)]
        yield replace(
            empty,
            layout=layout,
            nanoseconds=statistics.median(cost),
            ratio=statistics.median(ratios),
            ratio_min=min(blocks),
            ratio_max=max(blocks),
        )


def _cost(batch: Batch) -> float:
    """Nanoseconds per frame; a batch that lost frames measured something else."""
    if batch.forwarded != batch.sent:
        raise BenchError(f"{batch.sent - batch.forwarded} of {batch.sent} frames were lost")
    return batch.nanoseconds


def format_table(results: Sequence[Result]) -> str:
    """Results as a table for people."""
    lines = [
        f"{'mode':7} {'pods':>4} {'policies':>8}  {'path':18} {'packet':12} {'layout':16}"
        f" {'ns':>6}  {'ratio':>5}  {'min..max':10}"
    ]
    previous: Result | None = None
    for each in results:
        if previous is not None and each.measurement != previous.measurement:
            lines.append("")
        previous = each
        spread = f"{each.ratio_min:.2f}..{each.ratio_max:.2f}"
        line = (
            f"{each.mode:7} {each.pods:4} {each.policies:8}  {each.path:18} {each.packet:12} "
            f"{each.layout:16} {each.nanoseconds:6.0f}  {each.ratio:5.2f}  {spread:10}"
        )
        if each.target is not None:
            line += f"  {'FAIL' if each.missed else 'PASS'} (target {each.target:.2f})"
        lines.append(line.rstrip())
    return "\n".join(lines) + "\n"


def format_json(results: Sequence[Result], protocol: str, effort: Effort) -> str:
    """Results with what they were measured on."""
    document = {
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "protocol": protocol,
        "rules": RULES,
        "effort": asdict(effort),
        "results": [
            asdict(each) | {"target": each.target, "missed": each.missed} for each in results
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def note(text: str) -> None:
    """Say what is going on; results alone go to standard output."""
    print(text, file=sys.stderr, flush=True)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Measure what podwall's ruleset costs per packet, in private namespaces.",
        epilog="Exit status: 0 done, 1 with --check if a target is missed, 2 it cannot run here.",
    )
    parser.add_argument("--mode", choices=("legacy", "nft", "both"), default="both")
    parser.add_argument("--protocol", choices=("tcp", "udp"), default="tcp")
    parser.add_argument("--quick", action="store_true", help="under a minute, less exact")
    parser.add_argument("--check", action="store_true", help="exit 1 if a target is missed")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the results as SVG")
    parser.add_argument("-o", dest="output", choices=("table", "json"), default="table")
    last = max(os.sched_getaffinity(0))
    parser.add_argument("--cpu", type=int, default=last, help="CPU to measure on (default: last)")
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
            results = list(measure(modes, arguments.protocol, effort, loadgen))
    except BenchError as error:
        note(f"datapath: {error}")
        return 2
    if arguments.output == "json":
        sys.stdout.write(format_json(results, arguments.protocol, effort))
    else:
        sys.stdout.write(format_table(results))
    if arguments.plot:
        from datapath_plot import draw  # noqa: PLC0415 - needs matplotlib, which nothing else does

        draw(results, arguments.plot)
    return 1 if arguments.check and any(each.missed for each in results) else 0


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    # The first process of a PID namespace ignores SIGTERM unless it handles it.
    signal.signal(signal.SIGTERM, _stop)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
