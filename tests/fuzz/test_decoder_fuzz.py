"""Whatever the input holds: no surprise exceptions, bounded printable messages, closed policies.

``HYPOTHESIS_PROFILE=thorough`` searches longer.
"""

from __future__ import annotations

import io
import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from podwall.manifest import Manifests, load
from podwall.manifest.workloads import WORKLOAD_KINDS, decode_workload
from podwall.model.decode import (
    Decoded,
    decode_namespace,
    decode_node,
    decode_pod,
    decode_policy,
)
from podwall.model.policy import AnyPeer, AnyPort, Direction, Policy

FIELDS = [
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    "status",
    "items",
    "name",
    "namespace",
    "labels",
    "generateName",
    "uid",
    "ownerReferences",
    "controller",
    "deletionTimestamp",
    "podSelector",
    "namespaceSelector",
    "ipBlock",
    "cidr",
    "except",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
    "policyTypes",
    "ingress",
    "egress",
    "from",
    "to",
    "ports",
    "port",
    "endPort",
    "protocol",
    "containers",
    "initContainers",
    "restartPolicy",
    "containerPort",
    "hostNetwork",
    "nodeName",
    "phase",
    "podIP",
    "podIPs",
    "ip",
    "hostIP",
    "podCIDR",
    "podCIDRs",
    "addresses",
    "type",
    "address",
    "replicas",
    "selector",
    "template",
    "jobTemplate",
    "parallelism",
    "completions",
    "suspend",
    "ordinals",
    "start",
]
TEXTS = [
    "web",
    "dev",
    "Ingress",
    "Egress",
    "TCP",
    "UDP",
    "SCTP",
    "tcp",
    "http",
    "In",
    "NotIn",
    "Exists",
    "DoesNotExist",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "fd00::/8",
    "0.0.0.0/0",
    "::/0",
    "10.0.0.1",
    "fd00::1",
    "::ffff:1.2.3.4",
    "Running",
    "Always",
    "Pod",
    "List",
    "NetworkPolicy",
    "Deployment",
    "v1",
    "networking.k8s.io/v1",
    "apps/v1",
    "InternalIP",
]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-1, 70000)
    | st.floats()
    | st.just(10**4000)
    | st.sampled_from(TEXTS)
    | st.text(max_size=30)
    | st.sampled_from(("x" * 100_000, "\x1b[31m", "\u202e", "a\nb", '"; -A INPUT', "9" * 5000))
)
keys = st.sampled_from(FIELDS) | st.text(max_size=8)
data = st.recursive(
    scalars,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(keys, children, max_size=6),
    max_leaves=25,
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "podSelector": data,
        "policyTypes": data | st.lists(st.sampled_from(("Ingress", "Egress", "x"))),
        "ingress": data
        | st.lists(st.fixed_dictionaries({}, optional={"from": data, "ports": data})),
        "egress": data | st.lists(st.fixed_dictionaries({}, optional={"to": data, "ports": data})),
        "podselector": data,
    },
)


def check_problems(decoded: Decoded[Any]) -> None:
    assert len(decoded.problems) <= 202
    for problem in decoded.problems:
        assert str(problem).isprintable()
        assert len(problem.message) < 400
        assert problem.found


def check_closed(spec: object, policy: Policy) -> None:
    """The wildcards come from absence only, and isolation from no understanding at all."""
    assert policy.isolates
    for direction, peers_field in ((Direction.INGRESS, "from"), (Direction.EGRESS, "to")):
        rules = policy.rules(direction)
        assert not rules or direction in policy.isolates
        for rule in rules:
            assert isinstance(spec, dict)
            entry = spec[direction.value][rule.id.index]
            if AnyPeer() in rule.peers:
                assert entry.get(peers_field) in (None, [])
            if AnyPort() in rule.ports:
                assert entry.get("ports") in (None, [])


def check_manifests(found: Manifests) -> None:
    for diagnostic in found.diagnostics:
        assert str(diagnostic).isprintable()
        assert diagnostic.line >= 0
        json.dumps(diagnostic.to_dict())
    for policy in found.policies:
        assert policy.isolates
        assert str(policy.key).isprintable()
        assert found.origins[policy.key].line() >= 1
    for pod in found.pods:
        assert str(pod.key).isprintable()


@given(data)
def test_any_data_decodes_to_something_bounded(found: Any) -> None:
    for decode in (decode_pod, decode_namespace, decode_node, decode_policy):
        check_problems(decode(found))


@given(specs | data)
@example({"podSelector": {}, "ingress": [None, {}, {"from": [{}]}, {"ports": [None]}]})
def test_a_policy_with_any_spec_isolates_and_opens_nothing_by_mistake(spec: Any) -> None:
    decoded = decode_policy({"metadata": {"name": "web"}, "spec": spec})
    check_problems(decoded)
    assert decoded.value is not None
    check_closed(spec, decoded.value)
    assert len(decoded.value.problems) == len(decoded.errors)


@given(data)
def test_a_pod_with_any_spec_and_status_is_read(found: Any) -> None:
    decoded = decode_pod({"metadata": {"name": "web"}, "spec": found, "status": found})
    check_problems(decoded)
    assert decoded.value is not None


@given(st.sampled_from(sorted(WORKLOAD_KINDS)), st.dictionaries(keys, data, max_size=5))
def test_a_workload_with_any_spec_makes_a_bounded_number_of_pods(
    kind: str, spec: dict[str, Any]
) -> None:
    decoded = decode_workload(kind, {"metadata": {"name": "web"}, "spec": spec}, max_replicas=3)
    check_problems(decoded)
    assert decoded.value is not None
    assert len(decoded.value.pods) <= 3


@given(st.binary(max_size=300))
@example(b"\xff\xfe")
def test_any_bytes_load_or_are_reported(content: bytes) -> None:
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError:
        content = b"kind: " + content.hex().encode()
    check_manifests(load(["-"], stdin=io.BytesIO(content)))


yaml_pieces = st.sampled_from(
    [
        *(f"{field}:" for field in FIELDS),
        *TEXTS,
        *(
            "\n",
            "\n  ",
            "\n    ",
            "\n- ",
            " ",
            "---\n",
            "\n---\n",
            "...\n",
            "{",
            "}",
            "[",
            "]",
            ",",
        ),
        *(
            "&a ",
            "*a",
            "<<: ",
            "!x ",
            "!!int ",
            "|\n",
            '"',
            "'",
            "#",
            "\t",
            "? ",
            "%YAML 1.2\n",
            "~",
        ),
        *("kind: NetworkPolicy\n", "metadata: {name: web}\n", "apiVersion: v1\n", "\ufeff", "\x00"),
    ]
)


@given(st.lists(yaml_pieces, max_size=30).map("".join) | st.text(max_size=100))
@example("&a [*a]")
@example("? *a\n: &a b")
@example('{"a": &a {}, *a : b}')
@example("<<: &a {<<: *a}")
@example("a: &a\n  <<: [*a]\n")
@example("[" * 300)
def test_any_text_loads_or_is_reported(text: str) -> None:
    check_manifests(load(["-"], stdin=io.BytesIO(text.encode())))


@given(data)
def test_any_json_document_loads_or_is_reported(found: Any) -> None:
    check_manifests(load(["-"], stdin=io.BytesIO(json.dumps(found).encode())))
