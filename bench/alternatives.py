"""The measurements behind podwall's layout: what one rule costs, and other ways to dispatch.

    python bench/alternatives.py rules      nanoseconds of one rule that does not match, by kind
    python bench/alternatives.py dispatch   ways to lead a packet to its profile, on a large node

Both run like the data path benchmark: in private namespaces, taking turns with a conntrack-only
node.  Every way to dispatch is checked to give the right verdicts before it is measured.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

from lanes import (
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
from scenario import POD_CIDR, Scenario, draw_flows, make_scenario, pack_flows

PODS, POLICIES = 250, 100
COPIES = 20
"""How many copies of a rule stand in a row, to tell its cost from noise."""

ESTABLISHED = "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"
LEAF = 4
"""Most classes that a tree of sets asks one after the other."""

BASE = "conntrack only"

# {i} is another number in every copy; the sets e{i}, b{i} and n{i} are empty, h{i} holds all pods.
RULES = {
    "address (-d)": "-d 10.99.0.{i} -j DROP",
    "protocol": "-p sctp -j DROP",
    "jump and return": "-j EMPTY",
    "one port (-m tcp)": "-p tcp -m tcp --dport 9{i:02} -j DROP",
    "range of ports (-m tcp)": "-p tcp -m tcp --dport 9{i:02}:950 -j DROP",
    "one port (multiport)": "-p tcp -m multiport --dports 9{i:02} -j DROP",
    "three ports (multiport)": "-p tcp -m multiport --dports 7{i:02},8{i:02},9{i:02} -j DROP",
    "conntrack state": "-m conntrack --ctstate INVALID -j DROP",
    "mark": "-m mark --mark 0x1{i:02}/0xfff -j DROP",
    "comment and mark": '-m comment --comment "x" -m mark --mark 0x1{i:02}/0xfff -j DROP',
    "hash:ip, empty": "-m set --match-set e{i} dst -j DROP",
    "bitmap:ip, empty": "-m set --match-set b{i} dst -j DROP",
    "hash:net, empty": "-m set --match-set n{i} dst -j DROP",
    "hash:ip, member": "-m set ! --match-set h{i} dst -j DROP",
}


@dataclass
class Draft:
    """A ruleset in the making."""

    scenario: Scenario
    set_type: str = "hash:ip hashsize 64"
    sets: list[str] = field(default_factory=list)
    chains: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)

    def set(self, name: str, members: Sequence[str], set_type: str = "") -> None:
        """Create a set and fill it."""
        self.sets.append(f"create {name} {set_type or self.set_type}")
        self.sets += (f"add {name} {member}" for member in members)

    def chain(self, name: str) -> str:
        """Create a chain."""
        self.chains.append(f":{name} -")
        return name

    def rule(self, chain: str, text: str) -> None:
        """Append a rule to a chain."""
        self.rules.append(f"-A {chain} {text}")

    def layout(self) -> Layout:
        """The finished text."""
        lines = ["*filter", *self.chains, *self.rules, "COMMIT"]
        return Layout("".join(f"{s}\n" for s in self.sets), "".join(f"{s}\n" for s in lines))


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction of judging; `set_end` and `option` look at the pod, `peer` at the other end."""

    letter: str
    set_end: str
    option: str
    peer: str
    root_rule: str


INGRESS = Direction("i", "dst", "-d", "src", "-g")
EGRESS = Direction("e", "src", "-s", "dst", "-j")


@dataclass(frozen=True, slots=True)
class Class:
    """The pods of one policy in one direction, and the place of their set in a tree."""

    name: str
    chain: str
    members: tuple[str, ...]
    bits: str


Dispatch = Callable[[Draft, Direction, str, Sequence[Class]], None]


def build(
    scenario: Scenario,
    dispatch: Dispatch,
    *,
    set_type: str = "hash:ip hashsize 64",
    ports_first: bool = True,
) -> Layout:
    """A ruleset like podwall's, with another dispatch: established first, no ACCEPT, no mark."""
    draft = Draft(scenario, set_type)
    for chain in ("ROOT", "DENY"):
        draft.chain(chain)
    draft.rule("FORWARD", "-j ROOT")
    draft.rule("ROOT", ESTABLISHED)
    draft.rule("DENY", "-j DROP")
    for direction in (EGRESS, INGRESS):
        classes = list(_classes(draft, direction, ports_first=ports_first))
        entry = draft.chain(f"{direction.letter}-dispatch")
        if dispatch is by_address:
            subjects = f"{direction.option} {POD_CIDR}"
        else:
            draft.set(f"{direction.letter}-isolated", [pod.address for pod in scenario.local])
            subjects = f"-m set --match-set {direction.letter}-isolated {direction.set_end}"
        draft.rule("ROOT", f"{subjects} {direction.root_rule} {entry}")
        dispatch(draft, direction, entry, classes)
    return draft.layout()


