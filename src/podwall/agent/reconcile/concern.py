"""Which events of a batch changed what this node's kernel holds, for latencies and for people.

A plan is made for a whole batch, so this tells by what each event is about: an object that really
changed, and for a pod one of this node, or one whose address joined or left a set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from podwall.agent.reconcile.inbox import Arrival
from podwall.cluster.dirty import Dirty
from podwall.cluster.events import Applied, Deleted, NamespaceKey, NodeKey, ObjectKey
from podwall.cluster.state import key_of
from podwall.model.net import Address
from podwall.model.objects import Pod, PodKey
from podwall.model.policy import PolicyKey
from podwall.ruleset.ir import AddressPort
from podwall.ruleset.live import LiveChange
from podwall.ruleset.plan import Plan, SetStep


def concerning(change: LiveChange, node: str, arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
    """The events that had a part in a change and that ``node`` has to do with."""
    moved, dirty = set(_moved(change.plan)), change.dirty
    for arrival in arrivals:
        match arrival.event:
            case Applied(Pod() as pod):
                here = pod.node == node or not moved.isdisjoint(pod.addresses)
                if pod.key in dirty.pods and here:
                    yield arrival
            case Applied(thing):
                if _changed(key_of(thing), dirty):
                    yield arrival
            case Deleted(key):
                if _changed(key, dirty):
                    yield arrival
            case _:
                yield arrival


def _moved(plan: Plan) -> Iterator[Address]:
    """The addresses that join or leave sets that stay."""
    for step in plan.steps:
        if isinstance(step, SetStep):
            for change in (*step.add, *step.delete):
                for member in change.members:
                    if isinstance(member, Address):
                        yield member
                    elif isinstance(member, AddressPort):
                        yield member.address


def _changed(key: ObjectKey, dirty: Dirty) -> bool:
    match key:
        case PodKey():
            return key in dirty.pods
        case PolicyKey():
            return key in dirty.policies
        case NamespaceKey(name):
            return name in dirty.namespaces
        case NodeKey(name):
            return name in dirty.nodes
