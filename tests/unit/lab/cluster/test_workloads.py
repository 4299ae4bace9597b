"""Workloads make pods and take them away, whatever order things happen in."""

from __future__ import annotations

from typing import Any

import pytest

from podwall.lab.apiserver import Api
from podwall.lab.cluster.workloads import Workloads
from tests.unit.lab.cluster.api import (
    CONTAINERS,
    Thing,
    all_of,
    change,
    names,
    put,
    run_pods,
    target_of,
)

APPS = "apps/v1"


class World:
    """An API server, its controllers, and a kubelet that makes every pod run."""

    def __init__(self) -> None:
        self.api = Api()
        self.workloads = Workloads(self.api)
        self.workloads.listen()

    def settle(self) -> None:
        """Until nothing changes any more."""
        for _ in range(50):
            before = self.api.store.revision
            self.workloads.reconcile()
            run_pods(self.api)
            if self.api.store.revision == before:
                return
        raise AssertionError("the controllers do not come to rest")

    def pods(self) -> list[Thing]:
        return [p for p in all_of(self.api, "Pod") if "deletionTimestamp" not in p["metadata"]]


@pytest.fixture
def world() -> World:
    return World()


def workload(image: str = "any", **spec: Any) -> Thing:
    containers = [{**CONTAINERS[0], "image": image}]
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}}
    return {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}


def test_a_deployment_keeps_its_replicas(world: World):
    put(world.api, "Deployment", "web", APPS, spec=workload(replicas=3))
    world.settle()
    assert len(world.pods()) == 3
    world.api.delete(target_of("Pod", names(world.pods())[0]))
    world.settle()
    assert len(world.pods()) == 3
    change(world.api, "Deployment", "web", APPS, replicas=1)
    world.settle()
    assert len(world.pods()) == 1
    [deployment] = all_of(world.api, "Deployment", APPS)
    assert deployment["status"]["availableReplicas"] == 1
    assert deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]


def test_a_changed_template_rolls_out_and_back(world: World):
    put(world.api, "Deployment", "web", APPS, spec=workload("one", replicas=2))
    world.settle()
    change(world.api, "Deployment", "web", APPS, template=workload("two")["template"])
    world.settle()
    assert {p["spec"]["containers"][0]["image"] for p in world.pods()} == {"two"}
    sets = all_of(world.api, "ReplicaSet", APPS)
    assert sorted(each["spec"]["replicas"] for each in sets) == [0, 2]
    change(world.api, "Deployment", "web", APPS, template=workload("one")["template"])
    world.settle()
    assert {p["spec"]["containers"][0]["image"] for p in world.pods()} == {"one"}
    assert len(all_of(world.api, "ReplicaSet", APPS)) == 2
    [deployment] = all_of(world.api, "Deployment", APPS)
    assert deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


def test_what_belongs_to_a_deleted_workload_goes_with_it(world: World):
    put(world.api, "Deployment", "web", APPS, spec=workload(replicas=2))
    put(world.api, "Pod", "other", spec={"containers": CONTAINERS})
    world.settle()
    world.api.delete(target_of("Deployment", "web", APPS))
    world.settle()
    assert all_of(world.api, "ReplicaSet", APPS) == []
    assert names(world.pods()) == ["other"]


def test_a_stateful_set_counts_its_pods_and_replaces_one_at_a_time(world: World):
    put(world.api, "StatefulSet", "db", APPS, spec=workload("one", replicas=3, serviceName="db"))
    world.workloads.reconcile()
    assert names(world.pods()) == ["db-0"]
    world.settle()
    assert names(world.pods()) == ["db-0", "db-1", "db-2"]
    change(world.api, "StatefulSet", "db", APPS, template=workload("two")["template"])
    world.workloads.reconcile()
    images = [each["spec"]["containers"][0]["image"] for each in world.pods()]
    assert images == ["one", "one"]
    world.settle()
    images = [each["spec"]["containers"][0]["image"] for each in world.pods()]
    assert images == ["two"] * 3
    change(world.api, "StatefulSet", "db", APPS, replicas=1)
    world.settle()
    assert names(world.pods()) == ["db-0"]


def test_a_daemon_set_has_one_pod_for_each_node_that_fits(world: World):
    for name, disk in (("a", "ssd"), ("b", "tape"), ("c", "ssd")):
        world.api.load(
            [
                {
                    "kind": "Node",
                    "apiVersion": "v1",
                    "metadata": {"name": name, "labels": {"disk": disk}},
                }
            ]
        )
    spec = workload()
    spec["template"]["spec"]["nodeSelector"] = {"disk": "ssd"}
    put(world.api, "DaemonSet", "logs", APPS, spec=spec)
    world.settle()
    assert sorted(each["spec"]["nodeName"] for each in world.pods()) == ["a", "c"]
    world.api.delete(target_of("Node", "c"))
    world.settle()
    assert [each["spec"]["nodeName"] for each in world.pods()] == ["a"]


def test_pods_of_a_dump_are_found_again_by_their_owners_name(world: World):
    owner = {"apiVersion": APPS, "kind": "ReplicaSet", "name": "web-1", "uid": "x"}
    put(world.api, "ReplicaSet", "web-1", APPS, spec=workload(replicas=1))
    metadata = {"name": "web-1-abc", "ownerReferences": [{**owner, "controller": True}]}
    world.api.create(
        target_of("Pod", "web-1-abc"), {"metadata": metadata, "spec": {"containers": CONTAINERS}}
    )
    world.settle()
    assert names(world.pods()) == ["web-1-abc"]


def test_a_workload_past_validation_keeps_no_other_waiting(world: World):
    broken = {"kind": "Deployment", "apiVersion": APPS, "metadata": {"name": "a"}, "spec": {}}
    world.api.load([broken])
    put(world.api, "Deployment", "web", APPS, spec=workload(replicas=1))
    world.settle()
    assert len(world.pods()) == 1


def test_a_refused_pod_is_told_in_an_event_once(world: World):
    spec = workload(replicas=2)
    spec["template"]["metadata"]["labels"]["note"] = "two words"
    put(world.api, "ReplicaSet", "web", APPS, spec=spec)
    world.settle()
    world.settle()
    [event] = all_of(world.api, "Event")
    assert event["reason"] == "FailedCreate"
    assert "two words" in event["message"]
