"""Workloads become the pods that their controllers would make.

Names and labels look as in a cluster and are the same in every run, so that output can be compared
and a pod be named on the command line. What depends on nodes is left to
:mod:`podwall.cluster.placement`: a DaemonSet gives one pod here and is multiplied there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from podwall.cluster.podnames import generated_name, generated_suffix
from podwall.model.decode import (
    Data,
    Decoded,
    Path,
    Problems,
    decode_labels,
    decode_name,
    decode_namespace_of,
    decode_pod,
    decode_selector,
    describe,
    mapping,
    metadata,
    owning_workload,
)
from podwall.model.objects import Pod, PodKey

DEFAULT_MAX_REPLICAS = 1000
"""So many pods of one workload are made; policies do not tell replicas apart."""

_TEMPLATE_HASH = "pod-template-hash"
_REVISION_HASH = "controller-revision-hash"
_HASH_LENGTH = 10
_STAND_IN = "pod"
# Minutes since 1970, as the names of a CronJob's Jobs end in; this many are about 2025.
_SOME_MINUTE = 29_000_000
_MINUTES = 100_000


class Workload(NamedTuple):
    """A workload and its pods.

    ``display`` is ``Kind/name``, ``owner`` the same of the workload that owns this one, or empty.
    """

    key: PodKey
    display: str
    owner: str
    pods: tuple[Pod, ...]


class _Plan(NamedTuple):
    """What the names and labels of the pods depend on."""

    name: str
    uid: str
    digest: str
    pod_count: int
    data: Data


class _Identity(NamedTuple):
    """Name and additional labels of one pod."""

    name: str
    labels: Mapping[str, str]


def decode_workload(
    kind: str,
    data: Data,
    *,
    default_namespace: str = "default",
    max_replicas: int = DEFAULT_MAX_REPLICAS,
) -> Decoded[Workload | None]:
    """Read a workload of one of :data:`WORKLOAD_KINDS`; ``None`` if it has no usable name.

    At most ``max_replicas`` pods are made, with a warning if there should be more.
    """
    problems = Problems()
    workload = _decode(kind, data, default_namespace, max_replicas, problems)
    return Decoded(workload, problems.finish())


def _decode(
    kind: str, data: Data, default_namespace: str, max_replicas: int, problems: Problems
) -> Workload | None:
    meta = metadata(data, problems)
    name = decode_name(meta, problems)
    namespace = decode_namespace_of(meta, default_namespace, problems)
    spec = mapping(data, "spec", (), problems)
    template, path = _template_of(kind, spec, problems)
    model = _decode_template(template, path, namespace or default_namespace, problems)
    _check_selector(kind, spec, model.labels, problems)
    count = _bounded(_KINDS[kind].pod_count(spec, problems), max_replicas, problems)
    if name is None or namespace is None:
        return None
    display = f"{kind}/{name}"
    owner = owning_workload(meta, decode_labels(meta, "labels", ("metadata",), problems))
    origin = f"{namespace}/{display}"
    digest = generated_suffix(f"{origin} {model}", _HASH_LENGTH)
    plan = _Plan(name, _made_up_uid(origin), digest, count, spec)
    pods = tuple(
        msgspec.structs.replace(
            model,
            key=PodKey(namespace, identity.name),
            labels={**model.labels, **identity.labels},
            workload=owner or display,
        )
        for identity in _KINDS[kind].identities(plan)
    )
    return Workload(PodKey(namespace, name), display, owner, pods)


def _template_of(kind: str, spec: Data, problems: Problems) -> tuple[Data, Path]:
    path: Path = ("spec",)
    if kind == "CronJob":
        spec = mapping(mapping(spec, "jobTemplate", path, problems), "spec", path, problems)
        path = ("spec", "jobTemplate", "spec")
    template = mapping(spec, "template", path, problems)
    path = (*path, "template")
    if not template:
        problems.error(path, "it is missing", "expected a pod template")
    return template, path


def _decode_template(template: Data, path: Path, namespace: str, problems: Problems) -> Pod:
    """The template as a pod with a stand-in for its name; problems keep the template's paths."""
    meta = template.get("metadata")
    named = {**(meta if isinstance(meta, dict) else {}), "name": _STAND_IN}
    named.pop("namespace", None)
    if meta is not None and not isinstance(meta, dict):
        problems.error((*path, "metadata"), describe(meta), "expected a mapping")
    data = {"metadata": named, "spec": template.get("spec")}
    decoded = decode_pod(data, default_namespace=namespace)
    problems.extend(
        msgspec.structs.replace(each, path=(*path, *each.path)) for each in decoded.problems
    )
    return decoded.value or Pod(PodKey(namespace, _STAND_IN))


def _check_selector(kind: str, spec: Data, labels: Mapping[str, str], problems: Problems) -> None:
    """A workload must select its own pods, or its controller would make them for ever."""
    path: Path = ("spec", "selector")
    if not _KINDS[kind].selects:
        return
    found = spec.get("selector")
    if found is None:
        problems.error(path, "it is missing", "expected a selector that matches the template")
        return
    reading = decode_selector(found, path, problems)
    if reading.complete and not reading.selector.matches(labels):
        fault = f"{reading.selector} does not match the labels of the template"
        problems.error(path, fault, "expected a selector that does")


