"""What the decoder makes of Pods, Namespaces and Nodes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from podwall.model.decode import Decoded, decode_namespace, decode_node, decode_pod
from podwall.model.net import Protocol, parse_address, parse_cidr
from podwall.model.objects import NAME_LABEL, ContainerPort, Phase, Pod
from podwall.model.selector import Operator, Requirement, selector


def decode(text: str, **meta: Any) -> Decoded[Pod | None]:
    data = yaml.safe_load(text) or {}
    return decode_pod({"metadata": {"name": "web", "namespace": "dev", **meta}, **data})


def pod(text: str, **meta: Any) -> Pod:
    decoded = decode(text, **meta)
    assert decoded.problems == ()
    assert decoded.value is not None
    return decoded.value


def errors(decoded: Decoded[Any]) -> list[str]:
    return [str(each) for each in decoded.errors]


def test_a_pod_with_nothing_but_a_name_is_running_and_has_no_address() -> None:
    found = decode_pod({"metadata": {"name": "web"}}).value
    assert found is not None
    assert (str(found.key), found.phase, found.addresses, found.node) == (
        "default/web",
        Phase.RUNNING,
        (),
        "",
    )


def test_null_is_the_same_as_absent_everywhere() -> None:
    text = """
    spec: {containers: null, initContainers: null, nodeName: null, hostNetwork: null}
    status: {podIP: null, podIPs: null, phase: null}
    """
    nulls = {"labels": None, "uid": None, "deletionTimestamp": None, "ownerReferences": None}
    assert pod(text, **nulls) == pod("")
    assert pod("{spec: null, status: null}") == pod("")
    assert pod("{spec: {containers: [{name: c, ports: null}]}}") == pod("")


def test_s24_all_pod_ips_of_both_families_count() -> None:
    found = pod("status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}")
    assert [str(each) for each in found.addresses] == ["10.0.0.1", "fd00::1"]


def test_s24_pod_ip_alone_counts() -> None:
    assert pod("status: {podIP: 10.0.0.1}").addresses == (parse_address("10.0.0.1"),)


def test_s23_a_host_network_pod_has_its_hosts_addresses() -> None:
    text = "{spec: {hostNetwork: true}, status: {hostIP: 192.168.0.1}}"
    assert pod(text).addresses == (parse_address("192.168.0.1"),)
    assert pod(text).host_network


def test_a_host_ip_is_not_the_address_of_an_ordinary_pod() -> None:
    assert pod("status: {hostIP: 192.168.0.1}").addresses == ()


def test_bad_addresses_are_reported_and_left_out() -> None:
    decoded = decode("status: {podIPs: [{ip: 10.0.0.256}, {ip: 'fd00::1%eth0'}, {ip: 10.0.0.1}]}")
    assert decoded.value is not None
    assert decoded.value.addresses == (parse_address("10.0.0.1"),)
    assert [each.path for each in decoded.errors] == [
        ("status", "podIPs", 0, "ip"),
        ("status", "podIPs", 1, "ip"),
    ]


def test_s39_ports_of_containers_and_native_sidecars_count_and_of_init_containers_do_not() -> None:
    found = pod("""
    spec:
      initContainers:
      - {name: setup, ports: [{containerPort: 1}]}
      - {name: mesh, restartPolicy: Always, ports: [{containerPort: 15001, name: mesh}]}
      containers:
      - {name: web, ports: [{containerPort: 80, name: http}, {containerPort: 53, protocol: UDP}]}
    """)
    assert found.ports == (
        ContainerPort("http", Protocol.TCP, 80),
        ContainerPort("", Protocol.UDP, 53),
        ContainerPort("mesh", Protocol.TCP, 15001),
    )


@pytest.mark.parametrize(
    "port", ["{}", "{containerPort: 0}", "{containerPort: '80'}", "{containerPort: 1, protocol: x}"]
)
def test_a_wrong_container_port_is_an_error_and_left_out(port: str) -> None:
    decoded = decode(f"spec: {{containers: [{{name: c, ports: [{port}]}}]}}")
    assert decoded.value is not None
    assert decoded.value.ports == ()
    assert len(decoded.errors) == 1


def test_a_wrong_port_name_leaves_the_port_without_a_name() -> None:
    decoded = decode("spec: {containers: [{ports: [{containerPort: 80, name: Web_Port}]}]}")
    assert decoded.value is not None
    assert decoded.value.ports == (ContainerPort("", Protocol.TCP, 80),)
    assert len(decoded.errors) == 1


@pytest.mark.parametrize("phase", list(Phase))
def test_s21_phases_are_read(phase: Phase) -> None:
    assert pod(f"status: {{phase: {phase.value}}}").phase is phase


def test_an_unknown_phase_is_an_error() -> None:
    decoded = decode("status: {phase: running}")
    assert errors(decoded) == ['status.phase: "running" is a string, did you mean Running?']


def test_a_pod_that_is_being_deleted_is_terminating() -> None:
    assert pod("", deletionTimestamp="2024-05-01T10:00:00Z").terminating


@pytest.mark.parametrize(
    ("owner", "labels", "workload"),
    [
        (("ReplicaSet", "web-5d9c"), {"pod-template-hash": "5d9c"}, "Deployment/web"),
        (("ReplicaSet", "web-5d9c"), {}, "ReplicaSet/web-5d9c"),
        (("ReplicaSet", "web"), {"pod-template-hash": "5d9c"}, "ReplicaSet/web"),
        (("StatefulSet", "db"), {}, "StatefulSet/db"),
        (("Job", "backup-28573210"), {}, "CronJob/backup"),
        (("Job", "backup-20240101"), {}, "Job/backup-20240101"),
        (("Job", "migrate"), {}, "Job/migrate"),
        (("Node", "node-1"), {}, "Node/node-1"),
    ],
)
def test_the_workload_is_the_top_level_owner(
    owner: tuple[str, str], labels: dict[str, str], workload: str
) -> None:
    references = [
        {"kind": "Custom", "name": "watcher"},
        {"kind": owner[0], "name": owner[1], "controller": True},
    ]
    assert pod("", labels=labels, ownerReferences=references).workload == workload


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (1, "1"),
        (-7, "-7"),
        (1.5, "1.5"),
        (1e3, "1000"),
        (None, ""),
        ([], ""),
        ({}, ""),
    ],
)
def test_a_label_value_that_is_no_string_is_an_error_and_kept_as_its_text(
    value: object, text: str
) -> None:
    decoded = decode("", labels={"app": "web", "debug": value})
    assert decoded.value is not None
    assert decoded.value.labels == {"app": "web", "debug": text}
    (error,) = errors(decoded)
    assert error.startswith("metadata.labels.debug: ")
    assert "expected a string" in error
    assert ("quotes" in error) == isinstance(value, int | float)


@pytest.mark.parametrize(
    "key", ["a b", "", "/a", "a/", "A_b/c", "-a", "a/b/c", "x" * 64, "y" * 254 + "/a"]
)
def test_a_label_key_that_kubernetes_would_refuse_is_an_error_and_kept(key: str) -> None:
    decoded = decode("", labels={key: "x"})
    assert decoded.value is not None
    assert list(decoded.value.labels.values()) == ["x"]
    assert key in decoded.value.labels or len(key) > 253
    assert len(decoded.errors) == 1


@pytest.mark.parametrize("text", ["a b", "-a", "ü", "x" * 64])
def test_a_label_value_that_kubernetes_would_refuse_is_an_error_and_kept(text: str) -> None:
    decoded = decode("", labels={"a": text})
    assert decoded.value is not None
    assert decoded.value.labels == {"a": text}
    assert len(decoded.errors) == 1


HOSTILE = {
    "long": "x" * 100_000,
    "control": "\x1b[2J\n",
    "large": 10**10_000,
    "small": -(10**5000),
    "infinite": float("inf"),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_hostile_labels_are_kept_bounded_and_printable(hostile: object) -> None:
    decoded = decode("", labels={"value": hostile, hostile: "key"})
    assert decoded.value is not None
    assert len(decoded.value.labels) == 2
    for text in (*decoded.value.labels, *decoded.value.labels.values()):
        assert text.isprintable()
        assert len(text) <= 253


def test_s10_an_unquoted_label_lets_nobody_through_a_selector_for_its_absence() -> None:
    quarantined = decode("", labels={"quarantine": True}).value
    one = decode("", labels={"role": 1}).value
    assert quarantined is not None
    assert one is not None
    absent = Requirement("quarantine", Operator.DOES_NOT_EXIST)
    other = Requirement("quarantine", Operator.NOT_IN, ("true",))
    assert not selector({}, [absent]).matches(quarantined.labels)
    assert not selector({}, [other]).matches(quarantined.labels)
    assert selector({"role": "1"}).matches(one.labels)


@pytest.mark.parametrize("key", ["a", "A.b_c-d", "example.org/app", "x" * 63, "9"])
def test_valid_label_keys_are_kept(key: str) -> None:
    assert pod("", labels={key: ""}).labels == {key: ""}


def test_a_typo_in_a_field_that_matters_warns_and_fields_that_do_not_matter_are_left_alone() -> (
    None
):
    decoded = decode("spec: {hostnetwork: true, hostPID: true, hostIPC: true, nodeSelector: {}}")
    assert [str(each) for each in decoded.problems] == [
        "spec.hostnetwork: unknown field, it is ignored, did you mean hostNetwork?"
    ]


POD_SPEC_FIELDS = [
    "activeDeadlineSeconds",
    "affinity",
    "automountServiceAccountToken",
    "containers",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "ephemeralContainers",
    "hostAliases",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostUsers",
    "hostname",
    "hostnameOverride",
    "imagePullSecrets",
    "initContainers",
    "nodeName",
    "nodeSelector",
    "os",
    "overhead",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "readinessGates",
    "resourceClaims",
    "resources",
    "restartPolicy",
    "runtimeClassName",
    "schedulerName",
    "schedulingGates",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "subdomain",
    "terminationGracePeriodSeconds",
    "tolerations",
    "topologySpreadConstraints",
    "volumes",
    "workloadRef",
]
CONTAINER_FIELDS = [
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "lifecycle",
    "livenessProbe",
    "name",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "restartPolicy",
    "restartPolicyRules",
    "securityContext",
    "startupProbe",
    "stdin",
    "stdinOnce",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeDevices",
    "volumeMounts",
    "workingDir",
]


def test_no_field_of_the_api_is_taken_for_a_typo_of_another() -> None:
    spec: dict[str, Any] = dict.fromkeys(POD_SPEC_FIELDS)
    spec["containers"] = [dict.fromkeys(CONTAINER_FIELDS)]
    assert decode_pod({"metadata": {"name": "web"}, "spec": spec}).problems == ()


@pytest.mark.parametrize(
    "data", [None, [], "text", {}, {"metadata": []}, {"metadata": {"name": 1}}]
)
def test_data_without_a_name_is_no_pod(data: object) -> None:
    decoded = decode_pod(data)
    assert decoded.value is None
    assert decoded.errors


def test_s18_a_namespace_gets_its_name_label() -> None:
    found = decode_namespace({"metadata": {"name": "dev", "labels": {"a": "b"}}})
    assert found.problems == ()
    assert found.value is not None
    assert found.value.labels == {"a": "b", NAME_LABEL: "dev"}


def test_s18_the_name_label_is_the_name_whatever_the_file_says() -> None:
    found = decode_namespace({"metadata": {"name": "dev", "labels": {NAME_LABEL: "prod"}}})
    assert found.value is not None
    assert found.value.labels == {NAME_LABEL: "dev"}
    assert len(found.problems) == 1
    assert found.errors == ()


def test_a_namespace_name_has_no_dots() -> None:
    found = decode_namespace({"metadata": {"name": "a.b"}})
    assert [each.path for each in found.errors] == [("metadata", "name")]


def test_a_node_owns_its_internal_and_external_addresses_and_its_pod_ranges() -> None:
    data = yaml.safe_load("""
    metadata: {name: node-1}
    spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, 'fd00:1::/64']}
    status:
      addresses:
      - {type: InternalIP, address: 192.168.0.1}
      - {type: Hostname, address: node-1}
      - {type: ExternalIP, address: 'fd00::5'}
    """)
    found = decode_node(data)
    assert found.problems == ()
    assert found.value is not None
    assert list(map(str, found.value.addresses)) == ["192.168.0.1", "fd00::5"]
    assert found.value.pod_cidrs == (parse_cidr("10.244.1.0/24"), parse_cidr("fd00:1::/64"))


def test_bad_addresses_of_a_node_are_reported_and_left_out() -> None:
    found = decode_node(
        {
            "metadata": {"name": "node-1"},
            "spec": {"podCIDRs": ["10.244.1.0/24", "x", 5, "y" * 1000]},
            "status": {"addresses": [{"type": "InternalIP", "address": "here"}]},
        }
    )
    assert found.value is not None
    assert found.value.pod_cidrs == (parse_cidr("10.244.1.0/24"),)
    assert found.value.addresses == ()
    assert len(found.errors) == 4
