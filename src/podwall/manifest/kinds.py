"""Which kinds are read, under which API, and what to make of an object that is nearly one of them.

Another project's API may have a kind of the same name (Calico has a NetworkPolicy, Volcano a Job):
those are skipped. A kind of ours under a wrong or outdated API version is read all the same, for a
policy that is left out because of a typo would open what it should close (S10).
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from podwall.model.decode import near_miss, shown

_API_VERSIONS = {
    "Pod": "v1",
    "Namespace": "v1",
    "Node": "v1",
    "ReplicationController": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "Deployment": "apps/v1",
    "ReplicaSet": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
}
_OUTDATED = {"NetworkPolicy": ("extensions",), "Deployment": ("extensions",)} | dict.fromkeys(
    ("ReplicaSet", "DaemonSet"), ("extensions",)
)
_TYPO_CUTOFF = 0.88


class Standing(enum.Enum):
    """What to do with an object."""

    READ = "read"
    SKIP = "skip"


class Classified(NamedTuple):
    """The kind that an object counts as, and what is wrong with how it says so.

    ``field`` is the field of the complaint; without a complaint ``found`` is empty. ``fatal`` tells
    an error from a warning.
    """

    kind: str
    standing: Standing
    field: str = ""
    found: str = ""
    expected: str = ""
    fatal: bool = True


def classify(kind: str, api_version: str) -> Classified:
    """Decide by ``kind`` and ``apiVersion`` (empty if absent) what an object is."""
    if _is_foreign(api_version):
        return _foreign(kind)
    if kind in _API_VERSIONS:
        return _check_version(kind, api_version)
    meant = near_miss(kind, tuple(_API_VERSIONS), _TYPO_CUTOFF)
    if meant is None:
        return _other_policy(kind)
    # A kind that differs in case only can be nothing else, so it is read.
    same_word = meant.casefold() == kind.casefold()
    standing = Standing.READ if same_word else Standing.SKIP
    hint = f"did you mean {meant}?"
    return Classified(meant if same_word else kind, standing, "kind", "unknown kind", hint)


def _is_foreign(api_version: str) -> bool:
    """Whether the API group belongs to somebody else; the groups of Kubernetes end in k8s.io."""
    group, slash, _ = api_version.partition("/")
    return bool(slash) and "." in group and not group.endswith("k8s.io")


def _check_version(kind: str, api_version: str) -> Classified:
    right = _API_VERSIONS[kind]
    if api_version == right:
        return Classified(kind, Standing.READ)
    if not api_version:
        return Classified(kind, Standing.READ, "apiVersion", "it is missing", f"expected {right}")
    group = api_version.partition("/")[0]
    outdated = group in _OUTDATED.get(kind, ()) or group == right.partition("/")[0]
    what = "is outdated" if outdated else f"has no {kind}"
    found = f"{shown(api_version)} {what}"
    # Old workloads still say what they run; an old policy may mean something else in its details.
    fatal = not outdated or kind == "NetworkPolicy"
    return Classified(kind, Standing.READ, "apiVersion", found, f"expected {right}", fatal=fatal)


def _foreign(kind: str) -> Classified:
    return _other_policy(kind)


def _other_policy(kind: str) -> Classified:
    """Other projects' policies are not enforced, and one who lists them should know."""
    if not kind.endswith(("NetworkPolicy", "NetworkPolicies")):
        return Classified(kind, Standing.SKIP)
    found = "this API's policies are not enforced"
    hint = "only those of networking.k8s.io/v1 are"
    return Classified(kind, Standing.SKIP, "apiVersion", found, hint, fatal=False)
