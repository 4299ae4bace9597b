"""Clusters as text."""

from __future__ import annotations

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.cluster.wire import (
    AT_ONCE,
    Parts,
    decode_parts,
    encode_parts,
    parts_of,
    snapshot_of,
)
from tests.builders import namespace, node, pod, policy
from tests.strategies import snapshots


@given(snapshots())
def test_a_cluster_arrives_as_it_was_sent(snapshot: Snapshot) -> None:
    assert snapshot_of([decode_parts(encode_parts(parts_of(snapshot)))]) == snapshot


@given(snapshots(), st.randoms())
def test_pieces_make_the_same_cluster_in_any_order(snapshot: Snapshot, chance: object) -> None:
    pieces = [encode_parts(each) for each in parts_of(snapshot).pieces()]
    chance.shuffle(pieces)  # type: ignore[attr-defined]
    assert snapshot_of(map(decode_parts, pieces)) == snapshot


def test_a_large_cluster_goes_in_pieces_that_hold_everything_once() -> None:
    snapshot = build_snapshot(
        [pod(f"a/p{number}", f"10.0.{number >> 8}.{number & 255}") for number in range(1, 1201)],
        [namespace("a")],
        [policy(f"a/p{number}") for number in range(AT_ONCE + 1)],
        [node("n", "10.9.0.1")],
    )
    pieces = list(parts_of(snapshot).pieces())
    assert [(len(each.policies), len(each.pods)) for each in pieces] == [
        (0, 0),
        (500, 0),
        (1, 0),
        (0, 500),
        (0, 500),
        (0, 200),
    ]
    assert snapshot_of(pieces) == snapshot


def test_what_pods_have_in_common_is_kept_once() -> None:
    snapshot = build_snapshot([pod(f"a/{name}", ports=["http:80/tcp"], app="x") for name in "bcd"])
    arrived = snapshot_of([decode_parts(encode_parts(parts_of(snapshot)))])
    assert len({id(each.labels) for each in arrived.pods.values()}) == 1
    assert len({id(each.ports) for each in arrived.pods.values()}) == 1


def test_a_policy_keeps_what_was_not_understood_in_it() -> None:
    broken = policy("a/p", problems=["spec.egress[1]: what"])
    sent = encode_parts(Parts(policies=(broken,)))
    assert decode_parts(sent).policies == (broken,)


@pytest.mark.parametrize("text", ["", "7", "[]", '{"pods":[1]}', '{"Popen":["true"]}'])
def test_what_is_no_cluster_is_refused(text: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_parts(text)
