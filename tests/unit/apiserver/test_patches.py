"""Patches of all four kinds."""

from __future__ import annotations

from typing import Any

import pytest

from podwall.lab.apiserver.patches import merge, strategic_merge
from podwall.lab.apiserver.resources import NETWORK_POLICIES
from podwall.lab.apiserver.resources import PODS as POD_RESOURCE
from tests.unit.apiserver.client import PODS, POLICIES, Client, Json, pod

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": ["c"]}, {"a": ["c"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": "foo"}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_merges_objects_and_replaces_all_else(
    target: Json, patch: Json, result: Json
) -> None:
    assert merge(target, patch) == result


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ([{"name": "a", "image": "2"}], [{"name": "a", "image": "2"}, {"name": "b", "image": "1"}]),
        (
            [{"name": "c", "image": "1"}],
            [
                {"name": "a", "image": "1"},
                {"name": "b", "image": "1"},
                {"name": "c", "image": "1"},
            ],
        ),
        ([{"name": "a", "$patch": "delete"}], [{"name": "b", "image": "1"}]),
        ([{"$patch": "replace"}, {"name": "z"}], [{"name": "z"}]),
    ],
)
def test_a_strategic_merge_merges_containers_by_name(patch: list[Any], expected: list[Any]) -> None:
    live = {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}
    found = strategic_merge(live, {"containers": patch}, POD_RESOURCE.merge_keys)
    assert found == {"containers": expected}


def test_a_strategic_merge_orders_retains_and_takes_away() -> None:
    live = {"containers": [{"name": "a"}, {"name": "b"}], "finalizers": ["x", "y"], "old": 1}
    patch = {
        "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
        "$deleteFromPrimitiveList/finalizers": ["x"],
        "$retainKeys": ["containers", "finalizers"],
    }
    assert strategic_merge(live, patch, POD_RESOURCE.merge_keys) == {
        "containers": [{"name": "b"}, {"name": "a"}],
        "finalizers": ["y"],
    }


def test_a_strategic_merge_replaces_the_rules_of_a_policy() -> None:
    live = {"ingress": [{"ports": [{"port": 80}]}]}
    patch = {"ingress": [{"ports": [{"port": 81}]}]}
    assert strategic_merge(live, patch, NETWORK_POLICIES.merge_keys) == patch


async def test_labels_come_and_go_by_merge_patch(client: Client) -> None:
    await client.make(pod("a", app="x", tier="y"))
    patch: Json = {"metadata": {"labels": {"app": "z", "tier": None}}}
    for kind in (MERGE, STRATEGIC):
        code, body = await client.ask("PATCH", f"{PODS}/a", patch, kind)
        assert code == 200
        assert body["metadata"]["labels"] == {"app": "z"}


async def test_a_json_patch_tests_before_it_changes(client: Client) -> None:
    await client.make(pod("a", app="x"))
    change = {"op": "replace", "path": "/metadata/labels/app", "value": "y"}
    wrong = {"op": "test", "path": "/metadata/labels/app", "value": "z"}
    code, body = await client.ask("PATCH", f"{PODS}/a", [wrong, change], JSON_PATCH)
    assert (code, body["reason"]) == (422, "Invalid")
    right = {**wrong, "value": "x"}
    add = {"op": "add", "path": "/metadata/labels/example.com~1b", "value": "1"}
    code, body = await client.ask("PATCH", f"{PODS}/a", [right, change, add], JSON_PATCH)
    assert code == 200
    assert body["metadata"]["labels"] == {"app": "y", "example.com/b": "1"}
    remove = {"op": "remove", "path": "/metadata/labels/app"}
    _, body = await client.ask("PATCH", f"{PODS}/a", [remove], JSON_PATCH)
    assert body["metadata"]["labels"] == {"example.com/b": "1"}


