"""What becomes of objects: create, get, update, delete, and how errors are worded."""

from __future__ import annotations

import pytest

from podwall.lab.apiserver.server import ServerOptions
from tests.unit.apiserver.client import PODS, POLICIES, Client, Json, pod, serving

POLICY: Json = {
    "kind": "NetworkPolicy",
    "apiVersion": "networking.k8s.io/v1",
    "metadata": {"name": "web"},
    "spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]},
}


async def test_a_new_object_gets_what_the_system_gives(client: Client) -> None:
    [made] = await client.make(pod("a", app="web"))
    metadata = made["metadata"]
    assert len(metadata["uid"]) == 36
    assert metadata["creationTimestamp"].endswith("Z")
    assert metadata["namespace"] == "default"
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert made["spec"]["restartPolicy"] == "Always"
    assert await client.get(f"{PODS}/a") == made


async def test_one_counter_numbers_the_changes_of_all_resources(client: Client) -> None:
    [first] = await client.make(pod("a"))
    [second] = await client.make(POLICY, path=POLICIES)
    [third] = await client.make(pod("b"))
    numbers = [int(each["metadata"]["resourceVersion"]) for each in (first, second, third)]
    assert numbers == list(range(numbers[0], numbers[0] + 3))


async def test_a_policy_is_defaulted_as_the_api_does(client: Client) -> None:
    [made] = await client.make(POLICY, path=POLICIES)
    assert made["spec"]["policyTypes"] == ["Ingress"]
    assert made["spec"]["ingress"][0]["ports"] == [{"port": 80, "protocol": "TCP"}]
    assert made["metadata"]["generation"] == 1


async def test_namespaces_are_labelled_with_their_name(client: Client) -> None:
    [made] = await client.make({"metadata": {"name": "web"}}, path="/api/v1/namespaces")
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "web"}
    assert made["status"] == {"phase": "Active"}


async def test_a_generated_name_ends_in_five_characters(client: Client) -> None:
    [made] = await client.make({**pod(""), "metadata": {"generateName": "web-"}})
    assert made["metadata"]["name"].startswith("web-")
    assert len(made["metadata"]["name"]) == 9


async def test_what_is_not_there_is_not_found(client: Client) -> None:
    code, body = await client.ask("GET", f"{PODS}/a")
    assert (code, body) == (
        404,
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": 'pods "a" not found',
            "reason": "NotFound",
            "details": {"name": "a", "kind": "pods"},
            "code": 404,
        },
    )
    _, body = await client.ask("GET", f"{POLICIES}/a")
    assert body["message"] == 'networkpolicies.networking.k8s.io "a" not found'
    _, body = await client.ask("POST", PODS.replace("default", "no"), pod("a"))
    assert body["message"] == 'namespaces "no" not found'


async def test_a_name_is_taken_once(client: Client) -> None:
    await client.make(pod("a"))
    code, body = await client.ask("POST", PODS, pod("a"))
    assert (code, body["reason"]) == (409, "AlreadyExists")
    assert body["message"] == 'pods "a" already exists'


