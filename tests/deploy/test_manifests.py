"""The manifests, as the real kubectl and helm render them: valid, alike, and without more power."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from aiohttp import ClientSession

import podwall
from podwall.agent.config.fields import BY_NAME
from podwall.agent.config.loading import load_config
from podwall.agent.report.web import Web
from podwall.lab.apiserver.server import Server
from tests.deploy.rendered import (
    CHART,
    DEPLOY,
    Object,
    by_name,
    container_of,
    kustomization,
    kustomized,
    pod_of,
    run,
    templated,
    variables_of,
    with_tools,
)

pytestmark = with_tools

VERSIONS = ("1.25", "1.30", "1.35")
EVERYTHING: Object = {
    "image": {"repository": "registry.example/podwall", "digest": f"sha256:{'a' * 64}"},
    "imagePullSecrets": [{"name": "pull"}],
    "config": {"mode": "nft", "check-every": 2.5, "keep-connections": True, "log-denied": True},
    "apiServer": {"host": "api.example", "port": 443},
    "metrics": {"enabled": True},
    "affinity": {"podAffinity": {}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "seLinuxOptions": {"type": "spc_t"},
    "serviceAccount": {"annotations": {"e": "f"}},
}

Render = Callable[[Path], list[Object]]
RENDERED: dict[str, Render] = {
    "base": kustomized,
    "base with metrics": lambda home: kustomized(home, "metrics"),
    "base that leaves": lambda home: kustomized(home, "metrics", "cleanup"),
    "chart": templated,
    "chart with everything": lambda home: templated(home, EVERYTHING),
    "chart that leaves": lambda home: templated(home, {"cleanup": True}),
}
every_way = pytest.mark.parametrize("render", RENDERED.values(), ids=RENDERED)


@every_way
def test_every_object_fits_the_schemas_of_kubernetes(render: Render, tmp_path: Path) -> None:
    objects = render(tmp_path)
    assert len(objects) == 4
    for version in VERSIONS:
        for each in objects:
            kubernetes_validate.validate(each, version, strict=True)


def test_the_schemas_are_strict(tmp_path: Path) -> None:
    broken = copy.deepcopy(by_name(kustomized(tmp_path))["DaemonSet podwall"])
    broken["spec"]["template"]["spec"]["hostNetwrok"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="hostNetwrok"):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_helm_finds_no_fault_with_the_chart(tmp_path: Path) -> None:
    done = run(tmp_path, "helm", "lint", "--strict", str(CHART))
    assert "1 chart(s) linted, 0 chart(s) failed" in done.stdout


@pytest.mark.parametrize(
    ("components", "values"),
    [((), {}), (("metrics",), {"metrics": {"enabled": True}}), (("cleanup",), {"cleanup": True})],
)
def test_base_and_chart_render_the_same_objects(
    components: tuple[str, ...], values: Object, tmp_path: Path
) -> None:
    base, chart = kustomized(tmp_path, *components), templated(tmp_path, values)
    assert by_name(map(_without_labels, base)) == by_name(map(_without_labels, chart))


def _without_labels(thing: Object) -> Object:
    """An object without those labels that only say who manages it."""
    meta = thing["metadata"]
    manager = ("helm.sh/", "app.kubernetes.io/managed-by", "app.kubernetes.io/instance")
    labels = {
        key: value
        for key, value in meta["labels"].items()
        if not key.startswith((*manager, "app.kubernetes.io/version"))
    }
    return {**thing, "metadata": {**meta, "labels": labels}}


def test_the_version_is_the_same_everywhere(tmp_path: Path) -> None:
    version = podwall.__version__
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (version, version)
    for objects in (kustomized(tmp_path), templated(tmp_path)):
        assert container_of(objects)["image"] == f"podwall:{version}"
    assert f"podwall:{version}" in (DEPLOY / "Containerfile").read_text(encoding="utf-8")


@every_way
def test_containers_have_two_capabilities_and_nothing_else(render: Render, tmp_path: Path) -> None:
    pod = pod_of(render(tmp_path))
    containers = [*pod.get("initContainers", ()), *pod["containers"]]
    for container in containers:
        rights = container["securityContext"]
        added = rights["capabilities"].pop("add", [])
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert sorted(added) == ([] if container["name"] == "done" else ["NET_ADMIN", "NET_RAW"])
        assert (rights["privileged"], rights["allowPrivilegeEscalation"]) == (False, False)
        assert rights["readOnlyRootFilesystem"] is True
    assert pod["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert {"hostPID", "hostIPC", "shareProcessNamespace"}.isdisjoint(pod)
    paths = {each["name"]: each["hostPath"] for each in pod["volumes"]}
    assert paths == {
        "state": {"path": "/run/podwall", "type": "DirectoryOrCreate"},
        "podwall-lock": {"path": "/run/podwall.lock", "type": "FileOrCreate"},
        "xtables-lock": {"path": "/run/xtables.lock", "type": "FileOrCreate"},
    }


@every_way
def test_pods_are_on_every_node_whatever_its_state(render: Render, tmp_path: Path) -> None:
    pod = pod_of(render(tmp_path))
    assert pod["hostNetwork"] is True
    assert pod["priorityClassName"] == "system-node-critical"
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}


def test_no_more_than_a_tenth_of_the_nodes_updates_at_a_time(tmp_path: Path) -> None:
    strategy = by_name(kustomized(tmp_path))["DaemonSet podwall"]["spec"]["updateStrategy"]
    assert strategy == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "10%", "maxSurge": 0},
    }


@pytest.mark.parametrize("name", ["base with metrics", "chart with everything"])
def test_the_agent_understands_its_environment(name: str, tmp_path: Path) -> None:
    variables = variables_of(RENDERED[name](tmp_path))
    assert variables.pop("PODWALL_NODE_NAME") == {"fieldRef": {"fieldPath": "spec.nodeName"}}
    loaded = load_config({}, {**variables, "PODWALL_NODE_NAME": "node-1"})
    assert loaded.warnings == ()
    config = loaded.config
    assert (config.node_name, config.log_format) == ("node-1", "json")
    assert (str(config.listen), str(config.metrics_listen)) == ("127.0.0.1:9642", ":9643")
    if name.startswith("chart"):
        assert (config.mode, config.check_every) == ("nft", 2.5)
        assert config.keep_connections
        assert variables["KUBERNETES_SERVICE_HOST"] == "api.example"
        assert variables["KUBERNETES_SERVICE_PORT"] == "443"


def test_the_state_is_where_the_agent_puts_it_by_default(tmp_path: Path) -> None:
    mounts = {each["name"]: each["mountPath"] for each in _mounts(tmp_path)}
    assert mounts["state"] == load_config({}, {"NODE_NAME": "a"}).config.state_dir


def _mounts(home: Path) -> list[Object]:
    return container_of(kustomized(home))["volumeMounts"]


@pytest.mark.parametrize("port", [9642, 19642])
async def test_the_probes_ask_what_the_agent_answers(port: int, tmp_path: Path) -> None:
    container = container_of(templated(tmp_path, {"healthPort": port}))
    config = load_config({}, {**_texts(container["env"]), "NODE_NAME": "a"}).config
    assert config.listen is not None
    web = Web(lambda: (), lambda: (), lambda: b"")
    # A free port instead: the machine may have something on the real one.
    where = await web.start(type(config.listen)(config.listen.host, 0), None)
    probes = [container[name]["httpGet"] for name in ("livenessProbe", "readinessProbe")]
    try:
        assert len(where) == 1
        async with ClientSession() as session:
            for probe in probes:
                async with session.get(f"http://{where[0]}{probe['path']}") as answer:
                    assert answer.status == 200
    finally:
        await web.stop()
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    for get in probes:
        assert (get["host"], ports[get["port"]]) == (config.listen.host, config.listen.port)


def _texts(env: list[Object]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in env if "value" in each}


def test_a_kustomization_of_ones_own_names_the_image(tmp_path: Path) -> None:
    images = [{"name": "podwall", "newName": "registry.example/p", "newTag": "1"}]
    assert container_of(kustomized(tmp_path, images=images))["image"] == "registry.example/p:1"
    leaving = pod_of(kustomized(tmp_path, "cleanup", images=images))
    named = [each["image"] for each in (*leaving["initContainers"], *leaving["containers"])]
    assert named == ["registry.example/p:1"] * 2
    chart = container_of(templated(tmp_path, EVERYTHING))
    assert chart["image"] == f"registry.example/podwall@sha256:{'a' * 64}"


@pytest.mark.parametrize("name", ["base that leaves", "chart that leaves"])
def test_leaving_cleans_up_where_the_agent_was_and_then_waits(name: str, tmp_path: Path) -> None:
    objects = RENDERED[name](tmp_path)
    pod = pod_of(objects)
    [cleanup] = pod["initContainers"]
    agent = container_of(kustomized(tmp_path))
    assert cleanup["args"] == ["cleanup"]
    for each in ("image", "securityContext", "volumeMounts", "resources"):
        assert cleanup[each] == agent[each]
    assert container_of(objects)["name"] == "done"
    assert pod["automountServiceAccountToken"] is False


def test_the_chart_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    for wrong in ({"imge": {}}, {"config": {"chek-every": 5}}, {"config": {"deny": "accept"}}):
        assert _refusal(tmp_path, wrong)
    monitor = {"metrics": {"podMonitor": {"enabled": True}}}
    assert "needs metrics.enabled" in _refusal(tmp_path, monitor)


def _refusal(home: Path, values: Object) -> str:
    file = home / "wrong.json"
    file.write_text(json.dumps(values), encoding="utf-8")
    done = run(home, "helm", "template", "podwall", str(CHART), "--values", str(file))
    assert done.returncode == 1
    return done.stderr


def test_the_chart_has_a_value_for_every_setting_but_those_that_it_sets_itself() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    settings = schema["properties"]["config"]["properties"]
    own = {"node-name", "kubeconfig", "context", "state-dir", "listen", "metrics-listen"}
    # Ranges of one node, given to all, would close every pod of the others.
    own |= {"pod-cidrs"}
    laboratory = {each.name for each in BY_NAME.values() if each.group == "lab"}
    assert settings.keys() == BY_NAME.keys() - own - laboratory
    for name, wanted in settings.items():
        if "enum" in wanted:
            assert tuple(wanted["enum"]) == BY_NAME[name].choices


def test_the_schema_knows_every_value_and_every_value_has_its_default() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    # `global` is there in every chart that is part of another.
    assert schema["properties"].keys() - {"global"} == values.keys()


def test_the_notes_tell_how_to_look_and_how_to_leave(tmp_path: Path) -> None:
    options = ("--namespace", "net", "--dry-run=client")
    done = run(tmp_path, "helm", "install", "podwall", str(CHART), *options)
    assert "podwall status" in done.stdout
    assert "pod-security.kubernetes.io/enforce=privileged" in done.stdout
    done = run(
        tmp_path, "helm", "install", "podwall", str(CHART), *options, "--set", "cleanup=true"
    )
    assert "helm -n net uninstall podwall" in done.stdout


def test_objects_of_the_prometheus_operator_come_when_asked_for(tmp_path: Path) -> None:
    wanted = {"enabled": True, "labels": {"release": "prometheus"}}
    values = {"metrics": {"enabled": True, "podMonitor": wanted, "rules": wanted}}
    objects = by_name(templated(tmp_path, values))
    monitor, rule = objects["PodMonitor podwall"], objects["PrometheusRule podwall"]
    for each in (monitor, rule):
        assert each["metadata"]["labels"]["release"] == "prometheus"
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    ports = [each["name"] for each in container_of(objects.values())["ports"]]
    assert endpoint["port"] in ports
    assert rule["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())


async def test_kubectl_installs_it_cleans_up_after_it_and_deletes_it(tmp_path: Path) -> None:
    async with Server() as server:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(json.dumps(server.kubeconfig()), encoding="utf-8")

        async def kubectl(*words: str) -> str:
            done = await asyncio.to_thread(
                run, tmp_path, "kubectl", *words, kubeconfig=str(kubeconfig)
            )
            assert (done.returncode, done.stderr) == (0, "")
            return done.stdout

        async def containers() -> str:
            path = "jsonpath={.spec.template.spec['initContainers','containers'][*].name}"
            return await kubectl("-n", "kube-system", "get", "daemonset/podwall", "-o", path)

        own = str(kustomization(tmp_path, "metrics"))
        assert "daemonset.apps/podwall created" in await kubectl("apply", "-k", own)
        assert await containers() == "agent"
        assert "configured" not in await kubectl("apply", "-k", own)
        kustomization(tmp_path, "metrics", "cleanup")
        assert "daemonset.apps/podwall configured" in await kubectl("apply", "-k", own)
        assert await containers() == "cleanup done"
        assert (await kubectl("delete", "-k", own)).count("deleted") == 4
