"""Workloads: what is wrong with them, their scale, and bodies in protobuf."""

from __future__ import annotations

import pytest

from podwall.lab.apiserver.protobuf import decode
from tests.unit.apiserver.client import Client, Json

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
WEB: Json = {
    "metadata": {"name": "web"},
    "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "a", "image": "b"}]},
        },
    },
}


async def test_a_deployment_gets_its_defaults(client: Client) -> None:
    [made] = await client.make(WEB, path=DEPLOYMENTS)
    assert made["spec"]["replicas"] == 1
    assert made["spec"]["strategy"] == {"type": "RollingUpdate"}


async def test_a_selector_has_to_match_its_template(client: Client) -> None:
    spec = {**WEB["spec"], "selector": {"matchLabels": {"app": "db"}}}
    code, body = await client.ask("POST", DEPLOYMENTS, {**WEB, "spec": spec})
    assert code == 422
    assert "`selector` does not match template `labels`" in body["message"]


async def test_a_scale_is_read_replaced_and_patched(client: Client) -> None:
    await client.make(WEB, path=DEPLOYMENTS)
    path = f"{DEPLOYMENTS}/web/scale"
    scale = await client.get(path)
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["status"]["selector"] == "app=web"
    code, body = await client.ask("PUT", path, {**scale, "spec": {"replicas": 3}})
    assert (code, body["spec"]) == (200, {"replicas": 3})
    code, body = await client.ask("PUT", path, {**scale, "spec": {"replicas": 4}})
    assert (code, body["reason"]) == (409, "Conflict")
    code, body = await client.ask(
        "PATCH", path, {"spec": {"replicas": 0}}, "application/merge-patch+json"
    )
    assert (code, body["spec"]) == (200, {"replicas": 0})
    assert (await client.get(f"{DEPLOYMENTS}/web"))["spec"]["replicas"] == 0


@pytest.mark.parametrize("replicas", [-1, "3", True, None, 1.5])
async def test_a_scale_that_is_no_number_is_refused(client: Client, replicas: object) -> None:
    await client.make(WEB, path=DEPLOYMENTS)
    code, _ = await client.ask("PUT", f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": replicas}})
    assert code == 422


@pytest.mark.parametrize("body", [[], {}, {"spec": 3}, "x"])
async def test_what_is_no_scale_is_refused(client: Client, body: object) -> None:
    await client.make(WEB, path=DEPLOYMENTS)
    for method, kind in (("PUT", "application/json"), ("PATCH", "application/merge-patch+json")):
        code, _ = await client.ask(method, f"{DEPLOYMENTS}/web/scale", body, kind)
        assert code in (200, 400, 422), body


def field(number: int, content: bytes | int) -> bytes:
    """A field of a protobuf message; short ones only."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    return bytes([number << 3 | 2, len(content)]) + content


def test_a_deployment_in_protobuf_is_read():
    label = field(1, b"app") + field(2, b"web")
    port = field(1, b"") + field(3, 80) + field(4, b"")
    container = field(1, b"a") + field(2, b"b") + field(3, b"run") + field(6, port)
    template = field(1, field(11, label)) + field(2, field(2, container))
    spec = field(1, 3) + field(2, field(1, label)) + field(3, template)
    body = field(1, field(1, b"web")) + field(2, spec)
    kind = field(1, b"apps/v1") + field(2, b"Deployment")
    assert decode(b"k8s\x00" + field(1, kind) + field(2, body)) == {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [
                        {
                            "name": "a",
                            "image": "b",
                            "command": ["run"],
                            "ports": [{"containerPort": 80}],
                        }
                    ]
                },
            },
        },
    }


def test_a_service_in_protobuf_is_read():
    by_number = field(3, 80) + field(4, field(1, 0) + field(2, 81))
    by_name = field(3, 90) + field(4, field(1, 1) + field(3, b"web"))
    spec = field(1, by_number) + field(1, by_name) + field(4, b"ClusterIP")
    kind = field(1, b"v1") + field(2, b"Service")
    body = field(1, field(1, b"a")) + field(2, spec)
    assert decode(b"k8s\x00" + field(1, kind) + field(2, body))["spec"] == {
        "ports": [{"port": 80, "targetPort": 81}, {"port": 90, "targetPort": "web"}],
        "type": "ClusterIP",
    }