async def test_an_update_of_an_old_version_is_a_conflict(client: Client) -> None:
    [made] = await client.make(pod("a"))
    newer = {**made, "metadata": {**made["metadata"], "labels": {"a": "1"}}}
    code, updated = await client.ask("PUT", f"{PODS}/a", newer)
    assert code == 200
    assert int(updated["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    code, body = await client.ask("PUT", f"{PODS}/a", newer)
    assert (code, body["reason"]) == (409, "Conflict")
    assert body["message"] == (
        'Operation cannot be fulfilled on pods "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


async def test_an_update_that_changes_nothing_is_no_change(client: Client) -> None:
    [made] = await client.make(pod("a"))
    code, updated = await client.ask("PUT", f"{PODS}/a", made)
    assert (code, updated) == (200, made)


async def test_status_is_written_through_its_subresource_only(client: Client) -> None:
    [made] = await client.make(pod("a"))
    running = {**made, "status": {"phase": "Running"}}
    _, after = await client.ask("PUT", f"{PODS}/a", running)
    assert after["status"]["phase"] == "Pending"
    running["spec"] = {**made["spec"], "nodeName": "node-1"}
    _, after = await client.ask("PUT", f"{PODS}/a/status", running)
    assert after["status"] == {"phase": "Running"}
    assert after["spec"] == made["spec"]


async def test_a_changed_policy_counts_its_generation_up(client: Client) -> None:
    [made] = await client.make(POLICY, path=POLICIES)
    made["metadata"]["labels"] = {"a": "b"}
    _, labelled = await client.ask("PUT", f"{POLICIES}/web", made)
    assert labelled["metadata"]["generation"] == 1
    labelled["spec"]["ingress"] = []
    _, changed = await client.ask("PUT", f"{POLICIES}/web", labelled)
    assert changed["metadata"]["generation"] == 2


async def test_the_spec_of_a_pod_stays_but_for_its_images(client: Client) -> None:
    [made] = await client.make(pod("a"))
    made["spec"]["containers"][0]["image"] = "other"
    code, made = await client.ask("PUT", f"{PODS}/a", made)
    assert code == 200
    made["spec"]["hostNetwork"] = True
    code, body = await client.ask("PUT", f"{PODS}/a", made)
    assert (code, body["reason"]) == (422, "Invalid")
    assert 'Pod "a" is invalid: spec: Forbidden: pod updates may not change' in body["message"]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {"from": [{"ipBlock": {"cidr": "10.0.0.0"}}]},
            'spec.ingress[0].from[0].ipBlock.cidr: Invalid value: "10.0.0.0": '
            "must be a valid CIDR value, (e.g. 10.9.8.7/8 or 2001:db8::/64)",
        ),
        (
            {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}}]},
            'spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "11.0.0.0/9": '
            'must be a strict subset of `cidr`: "10.0.0.0/8"',
        ),
        (
            {"ports": [{"port": 80, "endPort": 79}]},
            "spec.ingress[0].ports[0].endPort: Invalid value: 79: "
            "must be greater than or equal to `port`",
        ),
        ({"from": [{}]}, "spec.ingress[0].from[0]: Required value: must specify a peer"),
    ],
)
async def test_a_policy_that_cannot_be_is_refused(client: Client, rule: Json, message: str) -> None:
    code, body = await client.ask(
        "POST", POLICIES, {**POLICY, "spec": {"podSelector": {}, "ingress": [rule]}}
    )
    assert (code, body["reason"]) == (422, "Invalid")
    assert body["message"] == f'NetworkPolicy.networking.k8s.io "web" is invalid: {message}'


async def test_names_and_labels_have_to_be_names_and_labels(client: Client) -> None:
    code, body = await client.ask("POST", PODS, pod("A_b", app="not good"))
    assert code == 422
    fields = [each["field"] for each in body["details"]["causes"]]
    assert fields == ["metadata.name", "metadata.labels"]


async def test_what_cannot_be_read_is_a_bad_request(client: Client) -> None:
    broken = {**pod("a"), "metadata": {"name": "a", "labels": {"app": 7}}}
    for body in (broken, {**pod("a"), "kind": "Node"}, {**pod("a"), "spec": "none"}, [1]):
        code, answer = await client.ask("POST", PODS, body)
        assert (code, answer["reason"]) == (400, "BadRequest")
    code, answer = await client.ask("POST", PODS, pod("a"), kind="text/plain")
    assert code == 415


async def test_a_pod_that_runs_ends_gracefully() -> None:
    async with serving(ServerOptions(kubelet_delay=None)) as client:
        await client.make(pod("a", node="node-1"))
        async with client.watch(f"{PODS}?resourceVersion=0") as stream:
            code, body = await client.ask("DELETE", f"{PODS}/a")
            assert code == 200
            assert body["metadata"]["deletionGracePeriodSeconds"] == 30
            assert "deletionTimestamp" in (await client.get(f"{PODS}/a"))["metadata"]
            code, _ = await client.ask("DELETE", f"{PODS}/a", {"gracePeriodSeconds": 0})
            assert code == 200
            events = await stream.events(3)
        assert events == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_the_server_plays_the_kubelet_that_lets_pods_end(client: Client) -> None:
    await client.make(pod("a", node="node-1"))
    async with client.watch(PODS) as stream:
        await client.ask("DELETE", f"{PODS}/a")
        assert await stream.events(3) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_a_pod_without_a_node_is_gone_at_once(client: Client) -> None:
    await client.make(pod("a"))
    code, _ = await client.ask("DELETE", f"{PODS}/a")
    assert code == 200
    assert (await client.ask("GET", f"{PODS}/a"))[0] == 404


