"""Which established connections a change would cut, on this host or on the nodes of a lab.

It is judged as it would be cut: by the rules that each node would hold, which let through today
what they would drop then (S46).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from podwall.api import Cluster
from podwall.dataplane.command import DEFAULT_TIMEOUT, Completed, Runner, SystemRunner, check
from podwall.dataplane.conntrack import HELPER, parse_entries
from podwall.dataplane.enforced import host_addresses, judged_addresses, node_allows
from podwall.explain.ends import Service, end_at
from podwall.model.flow import Flow
from podwall.model.net import Address, Family, Protocol
from podwall.ruleset.compile import compile_node

if TYPE_CHECKING:
    from podwall.lab.client import Lab

_LIST = (*HELPER, "list")


class Cut(msgspec.Struct, frozen=True):
    """Connections of one kind that would be cut on a node; ``count`` says how many there are."""

    node: str
    source: str
    target: str
    service: str
    count: int
    source_address: Address
    target_address: Address

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "node": self.node,
            "from": self.source,
            "to": self.target,
            "service": self.service,
            "count": self.count,
            "addresses": [str(self.source_address), str(self.target_address)],
        }


class Cuts(msgspec.Struct, frozen=True):
    """What would be cut, of how many connections of pods on which nodes.

    ``kept`` tells that a switch keeps connections: then none is cut, and these go on.
    """

    nodes: tuple[str, ...]
    connections: int
    cuts: tuple[Cut, ...]
    kept: bool = False


def cuts_on_host(node: str, before: Cluster, after: Cluster) -> Cuts:
    """Of the connections of this host, which is ``node``.

    Raises:
        KernelError: the connections cannot be read.
    """
    return _cuts({node: SystemRunner()}, before, after)


def cuts_in_lab(name: str, before: Cluster, after: Cluster) -> Cuts:
    """Of the connections of all nodes of a lab.

    Raises:
        LabError: there is no such lab, or it ended.
    """
    # Who only reads files does not pay for the lab.
    from podwall.lab import client  # noqa: PLC0415

    with contextlib.closing(client.find(name)) as lab:
        runners = {node: _LabRunner(lab, f"node/{node}") for node in lab.status().nodes}
        return _cuts(runners, before, after)


class _LabRunner:
    """Runs programs on a node of a lab that is up."""

    def __init__(self, lab: Lab, place: str) -> None:
        self._lab = lab
        self._place = place

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | bytes | None = None,  # noqa: A002, ARG002
        timeout: float = DEFAULT_TIMEOUT,  # noqa: ARG002
    ) -> Completed:
        """Run a program that ends by itself and reads nothing."""
        return Completed(self._lab.output_of(self._place, argv), "", 0)


def _cuts(runners: Mapping[str, Runner], before: Cluster, after: Cluster) -> Cuts:
    cuts: list[Cut] = []
    judged = 0
    for node, runner in runners.items():
        flows = list(_flows(node, runner, before, after))
        judged += len(flows)
        allowed_now = _judge(node, runner, before)
        allowed_then = _judge(node, runner, after)
        doomed = Counter(each for each in flows if allowed_now(each) and not allowed_then(each))
        cuts += [_named(node, before, flow, count) for flow, count in doomed.items()]
    ordered = sorted(cuts, key=lambda each: (each.node, each.source, each.target, each.service))
    return Cuts(tuple(runners), judged, tuple(ordered), not after.settings.cut_connections)


def _flows(node: str, runner: Runner, before: Cluster, after: Cluster) -> Iterator[Flow]:
    """The connections of a node's pods, isolated before or after."""
    concerns = [
        judged_addresses(compile_node(c.snapshot, node, c.settings)) for c in (before, after)
    ]
    text = check(_LIST, runner.run(_LIST))
    for connection in parse_entries(text, tuple(Family)):
        flow = connection.flow
        if any(each(flow.src) or each(flow.dst) for each in concerns):
            yield flow


def _judge(node: str, runner: Runner, cluster: Cluster) -> Callable[[Flow], bool]:
    ruleset = compile_node(cluster.snapshot, node, cluster.settings)
    return node_allows(ruleset, host_addresses(runner))


def _named(node: str, cluster: Cluster, flow: Flow, count: int) -> Cut:
    return Cut(
        node,
        end_at(cluster.snapshot, flow.src).title,
        end_at(cluster.snapshot, flow.dst).title,
        _service(flow),
        count,
        flow.src,
        flow.dst,
    )


def _service(flow: Flow) -> str:
    try:
        return str(Service(Protocol(flow.protocol), flow.port))
    except ValueError:
        return f"protocol {flow.protocol}"
