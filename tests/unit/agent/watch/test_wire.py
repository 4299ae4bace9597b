"""Objects from their bytes: the fast way gives what the general decoder gives."""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from podwall.agent.watch.lines import LineSplitter
from podwall.agent.watch.typed import read_pod
from podwall.agent.watch.wire import Reading, parse_bookmark, parse_page, read_object
from podwall.cluster.events import Kind, NamespaceKey, NodeKey
from podwall.errors import ApiGarbled
from podwall.model.decode import (
    decode_namespace,
    decode_node,
    decode_pod,
    decode_policy,
)
from podwall.model.objects import Pod
from podwall.model.policy import MODE_ANNOTATION, Mode, Policy, PolicyKey

Json = dict[str, Any]
DECODERS = {
    Kind.POD: decode_pod,
    Kind.NAMESPACE: decode_namespace,
    Kind.NODE: decode_node,
    Kind.POLICY: decode_policy,
}

# What may stand anywhere instead of what should.
_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 70_000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(("", "x", "-", "a.b", "A", "a b", "ü", '"', "\u202e", "10.0.0.1", "fd00::1")),
    st.text(max_size=3),
    st.just([]),
    st.just({}),
    st.just([None]),
)


_RARELY = st.sampled_from((False,) * 30 + (True,))


