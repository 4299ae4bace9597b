"""Snapshots on their way to a lab."""

from __future__ import annotations

import pytest

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.errors import LabError
from podwall.lab.wire import decode_snapshot, encode_snapshot
from podwall.model.selector import Operator
from tests.builders import (
    SCTP,
    UDP,
    all_of,
    allow,
    block,
    labels,
    named,
    namespace,
    need,
    node,
    pod,
    pods,
    policy,
    port,
)


def rich_snapshot() -> Snapshot:
    """One of everything that a snapshot can hold."""
    return build_snapshot(
        pods=[
            pod("dev/web-0", "10.244.1.2", "fd00:1::2", node="n1", ports=["web:80/tcp"], app="web"),
            pod("dev/agent", node="n1", host_network=True, terminating=True),
        ],
        namespaces=[namespace("dev", team="a")],
        policies=[
            policy(
                "dev/p",
                labels({"app": "web"}, need("tier", Operator.NOT_IN, "x", "y")),
                ingress=[
                    allow(
                        block("2001:db8::/32", "2001:db8:1::/48"),
                        pods({"a": "b"}, namespaces={"team": "a"}),
                        pods(namespaces="dev"),
                        ports=[port(80, 90, UDP), named("web"), all_of(SCTP)],
                    )
                ],
                egress=[allow()],
                problems=["spec.egress[1]: what"],
            )
        ],
        nodes=[node("n1", "192.168.88.1", "fd00:88::1", pod_cidrs=["10.244.1.0/24"])],
    )


def test_a_snapshot_arrives_as_it_was_sent():
    assert decode_snapshot(encode_snapshot(rich_snapshot())) == rich_snapshot()


def test_equal_snapshots_have_equal_texts():
    assert encode_snapshot(rich_snapshot()) == encode_snapshot(rich_snapshot())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        '{"unheard":"of"}',
        '{"pods":[{"key":["a","b"]}]}',
        '{"pods":[{"key":{"namespace":"a","name":"b"},"addresses":[{"family":5,"value":1}]}]}',
        '{"policies":[{"key":{"namespace":"a","name":"b"},"subject":{"type":"Popen"}}]}',
    ],
)
def test_what_is_no_snapshot_is_refused(text: str):
    with pytest.raises(LabError, match="no snapshot"):
        decode_snapshot(text)