def _classes(draft: Draft, direction: Direction, *, ports_first: bool) -> Iterator[Class]:
    """Writes the profiles; gives the classes to dispatch to them."""
    for number, profile in enumerate(draft.scenario.profiles):
        chain = draft.chain(f"{direction.letter}-profile-{number}")
        rules = profile.ingress if direction is INGRESS else profile.egress
        for index, rule in enumerate(rules):
            name = f"{direction.letter}-peers-{number}-{index}"
            draft.set(name, draft.scenario.addresses(rule.buckets), "hash:ip hashsize 64")
            words = ",".join(str(a) if a == b else f"{a}:{b}" for a, b in rule.ports)
            tests = [
                f"-m multiport --dports {words}",
                f"-m set --match-set {name} {direction.peer}",
            ]
            ordered = " ".join(tests if ports_first else reversed(tests))
            draft.rule(chain, f"-p {draft.scenario.protocol.lower()} {ordered} -j RETURN")
        draft.rule(chain, "-g DENY")
        name = f"{direction.letter}-class-{number}"
        digest = int.from_bytes(hashlib.sha256(name.encode()).digest())
        yield Class(name, chain, draft.scenario.members(number), f"{digest:0256b}")


def by_linear_sets(
    draft: Draft, direction: Direction, chain: str, classes: Sequence[Class]
) -> None:
    """A set for each class, asked one after the other."""
    for each in classes:
        draft.set(each.name, each.members)
        draft.rule(chain, f"-m set --match-set {each.name} {direction.set_end} -g {each.chain}")
    draft.rule(chain, "-g DENY")


def by_tree_of_sets(
    draft: Draft,
    direction: Direction,
    chain: str,
    classes: Sequence[Class],
    *,
    step: int,
    path: str = "",
) -> None:
    """Sets over `step` bits of a hash of the class's name; the last branch is not tested."""
    if len(classes) <= LEAF:
        by_linear_sets(draft, direction, chain, classes)
        return
    parts: dict[str, list[Class]] = {}
    for each in classes:
        parts.setdefault(each.bits[len(path) : len(path) + step], []).append(each)
    for digits, part in sorted(parts.items()):
        child = draft.chain(f"{direction.letter}-tree-{path}{digits}")
        if digits == max(parts):
            draft.rule(chain, f"-g {child}")
        else:
            draft.set(child, [member for each in part for member in each.members])
            draft.rule(chain, f"-m set --match-set {child} {direction.set_end} -g {child}")
        by_tree_of_sets(draft, direction, child, part, step=step, path=path + digits)


def by_address(draft: Draft, direction: Direction, chain: str, classes: Sequence[Class]) -> None:
    """Address prefixes, sixteen to a chain; the only way in which pods stand in rules."""
    leads = {IPv4Address(member): each.chain for each in classes for member in each.members}
    blocks: dict[int, list[IPv4Address]] = {}
    for address in sorted(leads):
        blocks.setdefault(int(address) >> 4, []).append(address)
    for block, addresses in blocks.items():
        child = draft.chain(f"{direction.letter}-block-{block & 15}")
        draft.rule(chain, f"{direction.option} {IPv4Address(block << 4)}/28 -g {child}")
        for address in addresses:
            draft.rule(child, f"{direction.option} {address}/32 -g {leads[address]}")
        draft.rule(child, "-g DENY")
    draft.rule(chain, "-g DENY")


def conntrack_only(_scenario: Scenario) -> Layout:
    """The base that everything is compared with."""
    return Layout("", f"*filter\n-A FORWARD {ESTABLISHED}\nCOMMIT\n")


def bitmap() -> str:
    """A set type for the addresses of one node, IPv4 only."""
    return f"bitmap:ip range {POD_CIDR}"


