"""Workloads become the pods that a cluster would run."""

from __future__ import annotations

import io
import re

import pytest

from podwall.manifest import Manifests, load
from podwall.model.net import Protocol
from podwall.model.objects import ContainerPort, Pod

APIS = {"Job": "batch/v1", "CronJob": "batch/v1", "ReplicationController": "v1"}


def read(*documents: str, max_replicas: int = 1000) -> Manifests:
    text = "\n---\n".join(documents)
    return load(["-"], stdin=io.BytesIO(text.encode()), max_replicas=max_replicas)


def workload(kind: str, name: str, spec: str = "", meta: str = "") -> str:
    """A workload of pods labelled app=x that listen on 80; ``spec`` adds fields to its spec."""
    api = APIS.get(kind, "apps/v1")
    template = (
        "{metadata: {labels: {app: x}}, spec: {containers: [{ports: [{containerPort: 80}]}]}}"
    )
    selector = "" if kind in APIS else "selector: {matchLabels: {app: x}}, "
    return (
        f"apiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: dev{meta}}}\n"
        f"spec: {{{selector}template: {template}{', ' if spec else ''}{spec}}}\n"
    )


def pods(*documents: str) -> tuple[Pod, ...]:
    found = read(*documents)
    assert found.diagnostics == ()
    return found.pods


def test_a_deployment_makes_pods_with_hash_and_suffix() -> None:
    first, second = pods(workload("Deployment", "web", "replicas: 2"))
    match = re.fullmatch(r"web-([b-df-hj-np-tv-z2-9]{10})-[b-df-hj-np-tv-z2-9]{5}", first.key.name)
    assert match
    assert first.key != second.key
    assert first.key.name.rpartition("-")[0] == second.key.name.rpartition("-")[0]
    assert first.labels == {"app": "x", "pod-template-hash": match[1]}
    assert first.workload == "Deployment/web"
    assert first.ports == (ContainerPort("", Protocol.TCP, 80),)


@pytest.mark.parametrize(
    "kind", ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "ReplicationController"]
)
def test_one_pod_is_the_default_and_names_are_the_same_in_every_run(kind: str) -> None:
    (pod,) = pods(workload(kind, "web"))
    assert pods(workload(kind, "web")) == (pod,)
    assert pod.key.namespace == "dev"
    assert pod.key.name.startswith("web-")
    assert pod.labels["app"] == "x"
    assert pod.workload == f"{kind}/web"


def test_a_stateful_set_counts_its_pods() -> None:
    found = pods(workload("StatefulSet", "db", "replicas: 2, ordinals: {start: 3}"))
    assert [pod.key.name for pod in found] == ["db-3", "db-4"]
    assert found[0].labels["statefulset.kubernetes.io/pod-name"] == "db-3"
    assert found[0].labels["apps.kubernetes.io/pod-index"] == "3"
    assert found[0].labels["controller-revision-hash"].startswith("db-")


def test_a_job_runs_as_many_pods_as_its_parallelism_and_completions_allow() -> None:
    assert len(pods(workload("Job", "j", "parallelism: 3, completions: 2"))) == 2
    assert len(pods(workload("Job", "j", "parallelism: 3"))) == 3
    assert len(pods(workload("Job", "j", "completions: 5"))) == 1
    assert pods(workload("Job", "j", "suspend: true")) == ()


def test_a_jobs_pods_carry_the_labels_of_the_job_controller() -> None:
    (pod,) = pods(workload("Job", "j", "completionMode: Indexed"))
    assert re.fullmatch(r"j-0-\w{5}", pod.key.name)
    assert pod.labels["job-name"] == pod.labels["batch.kubernetes.io/job-name"] == "j"
    assert pod.labels["controller-uid"] == pod.labels["batch.kubernetes.io/controller-uid"]
    assert pod.labels["batch.kubernetes.io/job-completion-index"] == "0"


