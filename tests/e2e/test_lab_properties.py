"""Property 3: the matrix of real probes is the matrix of the oracle, whatever the policies.

The pods of one lab stay; hypothesis draws their labels and the policies. Each example changes the
lab in place, so the way from any cluster to any other is tried as well, and after each the kernel
of each node holds exactly what was compiled.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.dataplane.command import SystemRunner
from podwall.dataplane.iptables.mode import Mode
from podwall.dataplane.kernel import open_kernel
from podwall.lab import client
from podwall.lab.client import Lab
from podwall.lab.engine import Engine, kernel_engine
from podwall.lab.topology import Shape
from podwall.model.flow import Flow
from podwall.model.net import Family, parse_address
from podwall.model.objects import Namespace, Pod
from podwall.policy.evaluate import evaluate
from podwall.ruleset.compile import compile_node
from podwall.ruleset.diff import diff
from tests import strategies
from tests.builders import namespace, node, pod

pytestmark = pytest.mark.kernel

NODES = (
    node("n1", "192.168.0.1", "fd00:ff::1", pod_cidrs=["10.0.1.0/29", "fd00:1::/125"]),
    node("n2", "192.168.0.2", "fd00:ff::2", pod_cidrs=["10.0.2.0/29", "fd00:2::/125"]),
)
PODS = tuple(
    pod(
        f"{space}/w{number}",
        f"10.0.{number}.{host}",
        f"fd00:{number}::{host}",
        node=f"n{number}",
        ports=[f"web:{79 + number}/tcp", "dns:81/udp", "82/sctp"],
    )
    for host, space in enumerate(strategies.NAMESPACES, start=2)
    for number in (1, 2)
)


def checked_engine() -> Engine:
    """The real engine, which then reads each node back and finds nothing left to do."""
    real = kernel_engine(mode=Mode.NFT)

    def program(snapshot: Snapshot, name: str, prefix: tuple[str, ...]) -> None:
        real.program(snapshot, name, prefix)
        observed = open_kernel(SystemRunner(prefix), Mode.NFT).observe()
        assert not diff(observed, compile_node(snapshot, name)), f"{name} is not in sync"

    return msgspec.structs.replace(real, program=program)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Six pods on two nodes, dual stack."""
    snapshot = build_snapshot(PODS, map(namespace, strategies.NAMESPACES), (), NODES)
    with client.start(snapshot, Shape(families=tuple(Family)), checked_engine()) as started:
        yield started


@st.composite
def clusters(draw: st.DrawFn) -> Snapshot:
    """The pods of the lab with drawn labels, under drawn policies."""

    def relabelled(each: Pod) -> Pod:
        return msgspec.structs.replace(each, labels=draw(strategies.label_sets()))

    spaces: list[Namespace] = [draw(strategies.namespaces(each)) for each in strategies.NAMESPACES]
    policies = draw(
        st.lists(strategies.policies(), min_size=1, max_size=5, unique_by=lambda each: each.key)
    )
    return build_snapshot(map(relabelled, PODS), spaces, policies, NODES)


@hypothesis_settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(snapshot=clusters())
def test_real_packets_meet_the_verdict_of_the_oracle_whatever_the_policies(
    lab: Lab, snapshot: Snapshot
) -> None:
    matrix = lab.apply(snapshot).matrix
    assert matrix is not None
    assert len(matrix.cells) > 300
    wrong = []
    for cell in matrix.differences:
        src, dst = (
            next(
                address
                for address in map(parse_address, matrix.parties[index].addresses)
                if address.family == cell.family
            )
            for index in (cell.src, cell.dst)
        )
        wrong.append(str(evaluate(snapshot, Flow(src, dst, cell.protocol, cell.port))))
    assert not wrong, "\n\n".join(wrong)