async def test_a_finalizer_keeps_an_object_until_it_is_taken_away(client: Client) -> None:
    await client.make(
        {"metadata": {"name": "a", "finalizers": ["example.com/x"]}},
        path="/api/v1/namespaces/default/configmaps",
    )
    path = "/api/v1/namespaces/default/configmaps/a"
    await client.ask("DELETE", path)
    held = await client.get(path)
    assert held["metadata"]["deletionTimestamp"]
    held["metadata"]["finalizers"] = []
    code, _ = await client.ask("PUT", path, held)
    assert code == 200
    assert (await client.ask("GET", path))[0] == 404


async def test_a_deletion_can_name_the_uid_that_it_means(client: Client) -> None:
    await client.make(pod("a"))
    code, body = await client.ask("DELETE", f"{PODS}/a", {"preconditions": {"uid": "other"}})
    assert (code, body["reason"]) == (409, "Conflict")
    assert "Precondition failed: UID in precondition: other" in body["message"]


async def test_namespaces_of_the_system_are_not_deleted(client: Client) -> None:
    for name in ("default", "kube-system"):
        code, body = await client.ask("DELETE", f"/api/v1/namespaces/{name}")
        assert (code, body["reason"]) == (403, "Forbidden")
        why = f'namespaces "{name}" is forbidden: this namespace may not be deleted'
        assert body["message"] == why
    code, _ = await client.ask("GET", "/api/v1/namespaces/default")
    assert code == 200


async def test_a_namespace_takes_along_what_is_in_it(client: Client) -> None:
    await client.make({"metadata": {"name": "web"}}, path="/api/v1/namespaces")
    path = "/api/v1/namespaces/web"
    await client.make(pod("a", node="node-1"), pod("b"), path=f"{path}/pods")
    async with client.watch("/api/v1/pods?labelSelector=!x") as stream:
        assert await stream.events(2) == [("ADDED", "a"), ("ADDED", "b")]
        code, body = await client.ask("DELETE", path)
        assert (code, body["status"]) == (200, {"phase": "Terminating"})
        assert await stream.events(2) == [("DELETED", "a"), ("DELETED", "b")]
    assert (await client.ask("GET", path))[0] == 404


async def test_deleting_a_collection_takes_what_is_selected(client: Client) -> None:
    await client.make(pod("a", app="x"), pod("b", app="y"), pod("c", app="x"))
    await client.ask("DELETE", f"{PODS}?labelSelector=app%3Dx")
    left = await client.get(PODS)
    assert [each["metadata"]["name"] for each in left["items"]] == ["b"]


async def test_a_pod_is_bound_to_a_node_once(client: Client) -> None:
    await client.make(pod("a"))
    binding = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "node-1"}}
    assert (await client.ask("POST", f"{PODS}/a/binding", binding))[0] == 201
    assert (await client.get(f"{PODS}/a"))["spec"]["nodeName"] == "node-1"
    assert (await client.ask("POST", f"{PODS}/a/binding", binding))[0] == 409


async def test_a_dry_run_changes_nothing(client: Client) -> None:
    code, _ = await client.ask("POST", f"{PODS}?dryRun=All", pod("a"))
    assert code == 201
    assert (await client.get(PODS))["items"] == []


async def test_other_paths_and_methods_are_refused(client: Client) -> None:
    async with client.session.get(f"{client.server.url}/api/v1/gadgets") as response:
        assert (response.status, await response.text()) == (404, "404 page not found\n")
    code, body = await client.ask("POST", f"{PODS}/a", pod("a"))
    assert (code, body["reason"]) == (405, "MethodNotAllowed")


async def test_a_token_is_asked_for_where_there_are_tokens() -> None:
    async with serving(ServerOptions(tokens=("secret",))) as client:
        assert (await client.ask("GET", PODS))[0] == 401
        assert (await client.ask("GET", PODS, Authorization="Bearer wrong"))[0] == 401
        assert (await client.ask("GET", PODS, Authorization="Bearer secret"))[0] == 200


async def test_requests_are_remembered_as_authorisation_sees_them(client: Client) -> None:
    await client.make(pod("a"))
    await client.get(f"{PODS}/a")
    async with client.watch("/api/v1/nodes"):
        pass
    seen = [(a.verb, a.resource.plural, a.namespace, a.name) for a in client.server.asked]
    assert seen == [
        ("create", "pods", "default", ""),
        ("get", "pods", "default", "a"),
        ("watch", "nodes", "", ""),
    ]