async def test_a_patch_with_an_old_revision_is_a_conflict(client: Client) -> None:
    [made] = await client.make(pod("a"))
    revision = made["metadata"]["resourceVersion"]
    patch = {"metadata": {"labels": {"a": "1"}, "resourceVersion": revision}}
    assert (await client.ask("PATCH", f"{PODS}/a", patch, MERGE))[0] == 200
    code, body = await client.ask("PATCH", f"{PODS}/a", patch, MERGE)
    assert (code, body["reason"]) == (409, "Conflict")


async def test_a_status_is_patched_through_its_subresource(client: Client) -> None:
    await client.make(pod("a"))
    patch = {"status": {"phase": "Running", "podIP": "10.0.0.1"}}
    _, body = await client.ask("PATCH", f"{PODS}/a", patch, MERGE)
    assert body["status"]["phase"] == "Pending"
    _, body = await client.ask("PATCH", f"{PODS}/a/status", patch, STRATEGIC)
    assert (body["status"]["phase"], body["status"]["podIP"]) == ("Running", "10.0.0.1")


async def test_a_patch_that_changes_nothing_is_no_event(client: Client) -> None:
    [made] = await client.make(pod("a", app="x"))
    patch = {"metadata": {"labels": {"app": "x"}}}
    _, body = await client.ask("PATCH", f"{PODS}/a", patch, MERGE)
    assert body == made


async def test_an_unknown_patch_is_refused(client: Client) -> None:
    await client.make(pod("a"))
    code, body = await client.ask("PATCH", f"{PODS}/a", {}, "application/json")
    assert (code, body["reason"]) == (415, "UnsupportedMediaType")


def policy(**labels: str) -> Json:
    return {
        "kind": "NetworkPolicy",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "web"},
        "spec": {"podSelector": {"matchLabels": labels}},
    }


async def apply(client: Client, thing: Json, manager: str, more: str = "") -> tuple[int, Json]:
    path = f"{POLICIES}/web?fieldManager={manager}{more}"
    return await client.ask("PATCH", path, thing, APPLY)


async def test_apply_creates_and_takes_away_what_it_no_longer_says(client: Client) -> None:
    assert (await apply(client, policy(a="1", b="2"), "me"))[0] == 201
    code, body = await apply(client, policy(a="1"), "me")
    assert code == 200
    assert body["spec"]["podSelector"] == {"matchLabels": {"a": "1"}}


async def test_apply_leaves_what_others_apply(client: Client) -> None:
    await apply(client, policy(a="1"), "me")
    await apply(client, policy(a="1", b="2"), "you")
    _, body = await apply(client, policy(), "me")
    assert body["spec"]["podSelector"] == {"matchLabels": {"a": "1", "b": "2"}}


async def test_apply_does_not_take_a_field_unless_it_is_forced(client: Client) -> None:
    await apply(client, policy(a="1"), "me")
    code, body = await apply(client, policy(a="2"), "you")
    assert (code, body["reason"]) == (409, "Conflict")
    assert body["message"] == (
        'Apply failed with 1 conflict: conflict with "me": .spec.podSelector.matchLabels.a'
    )
    code, body = await apply(client, policy(a="2"), "you", "&force=true")
    assert code == 200
    assert body["spec"]["podSelector"] == {"matchLabels": {"a": "2"}}
    assert (await apply(client, policy(a="3"), "you"))[0] == 200


async def test_apply_removes_a_container_with_its_last_manager(client: Client) -> None:
    config = {"metadata": {"name": "c"}, "spec": {"ports": [{"port": 80}, {"port": 81}]}}
    path = "/api/v1/namespaces/default/services/c?fieldManager=me"
    await client.ask("PATCH", path, config, APPLY)
    config["spec"] = {"ports": [{"port": 81}]}
    _, body = await client.ask("PATCH", path, config, APPLY)
    assert [each["port"] for each in body["spec"]["ports"]] == [81]


async def test_apply_needs_a_manager(client: Client) -> None:
    code, body = await client.ask("PATCH", f"{POLICIES}/web", policy(), APPLY)
    assert (code, body["reason"]) == (422, "Invalid")
