"""Lists: order, selectors, pages of one state, and revisions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwall.lab.apiserver.resources import PODS as PODS_RESOURCE
from podwall.lab.apiserver.store import Compacted, Store
from tests.unit.apiserver.client import ALL_PODS, PODS, Client, Json, names, pod


async def test_items_of_a_list_have_no_kind_and_come_in_the_order_of_their_keys(
    client: Client,
) -> None:
    await client.make({"metadata": {"name": "default-2"}}, path="/api/v1/namespaces")
    await client.make(pod("b"), pod("a"))
    await client.make(pod("0"), path="/api/v1/namespaces/default-2/pods")
    found = await client.get(ALL_PODS)
    assert (found["kind"], found["apiVersion"]) == ("PodList", "v1")
    # etcd's order: a dash sorts before the slash that ends a namespace.
    assert names(found) == ["0", "a", "b"]
    assert all("kind" not in each and "apiVersion" not in each for each in found["items"])


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("app%3Dweb", ["a"]),
        ("app%3D%3Dweb,tier%3Dx", ["a"]),
        ("app!%3Dweb", ["b", "c"]),
        ("app in (web, db)", ["a", "b"]),
        ("app notin (web)", ["b", "c"]),
        ("app", ["a", "b"]),
        ("!app", ["c"]),
        ("app in (web,db),tier", ["a"]),
        ("example.com/x%3D1", ["c"]),
    ],
)
async def test_labels_select(client: Client, selector: str, expected: list[str]) -> None:
    third = pod("c")
    third["metadata"]["labels"] = {"example.com/x": "1"}
    await client.make(pod("a", app="web", tier="x"), pod("b", app="db"), third)
    assert names(await client.get(f"{PODS}?labelSelector={selector}")) == expected


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("metadata.name%3Da", ["a"]),
        ("spec.nodeName%3Dnode-1", ["a"]),
        ("spec.nodeName!%3Dnode-1", ["b"]),
        ("spec.nodeName%3D", ["b"]),
        ("status.phase%3DPending,metadata.name!%3Db", ["a"]),
        ("metadata.namespace%3Dother", []),
    ],
)
async def test_fields_select(client: Client, selector: str, expected: list[str]) -> None:
    await client.make(pod("a", node="node-1"), pod("b"))
    assert names(await client.get(f"{ALL_PODS}?fieldSelector={selector}")) == expected


async def test_selectors_that_cannot_be_read_are_refused(client: Client) -> None:
    for query in ("labelSelector=a in b", "fieldSelector=name", "fieldSelector=spec.foo%3D1"):
        code, body = await client.ask("GET", f"{PODS}?{query}")
        assert (code, body["reason"]) == (400, "BadRequest")
    assert body["message"].endswith("field label not supported: spec.foo")


async def test_pages_are_of_one_state_whatever_happens_meanwhile(client: Client) -> None:
    await client.make(*(pod(name) for name in "abcdef"))
    first = await client.get(f"{PODS}?limit=2")
    assert first["metadata"]["remainingItemCount"] == 4
    await client.ask("DELETE", f"{PODS}/d")
    await client.make(pod("cc"))
    await client.ask("DELETE", f"{PODS}/e")
    await client.make(pod("e"))
    second = await client.get(f"{PODS}?limit=2&continue={first['metadata']['continue']}")
    third = await client.get(f"{PODS}?limit=2&continue={second['metadata']['continue']}")
    assert [*names(first), *names(second), *names(third)] == list("abcdef")
    assert "continue" not in third["metadata"]
    revisions = {each["metadata"]["resourceVersion"] for each in (first, second, third)}
    assert len(revisions) == 1


async def test_pages_count_what_is_selected(client: Client) -> None:
    await client.make(*(pod(name, app="x" if name in "ace" else "y") for name in "abcdef"))
    first = await client.get(f"{PODS}?limit=2&labelSelector=app%3Dx")
    assert names(first) == ["a", "c"]
    assert "remainingItemCount" not in first["metadata"]
    token = first["metadata"]["continue"]
    assert names(await client.get(f"{PODS}?labelSelector=app%3Dx&continue={token}")) == ["e"]


async def test_a_page_of_a_forgotten_state_is_gone_but_can_be_gone_on_from(
    client: Client,
) -> None:
    await client.make(*(pod(name) for name in "abcd"))
    first = await client.get(f"{PODS}?limit=2")
    await client.make(pod("e"))
    client.server.faults.compact()
    code, body = await client.ask("GET", f"{PODS}?limit=2&continue={first['metadata']['continue']}")
    assert (code, body["reason"]) == (410, "Expired")
    assert body["message"].startswith("The provided continue parameter is too old")
    rest = await client.get(f"{PODS}?continue={body['metadata']['continue']}")
    assert names(rest) == ["c", "d", "e"]


async def test_a_revision_of_zero_is_answered_whole(client: Client) -> None:
    await client.make(*(pod(name) for name in "abc"))
    assert names(await client.get(f"{PODS}?limit=1&resourceVersion=0")) == ["a", "b", "c"]


async def test_an_exact_revision_shows_the_past(client: Client) -> None:
    [made, _] = await client.make(pod("a"), pod("b"))
    at = made["metadata"]["resourceVersion"]
    query = f"{PODS}?resourceVersionMatch=Exact&resourceVersion={at}"
    assert names(await client.get(query)) == ["a"]
    client.server.faults.compact()
    code, body = await client.ask("GET", query)
    assert (code, body["reason"]) == (410, "Expired")


async def test_a_revision_to_come_is_too_large(client: Client) -> None:
    code, body = await client.ask("GET", f"{PODS}?resourceVersion=99999")
    assert (code, body["reason"]) == (504, "Timeout")
    assert "Too large resource version: 99999" in body["message"]


async def test_a_long_list_is_zipped_for_who_takes_it(client: Client) -> None:
    await client.make(*(pod(f"a{i}") for i in range(3)))
    client.server.faults.store_long(size=200_000)
    address = client.server.url + PODS
    async with client.session.get(address) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert len((await response.json())["items"]) == 4


async def test_tables_have_a_row_for_each_object(client: Client) -> None:
    [made] = await client.make(pod("a", node="node-1"))
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    found = await client.get(PODS, Accept=accept)
    assert found["kind"] == "Table"
    titles = [each["name"] for each in found["columnDefinitions"]]
    row = dict(zip(titles, found["rows"][0]["cells"], strict=True))
    assert (row["Name"], row["Ready"], row["Status"], row["Node"]) == (
        "a",
        "0/1",
        "Pending",
        "node-1",
    )
    assert found["rows"][0]["object"]["metadata"] == made["metadata"]


async def test_metadata_can_be_had_alone(client: Client) -> None:
    [made] = await client.make(pod("a"))
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    found = await client.get(PODS, Accept=accept)
    assert found["kind"] == "PartialObjectMetadataList"
    assert found["items"][0]["metadata"] == made["metadata"]
    assert "spec" not in found["items"][0]


def _pod(name: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "n", "name": name}}


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=25),
    st.integers(0, 30),
)
def test_every_past_state_can_be_told_until_it_is_compacted(
    steps: list[tuple[str, bool]], compacted: int
) -> None:
    store = Store()
    pods = store[PODS_RESOURCE]
    seen: dict[int, list[bytes]] = {store.revision: []}
    for index, (name, put) in enumerate(steps):
        if put:
            store.put(PODS_RESOURCE, _pod(name))
        else:
            store.remove(PODS_RESOURCE, f"n/{name}")
        seen[store.revision] = [each.body for each in pods.at(None).after()]
        if index == compacted:
            store.compact()
    floor = next((r for i, r in enumerate(_revisions(steps)) if i == compacted), 1)
    for revision, bodies in seen.items():
        if revision < floor:
            with pytest.raises(Compacted):
                pods.at(revision)
        else:
            view = pods.at(revision, "n/")
            assert [each.body for each in view.after()] == bodies
            for key in ("n/a", "n/c", "n/e"):
                assert view.count_after(key) == len(list(view.after(key)))


def _revisions(steps: list[tuple[str, bool]]) -> list[int]:
    """The revision after each step: a removal of nothing is no change."""
    present: set[str] = set()
    revision, found = 1, []
    for name, put in steps:
        if put or name in present:
            revision += 1
        (present.add if put else present.discard)(name)
        found.append(revision)
    return found


def test_a_short_history_forgets_its_beginning() -> None:
    store = Store(history=3)
    for name in "abcde":
        store.put(PODS_RESOURCE, _pod(name))
    pods = store[PODS_RESOURCE]
    assert [change.revision for change in pods.since(store.revision - 3)] == [4, 5, 6]
    with pytest.raises(Compacted):
        pods.since(store.revision - 4)


async def test_objects_are_loaded_as_they_are(client: Client) -> None:
    loaded: Json = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {"containers": []},
        "status": {"phase": "Running", "podIP": "10.0.0.1"},
    }
    await client.fault("store", {"kind": "List", "apiVersion": "v1", "items": [loaded]})
    found = await client.get(f"{PODS}/a")
    assert found["status"] == loaded["status"]
    assert found["spec"] == loaded["spec"]