def test_a_cron_job_runs_one_job() -> None:
    text = (
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly}\n"
        "spec: {jobTemplate: {spec: {template: {metadata: {labels: {app: x}}}}}}\n"
    )
    (pod,) = pods(text)
    match = re.fullmatch(r"(nightly-29\d{6})-\w{5}", pod.key.name)
    assert match
    assert pod.labels["job-name"] == match[1]
    assert pod.workload == "CronJob/nightly"
    assert pods(text.replace("spec: {jobTemplate", "spec: {suspend: true, jobTemplate")) == ()


def test_replicas_may_be_zero() -> None:
    assert pods(workload("Deployment", "web", "replicas: 0")) == ()


def test_s23_host_network_and_node_name_come_from_the_template() -> None:
    text = workload("DaemonSet", "agent").replace(
        "spec: {containers", "spec: {hostNetwork: true, nodeName: n1, containers"
    )
    (pod,) = pods(text)
    assert (pod.host_network, pod.node) == (True, "n1")


def test_an_enormous_number_of_replicas_is_bounded_with_a_warning() -> None:
    found = read(workload("Deployment", "web", "replicas: 1000000000"), max_replicas=5)
    assert len(found.pods) == 5
    assert [str(each) for each in found.warnings] == [
        "<stdin>:4: Deployment dev/web: spec: it asks for 1000000000 pods, only 5 are made"
    ]
    assert not found.has_errors


@pytest.mark.parametrize("replicas", ["-1", "'2'", "1.5", "99999999999", "true"])
def test_replicas_that_are_no_number_are_an_error_and_count_as_one(replicas: str) -> None:
    found = read(workload("Deployment", "web", f"replicas: {replicas}"))
    assert [each.path for each in found.errors] == ["spec.replicas"]
    assert len(found.pods) == 1


def test_a_selector_that_does_not_match_the_template_is_an_error() -> None:
    text = workload("Deployment", "web").replace("matchLabels: {app: x}", "matchLabels: {app: z}")
    found = read(text)
    assert [str(each) for each in found.errors] == [
        "<stdin>:4: Deployment dev/web: spec.selector: app=z does not match the labels of the "
        "template, expected a selector that does"
    ]
    assert len(found.pods) == 1


def test_a_missing_selector_or_template_is_an_error() -> None:
    found = read("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n")
    assert [each.path for each in found.errors] == ["spec.template", "spec.selector"]


def test_problems_of_the_template_have_its_path_and_line() -> None:
    text = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n"
        "  selector: {matchLabels: {app: x}}\n  template:\n    metadata:\n      labels:\n"
        "        app: x\n        on: 'x'\n        debug: on\n    spec:\n      containers:\n"
        "      - ports:\n        - containerPort: 0\n"
    )
    found = read(text)
    assert [(each.line, each.path) for each in found.errors] == [
        (11, "spec.template.metadata.labels.debug"),
        (15, "spec.template.spec.containers[0].ports[0].containerPort"),
    ]
    assert found.pods[0].labels["true"] == "x"


OWNED = ", ownerReferences: [{kind: Deployment, name: web, controller: true}]"


def test_in_a_dump_of_a_cluster_each_pod_is_there_once() -> None:
    pod = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web-5d9c-abcde, namespace: dev, "
        "labels: {app: x, pod-template-hash: 5d9c}, ownerReferences: "
        "[{kind: ReplicaSet, name: web-5d9c, controller: true}]}\n"
    )
    everything = (workload("Deployment", "web"), workload("ReplicaSet", "web-5d9c", meta=OWNED))
    assert [each.key.name for each in pods(*everything, pod)] == ["web-5d9c-abcde"]


def test_what_a_declared_owner_makes_is_not_made_twice() -> None:
    found = pods(workload("ReplicaSet", "web-5d9c", meta=OWNED), workload("Deployment", "web"))
    assert [each.workload for each in found] == ["Deployment/web"]


def test_an_owner_outside_the_input_leaves_the_workload_its_pods() -> None:
    (pod,) = pods(workload("ReplicaSet", "web-5d9c", meta=OWNED))
    assert pod.workload == "Deployment/web"


def test_long_names_are_cut_as_in_a_cluster() -> None:
    (pod,) = pods(workload("ReplicaSet", "w" * 100))
    assert len(pod.key.name) == 63