WAYS: dict[str, Callable[[Scenario], Layout]] = {
    BASE: conntrack_only,
    "original layout": original_layout,
    "linear sets": partial(build, dispatch=by_linear_sets),
    "tree of sets, 2-way": partial(build, dispatch=partial(by_tree_of_sets, step=1)),
    "tree of sets, 4-way": partial(build, dispatch=partial(by_tree_of_sets, step=2)),
    "tree of sets, 8-way": partial(build, dispatch=partial(by_tree_of_sets, step=3)),
    "4-way, bitmap:ip": partial(
        build, dispatch=partial(by_tree_of_sets, step=2), set_type=bitmap()
    ),
    "4-way, hashsize 1024": partial(
        build, dispatch=partial(by_tree_of_sets, step=2), set_type="hash:ip hashsize 1024"
    ),
    "4-way, peers before ports": partial(
        build, dispatch=partial(by_tree_of_sets, step=2), ports_first=False
    ),
    "by address": partial(build, dispatch=by_address),
    "podwall": podwall_layout,
}


def measure_dispatch(mode: str, rounds: int, loadgen: Loadgen) -> None:
    """Print the cost of every way to dispatch, between pods of the node and from another."""
    scenario = make_scenario(PODS, POLICIES)
    lanes = _lanes(mode, scenario, [make(scenario) for make in WAYS.values()])
    for way, sources in (("other node to pod", scenario.remote), ("pod to pod", scenario.local)):
        for allowed in (True, False):
            probe = pack_flows(draw_flows(scenario, 1000, sources, allowed=allowed))
            for name, batch in zip(WAYS, loadgen("probe", "tcp", probe, lanes), strict=True):
                lenient = name in {BASE, "original layout"} and not allowed
                if batch.forwarded != batch.sent * allowed and not lenient:
                    raise BenchError(f"{name}, {way}: {batch.forwarded} of {batch.sent} passed")
        flows = pack_flows(draw_flows(scenario, 4096, sources))
        costs = _costs(loadgen, flows, lanes, rounds)
        print(f"\n{mode}, new connection, {way}, {PODS} pods, {POLICIES} policies")
        for name, cost in zip(WAYS, costs, strict=True):
            ratio = statistics.median(a / b for a, b in zip(cost, costs[0], strict=True))
            print(f"  {name:26} {statistics.median(cost):7.0f} ns  {ratio:5.2f}")


def measure_rules(mode: str, rounds: int, loadgen: Loadgen) -> None:
    """Print what one rule of each kind costs a packet that opens a connection."""
    scenario = make_scenario(PODS, POLICIES)
    layouts = [conntrack_only(scenario), *(_copies(scenario, rule) for rule in RULES.values())]
    lanes = _lanes(mode, scenario, layouts)
    flows = pack_flows(draw_flows(scenario, 4096, scenario.local))
    base, *costs = _costs(loadgen, flows, lanes, rounds)
    print(f"\n{mode}, one rule that does not match (without any: {statistics.median(base):.0f} ns)")
    for name, cost in zip(RULES, costs, strict=True):
        added = statistics.median(a - b for a, b in zip(cost, base, strict=True)) / COPIES
        print(f"  {name:26} {added:6.1f} ns")


def _copies(scenario: Scenario, rule: str) -> Layout:
    draft = Draft(scenario)
    draft.chain("EMPTY")
    draft.rule("FORWARD", ESTABLISHED)
    for i in range(COPIES):
        draft.set(f"e{i}", ())
        draft.set(f"n{i}", (), "hash:net")
        draft.set(f"b{i}", (), bitmap())
        draft.set(f"h{i}", [pod.address for pod in scenario.local])
        draft.rule("FORWARD", rule.format(i=i))
    return draft.layout()


def _lanes(mode: str, scenario: Scenario, layouts: Sequence[Layout]) -> list[Lane]:
    lanes = []
    for index, layout in enumerate(layouts):
        lane = create_lane(index, mode, (pod.address for pod in scenario.local))
        load_layout(lane, layout)
        lanes.append(lane)
    return lanes


def _costs(loadgen: Loadgen, flows: bytes, lanes: Sequence[Lane], rounds: int) -> list[list[float]]:
    """Nanoseconds per packet by lane and round."""
    batches = loadgen("new", "tcp", flows, lanes, rounds=rounds)
    return [[each.nanoseconds for each in lane] for lane in group_by_lane(batches)]


def main() -> int:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("rules", "dispatch"))
    parser.add_argument("--mode", choices=("legacy", "nft"), default="legacy")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    measure = measure_rules if arguments.what == "rules" else measure_dispatch
    try:
        enter_private_namespaces()
        loadgen = Loadgen(compile_loadgen(Path("/run")), arguments.cpu)
        measure(arguments.mode, arguments.rounds, loadgen)
    except BenchError as error:
        print(f"alternatives: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
