"""Which labels say what a pod is, and which change under it.

A policy outlives the pods that it was learned from. So labels that a controller gives to one pod or
one revision are never selected by; labels that change with a release are, but only beside one that
does not; and of equal choices the labels that people name their workloads by come first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from podwall.model.selector import Operator, Requirement

_NAMED = (
    "app.kubernetes.io/name",
    "app",
    "k8s-app",
    "name",
    "app.kubernetes.io/component",
    "component",
    "app.kubernetes.io/instance",
    "role",
    "tier",
    "app.kubernetes.io/part-of",
    "job-name",
    "batch.kubernetes.io/job-name",
)
_OF_ONE_POD = frozenset(
    (
        "apps.kubernetes.io/pod-index",
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/job-completion-index",
        "controller-revision-hash",
        "controller-uid",
        "pod-template-generation",
        "pod-template-hash",
        "rollouts-pod-template-hash",
        "statefulset.kubernetes.io/pod-name",
    )
)
_OF_ONE_JOB = frozenset(("batch.kubernetes.io/job-name", "job-name"))
_OF_A_RELEASE = re.compile(
    r"(?:.*/)?(?:version|revision|release-version|chart|chart-version|heritage|managed-by|hash"
    r"|commit|sha|build|date|.*-hash|.*-checksum)\Z",
    re.IGNORECASE,
)


def stable_labels(labels: Mapping[str, str], workload: str) -> dict[str, str]:
    """The labels that the next pod of ``workload`` (``Kind/name``) has, too.

    The pods of a CronJob have the name of a Job that will not be there tomorrow.
    """
    passing = _OF_ONE_POD
    if workload.startswith("CronJob/"):
        passing |= _OF_ONE_JOB
    return {key: value for key, value in labels.items() if key not in passing}


def is_weak(key: str) -> bool:
    """Whether a label is of one release, so that it tells apart but does not name."""
    return _OF_A_RELEASE.match(key) is not None


def preference(requirement: Requirement) -> tuple[int, int, str, str]:
    """Orders requirements: what people would select by comes first, what is absent last."""
    key = requirement.key
    rank = _NAMED.index(key) if key in _NAMED else len(_NAMED)
    absent = requirement.operator is Operator.DOES_NOT_EXIST
    return absent, is_weak(key) * len(_NAMED) * 2 + rank, key, "".join(requirement.values)