def mostly(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What should be there, and rarely something odd."""
    return _RARELY.flatmap(lambda rarely: _ODD if rarely else good)


def fields(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """A mapping of some of these fields, and of one that is no concern of ours."""
    optional = {key: mostly(value) for key, value in known.items()}
    return st.fixed_dictionaries({}, optional={**optional, "unheardOf": _ODD})


_NAMES = st.sampled_from(
    ("a",) * 20 + ("web-0", "db", "a.b", "x" * 253, "Web", "", "a_b", "x" * 254)
)
_NAMESPACES = st.sampled_from(("b",) * 20 + ("dev", "default", "a.b", "", "x" * 64))
_KEYS = st.sampled_from(
    ("k", "pod-template-hash") * 15
    + ("app", "example.org/app", "app.kubernetes.io/name", "-", "a/b/c", "ü")
)
_VALUES = st.sampled_from(("v",) * 30 + ("web", "", "1", "x" * 63, "x" * 64, "a b", "ü"))
_LABELS = st.dictionaries(_KEYS, mostly(_VALUES), max_size=4)
_TIMES = st.sampled_from(("2026-01-01T00:00:00Z", "", "yesterday", "\x1b[31m"))
_OWNERS = st.lists(
    mostly(
        fields(
            kind=st.sampled_from(("ReplicaSet", "Job", "StatefulSet", "Node", "\x1b[31m")),
            name=st.sampled_from(("web-v", "web", "v", "backup-28999999", "backup-20260101", "")),
            controller=st.sampled_from((True, True, True, False, None)),
        )
    ),
    max_size=3,
)
_PORTS = st.lists(
    mostly(
        fields(
            name=st.sampled_from(("http", "", "ok-1") * 8 + ("x" * 16, "8080")),
            containerPort=st.sampled_from((81,) * 20 + (80, 65535, 0, 65536, -1, 80.0, True)),
            protocol=st.sampled_from(("TCP", "UDP", "SCTP") * 8 + ("tcp", "", "ICMP")),
        )
    ),
    max_size=3,
)
_CONTAINERS = st.lists(
    mostly(
        fields(name=st.just("main"), ports=_PORTS, restartPolicy=st.sampled_from(("Always", "No")))
    ),
    max_size=3,
)
_ADDRESSES = st.sampled_from(
    ("10.0.0.3",) * 20
    + (
        "10.0.0.1",
        "10.0.0.2",
        "010.0.0.1",
        "fd00::1",
        "::ffff:1.2.3.4",
        "fe80::1%eth0",
        "",
        "x" * 65,
    )
)
_IPS = st.lists(mostly(fields(ip=_ADDRESSES)), max_size=3)
_METADATA = {
    "uid": st.sampled_from(("0b5c", "", '"')),
    "labels": _LABELS,
    "creationTimestamp": _TIMES,
    "deletionTimestamp": _TIMES,
    "resourceVersion": st.sampled_from(("17", "", "x")),
    "ownerReferences": _OWNERS,
    "annotations": st.dictionaries(_KEYS, _VALUES, max_size=1),
}


def objects(spec: st.SearchStrategy[Any], status: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    metadata = st.builds(
        lambda head, rest: {**head, **rest} if isinstance(rest, dict) else rest,
        st.fixed_dictionaries({"name": mostly(_NAMES), "namespace": mostly(_NAMESPACES)}),
        mostly(fields(**_METADATA)),
    )
    whole = st.fixed_dictionaries(
        {"metadata": mostly(metadata)}, optional={"spec": mostly(spec), "status": mostly(status)}
    )
    return mostly(whole)


PODS = objects(
    fields(
        containers=_CONTAINERS,
        initContainers=_CONTAINERS,
        nodeName=st.sampled_from(("node-1", "", '"', "x" * 300)),
        hostNetwork=st.booleans(),
    ),
    fields(
        phase=st.sampled_from(("Running", "Pending", "Succeeded", "Failed", "") * 5 + ("Runing",)),
        podIP=_ADDRESSES,
        podIPs=_IPS,
        hostIP=_ADDRESSES,
        hostIPs=_IPS,
    ),
)
_SELECTORS = fields(matchLabels=_LABELS, matchExpressions=st.just([]))
_RULES = st.lists(mostly(fields(ports=_PORTS)), max_size=2)
OTHERS = {
    Kind.NAMESPACE: objects(fields(), fields()),
    Kind.NODE: objects(
        fields(podCIDR=st.just("10.0.0.0/24"), podCIDRs=st.just(["10.0.0.0/24", "fd00::/64"])),
        fields(addresses=st.lists(fields(type=st.just("InternalIP"), address=_ADDRESSES))),
    ),
    Kind.POLICY: objects(
        fields(podSelector=_SELECTORS, policyTypes=st.just(["Egress"]), ingress=_RULES), fields()
    ),
}


@given(PODS)
@example({"metadata": {"name": "a", "namespace": "b"}, "spec": None, "status": None})
@example(
    {"metadata": {"name": "a", "namespace": "b", "labels": None}, "spec": {"containers": None}}
)
@example({"metadata": {"name": "a", "namespace": ""}})
def test_pods_are_read_as_the_general_decoder_reads_them(thing: object) -> None:
    found = read_object(Kind.POD, json.dumps(thing).encode())
    expected = decode_pod(json.loads(json.dumps(thing)))
    assert found.value == expected.value
    assert found.problems == expected.problems
    assert found.key == (expected.value and expected.value.key)
    assert found.uid == (expected.value.uid if expected.value else "")


@given(st.sampled_from(sorted(OTHERS, key=str)).flatmap(lambda k: st.tuples(st.just(k), OTHERS[k])))
def test_other_objects_are_what_the_general_decoder_makes_of_them(
    case: tuple[Kind, object],
) -> None:
    kind, thing = case
    found = read_object(kind, json.dumps(thing).encode())
    expected = DECODERS[kind](json.loads(json.dumps(thing)))
    assert found.value == expected.value
    assert found.problems == expected.problems


def good_pod(**metadata: object) -> Json:
    return {
        "kind": "Pod",
        "metadata": {
            "name": "web-0",
            "namespace": "dev",
            "labels": {"app": "web", "tier": "front", "pod-template-hash": "6d4cf"},
            "resourceVersion": "7",
            "ownerReferences": [
                {"kind": "Node", "name": "node-1"},
                {"kind": "ReplicaSet", "name": "web-6d4cf", "controller": True, "uid": "5"},
            ],
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
            **metadata,
        },
        "spec": {
            "nodeName": "node-1",
            "containers": [{"name": "main", "image": "x", "ports": [{"containerPort": 80}]}],
        },
        "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "podIP": "10.0.0.1"},
    }


def test_ordinary_pods_go_the_fast_way() -> None:
    fast = read_pod(json.dumps(good_pod()).encode())
    assert fast is not None
    assert fast.version == "7"
    assert fast.pod == decode_pod(good_pod()).value
    assert fast.pod.workload == "Deployment/web"


def test_what_pods_have_in_common_is_kept_once() -> None:
    raw = json.dumps(good_pod()).encode()
    other = json.dumps(good_pod(name="web-1")).encode()
    one, two = read_object(Kind.POD, raw).value, read_object(Kind.POD, other).value
    assert isinstance(one, Pod)
    assert isinstance(two, Pod)
    assert one.labels is two.labels
    assert one.ports is two.ports
    assert one.node is two.node
    assert one.workload is two.workload
    assert one.key.namespace is two.key.namespace


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (Kind.NAMESPACE, NamespaceKey("a")),
        (Kind.NODE, NodeKey("a")),
        (Kind.POLICY, PolicyKey("b", "a")),
    ],
)
def test_each_kind_has_its_key_and_its_version(kind: Kind, key: object) -> None:
    thing = {"metadata": {"name": "a", "namespace": "b", "resourceVersion": "9"}}
    found = read_object(kind, json.dumps(thing).encode())
    assert (found.key, found.version, found.uid) == (key, "9", "")


@pytest.mark.parametrize("raw", [b"", b"{", b"[1", b"\xff", b'{"metadata":1e999}', b"[" * 10**5])
@pytest.mark.parametrize("kind", Kind)
def test_nothing_that_bytes_may_hold_raises(kind: Kind, raw: bytes) -> None:
    found = read_object(kind, raw)
    assert isinstance(found, Reading)
    assert (found.key, found.value) == (None, None)
    assert found.problems


def test_one_bad_item_leaves_the_others_of_a_page_alone() -> None:
    body = b'{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":1e999}},'
    page = parse_page(body + json.dumps(good_pod()).encode() + b"]}")
    readings = [read_object(Kind.POD, each) for each in page.items or ()]
    assert [each.value is None for each in readings] == [True, False]


@pytest.mark.parametrize("items", [b"", b',"items":null', b',"items":[]'])
def test_a_page_may_have_no_items(items: bytes) -> None:
    page = parse_page(b'{"metadata":{"resourceVersion":"1","continue":null}' + items + b"}")
    assert not page.items
    assert not page.metadata.continue_


@given(
    lines=st.lists(st.binary(min_size=1, max_size=20).filter(lambda each: b"\n" not in each)),
    cuts=st.lists(st.integers(0, 200)),
)
def test_lines_are_whole_however_they_are_cut(lines: list[bytes], cuts: list[int]) -> None:
    text = b"".join(each + b"\n" for each in lines)
    ends = sorted({min(each, len(text)) for each in cuts} | {0, len(text)})
    splitter = LineSplitter()
    found: list[bytes] = []
    for start, end in itertools.pairwise(ends):
        found += splitter.feed(text[start:end])
    assert found == lines
    assert not splitter.unfinished


def test_a_line_without_end_is_given_up() -> None:
    splitter = LineSplitter(longest=100)
    splitter.feed(b"x" * 60)
    with pytest.raises(ApiGarbled):
        splitter.feed(b"x" * 60)


def test_a_bookmark_without_a_place_to_go_on_from_is_none() -> None:
    with pytest.raises(ApiGarbled, match="no resourceVersion"):
        parse_bookmark(msgspec.Raw(b'{"metadata":{"resourceVersion":""}}'))


@pytest.mark.parametrize("mode", Mode)
def test_s51_a_policys_mode_is_read_and_nothing_else_of_its_annotations_is_kept(mode: Mode) -> None:
    large = {f"example.com/{number}": "x" * 1000 for number in range(100)}
    policy = {
        "metadata": {
            "name": "a",
            "namespace": "dev",
            "resourceVersion": "7",
            "annotations": {**large, MODE_ANNOTATION: mode.value},
        },
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }
    reading = read_object(Kind.POLICY, json.dumps(policy).encode())
    assert isinstance(reading.value, Policy)
    assert reading.value.mode is mode
    assert reading.problems == ()
    assert "example.com" not in repr(reading)
    assert len(msgspec.msgpack.encode(reading.value)) < 200


def test_s51_a_policy_that_is_no_json_is_enforced_whatever_its_annotation_says() -> None:
    annotations = json.dumps({MODE_ANNOTATION: "audit"}).encode()
    raw = b'{"metadata": {"name": "a", "namespace": "b", "annotations": %s}, "spec": "\xff"}'
    reading = read_object(Kind.POLICY, raw % annotations)
    assert isinstance(reading.value, Policy)
    assert reading.value.mode is Mode.ENFORCE
    assert reading.problems