def _bounded(count: int, limit: int, problems: Problems) -> int:
    if count <= limit:
        return count
    problems.warn(("spec",), f"it asks for {count} pods", f"only {limit} are made")
    return limit


def _whole(spec: Data, field: str, default: int, problems: Problems) -> int:
    """A number of pods; ``default`` where it is absent or no such number."""
    found = spec.get(field)
    if found is None:
        return default
    if type(found) is int and 0 <= found < 2**31:
        return found
    problems.error(("spec", field), describe(found), "expected a number from 0 to 2147483647")
    return default


def _replicas(spec: Data, problems: Problems) -> int:
    return _whole(spec, "replicas", 1, problems)


def _one(_spec: Data, _problems: Problems) -> int:
    return 1


def _job_pods(spec: Data, problems: Problems) -> int:
    """How many pods of a Job run at the same time, as long as it is not done."""
    if spec.get("suspend") is True:
        return 0
    parallelism = _whole(spec, "parallelism", 1, problems)
    return min(parallelism, _whole(spec, "completions", parallelism, problems))


def _cron_job_pods(spec: Data, problems: Problems) -> int:
    job = mapping(mapping(spec, "jobTemplate", (), Problems()), "spec", (), Problems())
    return 0 if spec.get("suspend") is True else _job_pods(job, problems)


def _of_deployment(plan: _Plan) -> Iterator[_Identity]:
    stem = f"{plan.name}-{plan.digest}-"
    for index in range(plan.pod_count):
        labels = {_TEMPLATE_HASH: plan.digest}
        yield _Identity(generated_name(stem, f"{plan.uid} {index}"), labels)


def _of_replicas(plan: _Plan) -> Iterator[_Identity]:
    for index in range(plan.pod_count):
        yield _Identity(generated_name(f"{plan.name}-", f"{plan.uid} {index}"), {})


def _of_stateful_set(plan: _Plan) -> Iterator[_Identity]:
    ordinals = plan.data.get("ordinals")
    start = ordinals.get("start") if isinstance(ordinals, dict) else None
    first = start if type(start) is int and 0 <= start < 2**31 else 0
    for index in range(first, first + plan.pod_count):
        name = f"{plan.name}-{index}"
        yield _Identity(
            name,
            {
                _REVISION_HASH: f"{plan.name}-{plan.digest}",
                "statefulset.kubernetes.io/pod-name": name,
                "apps.kubernetes.io/pod-index": str(index),
            },
        )


def _of_daemon_set(plan: _Plan) -> Iterator[_Identity]:
    labels = {_REVISION_HASH: plan.digest, "pod-template-generation": "1"}
    yield _Identity(generated_name(f"{plan.name}-", plan.uid), labels)


def _of_job(plan: _Plan) -> Iterator[_Identity]:
    indexed = plan.data.get("completionMode") == "Indexed"
    for index in range(plan.pod_count):
        stem = f"{plan.name}-{index}-" if indexed else f"{plan.name}-"
        labels = {
            "batch.kubernetes.io/controller-uid": plan.uid,
            "batch.kubernetes.io/job-name": plan.name,
            "controller-uid": plan.uid,
            "job-name": plan.name,
        }
        if indexed:
            labels["batch.kubernetes.io/job-completion-index"] = str(index)
        yield _Identity(generated_name(stem, f"{plan.uid} {index}"), labels)


def _of_cron_job(plan: _Plan) -> Iterator[_Identity]:
    minute = _SOME_MINUTE + int(plan.uid.replace("-", ""), 16) % _MINUTES
    template = plan.data.get("jobTemplate")
    spec = template.get("spec") if isinstance(template, dict) else None
    job = plan._replace(name=f"{plan.name}-{minute}", data=spec if isinstance(spec, dict) else {})
    return _of_job(job)


def _made_up_uid(origin: str) -> str:
    """A UID in the usual form that is the same in every run."""
    letters = generated_suffix(origin, 32)
    digits = "".join(f"{ord(each) % 16:x}" for each in letters)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


class _Kind(NamedTuple):
    """How one kind of workload makes pods; ``selects`` if it needs a label selector."""

    pod_count: Callable[[Data, Problems], int]
    identities: Callable[[_Plan], Iterator[_Identity]]
    selects: bool


_KINDS = {
    "Deployment": _Kind(_replicas, _of_deployment, selects=True),
    "ReplicaSet": _Kind(_replicas, _of_replicas, selects=True),
    "ReplicationController": _Kind(_replicas, _of_replicas, selects=False),
    "StatefulSet": _Kind(_replicas, _of_stateful_set, selects=True),
    "DaemonSet": _Kind(_one, _of_daemon_set, selects=True),
    "Job": _Kind(_job_pods, _of_job, selects=False),
    "CronJob": _Kind(_cron_job_pods, _of_cron_job, selects=False),
}

WORKLOAD_KINDS = frozenset(_KINDS)
"""The kinds that :func:`decode_workload` reads."""
