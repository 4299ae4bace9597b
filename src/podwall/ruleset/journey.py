"""The hooks that a flow meets on its way, and what the rulesets on the way make of it.

A packet between two nodes is judged twice: where it leaves, as egress of its source, and where it
arrives, as ingress of its destination. Traffic that starts on a node leaves it through OUTPUT, what
ends on a node arrives through INPUT, all else is forwarded.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.model.flow import Flow, Verdict
from podwall.model.net import Address
from podwall.ruleset.ir import Hook, Ruleset
from podwall.ruleset.simulate import Trace, simulate


class Stop(msgspec.Struct, frozen=True):
    """A hook on a node."""

    node: str
    hook: Hook


class StopTrace(msgspec.Struct, frozen=True):
    """What became of a flow at one stop."""

    stop: Stop
    trace: Trace


class Journey(msgspec.Struct, frozen=True):
    """All stops up to the one that denied the flow, or to its end."""

    verdict: Verdict
    stops: tuple[StopTrace, ...]


def stops_of(snapshot: Snapshot, flow: Flow) -> tuple[Stop, ...]:
    """The hooks that ``flow`` passes, in order. Outside the cluster there are none."""
    source, from_node = _place(snapshot, flow.src)
    target, to_node = _place(snapshot, flow.dst)
    stops: list[Stop] = []
    if source is not None and source == target:
        if not (from_node or to_node):
            stops.append(Stop(source, Hook.FORWARD))
        elif from_node and not to_node:
            stops.append(Stop(source, Hook.OUTPUT))
        elif to_node and not from_node:
            stops.append(Stop(source, Hook.INPUT))
        return tuple(stops)
    if source is not None:
        stops.append(Stop(source, Hook.OUTPUT if from_node else Hook.FORWARD))
    if target is not None:
        stops.append(Stop(target, Hook.INPUT if to_node else Hook.FORWARD))
    return tuple(stops)


def _place(snapshot: Snapshot, address: Address) -> tuple[str | None, bool]:
    """The node that an address is on, if any, and whether it is the node's own address."""
    for node in snapshot.nodes.values():
        if address in node.addresses:
            return node.name, True
    owner = snapshot.owner(address)
    if owner is not None:
        return owner.node, False
    for node in snapshot.nodes.values():
        if any(address in cidr for cidr in node.pod_cidrs):
            return node.name, False
    return None, False


def travel(snapshot: Snapshot, flow: Flow, ruleset_of: Callable[[str], Ruleset]) -> Journey:
    """Send ``flow`` through the rulesets of the nodes on its way.

    ``ruleset_of`` gives the ruleset of a node by name.
    """
    stops: list[StopTrace] = []
    for stop in stops_of(snapshot, flow):
        trace = simulate(ruleset_of(stop.node).family(flow.src.family), stop.hook, flow)
        stops.append(StopTrace(stop, trace))
        if trace.verdict is Verdict.DENIED:
            return Journey(Verdict.DENIED, tuple(stops))
    return Journey(Verdict.ALLOWED, tuple(stops))
