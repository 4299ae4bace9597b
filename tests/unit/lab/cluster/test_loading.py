"""Manifests on their way into the API server."""

from __future__ import annotations

import io
from typing import Any

from podwall.lab.apiserver import Api
from podwall.lab.cluster.loading import load_objects
from podwall.lab.things import read_things
from tests.unit.lab.cluster.api import CONTAINERS, all_of, names

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web"},
    "spec": {"containers": CONTAINERS},
}


def test_objects_are_created_and_namespaces_that_nobody_declares_are_made():
    api = Api()
    away = {**POD, "metadata": {"name": "away", "namespace": "far"}}
    assert load_objects(api, [POD, away]) == []
    assert names(all_of(api, "Pod")) == ["web"]
    assert "far" in names(all_of(api, "Namespace"))


def test_what_came_from_another_cluster_leaves_its_versions_behind():
    api = Api()
    old = {"name": "web", "resourceVersion": "812", "uid": "old"}
    assert load_objects(api, [{**POD, "metadata": old}, {**POD, "metadata": old}]) == []


def test_what_the_server_refuses_is_named_and_the_rest_goes_in():
    api = Api()
    bad = {**POD, "metadata": {"name": "Bad"}}
    [refused] = load_objects(api, [bad, POD])
    assert refused.startswith("Pod default/Bad: ")
    assert names(all_of(api, "Pod")) == ["web"]


def test_kinds_that_are_not_served_are_counted_and_labels_of_nodes_kept():
    text = b"""
apiVersion: batch/v1
kind: Job
metadata: {name: once}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: big, labels: {disk: ssd}}}
- {apiVersion: v1, kind: Pod, metadata: {name: p}}
"""
    things = read_things(["-"], io.BytesIO(text))
    assert things.others == {"Job": 1}
    assert [each["kind"] for each in things.served] == ["Node", "Pod"]
    assert things.node_labels == {"big": {"disk": "ssd"}}
