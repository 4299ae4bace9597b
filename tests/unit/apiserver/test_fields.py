"""Fields that a kind does not have are refused, warned of or dropped, as the client asks."""

from __future__ import annotations

from podwall.lab.apiserver.fields import unknown_fields
from podwall.lab.apiserver.resources import NETWORK_POLICIES
from tests.unit.apiserver.client import PODS, POLICIES, Client, Json, pod

MISSPELT: Json = {
    "metadata": {"name": "web"},
    "spec": {
        "podSelectr": {},
        "podSelector": {"matchLabels": {"anything": "goes"}},
        "ingress": [{}, {"form": [], "from": [{"ipBlock": {"cidr": "10.0.0.0/8", "expect": []}}]}],
    },
}
PATHS = ["spec.podSelectr", "spec.ingress[1].form", "spec.ingress[1].from[0].ipBlock.expect"]


def test_every_unknown_field_is_found_and_removed():
    thing: Json = {**MISSPELT, "spec": {**MISSPELT["spec"]}}
    assert unknown_fields(NETWORK_POLICIES, thing) == PATHS
    assert unknown_fields(NETWORK_POLICIES, thing) == []


def test_what_tells_how_to_merge_is_no_field():
    patch: Json = {"spec": {"$retainKeys": ["x"], "podSelector": {"$patch": "replace"}}}
    assert unknown_fields(NETWORK_POLICIES, patch) == []


def misspelt() -> Json:
    metadata = {"name": "web", "lables": {}}
    return {**pod("web"), "metadata": metadata}


async def test_strict_clients_are_told_no(client: Client) -> None:
    code, body = await client.ask("POST", f"{PODS}?fieldValidation=Strict", misspelt())
    assert (code, body["reason"]) == (400, "BadRequest")
    assert body["message"] == (
        'Pod in version "v1" cannot be handled as a Pod: strict decoding error: '
        'unknown field "metadata.lables"'
    )


async def test_others_are_warned_or_not_and_nothing_unknown_is_stored(client: Client) -> None:
    url = client.server.url + PODS
    async with client.session.post(url, json=misspelt()) as answer:
        assert answer.status == 201
        assert answer.headers["Warning"] == '299 - "unknown field \\"metadata.lables\\""'
        assert "lables" not in (await answer.json())["metadata"]
    other = {**misspelt(), "metadata": {"name": "other", "lables": {}}}
    async with client.session.post(f"{url}?fieldValidation=Ignore", json=other) as answer:
        assert answer.status == 201
        assert "Warning" not in answer.headers


async def test_patches_are_looked_at_as_well(client: Client) -> None:
    await client.make({"metadata": {"name": "web"}, "spec": {"podSelector": {}}}, path=POLICIES)
    code, body = await client.ask(
        "PATCH",
        f"{POLICIES}/web?fieldValidation=Strict",
        {"spec": {"policyType": ["Egress"]}},
        "application/strategic-merge-patch+json",
    )
    assert code == 400
    assert 'unknown field "spec.policyType"' in body["message"]
