"""What belongs to a workload, and to which version of its template; pure.

Owners are recognised by kind and name, so that the dump of a cluster, whose uids are another's,
finds its own again.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from podwall.cluster.podnames import generated_suffix
from podwall.lab.cluster.things import Thing

APPS = "apps/v1"
TEMPLATE_HASH = "pod-template-hash"
REVISION_HASH = "controller-revision-hash"
REVISION = "deployment.kubernetes.io/revision"


def replica_set_of(deployment: Thing, revision: int) -> Thing:
    """The ReplicaSet for the present template of a Deployment."""
    metadata, spec = deployment["metadata"], deployment["spec"]
    digest = template_hash(deployment)
    template = spec["template"]
    labels = {**(template.get("metadata") or {}).get("labels", {}), TEMPLATE_HASH: digest}
    selector = spec.get("selector") or {}
    return {
        "metadata": {
            "name": f"{metadata['name']}-{digest}",
            "labels": labels,
            "annotations": {REVISION: str(revision)},
            "ownerReferences": [_reference("Deployment", metadata)],
        },
        "spec": {
            "replicas": spec.get("replicas", 1),
            "selector": {
                **selector,
                "matchLabels": {**(selector.get("matchLabels") or {}), TEMPLATE_HASH: digest},
            },
            "template": {
                **template,
                "metadata": {**(template.get("metadata") or {}), "labels": labels},
            },
        },
    }


def pod_of(owner: Thing, name: Mapping[str, str], labels: Mapping[str, str] | None = None) -> Thing:
    """A pod from the template of ``owner``; ``name`` is its ``name`` or ``generateName``."""
    template = owner["spec"]["template"]
    metadata = template.get("metadata") or {}
    return {
        "metadata": {
            **name,
            "labels": {**(metadata.get("labels") or {}), **(labels or {})},
            "annotations": metadata.get("annotations") or {},
            "ownerReferences": [_reference(owner["kind"], owner["metadata"])],
        },
        "spec": {**template["spec"]},
    }


def _reference(kind: str, metadata: Thing) -> Thing:
    return {
        "apiVersion": APPS,
        "kind": kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def owner_of(thing: Thing) -> Thing | None:
    """The reference to the workload that keeps an object, if there is one."""
    references = thing["metadata"].get("ownerReferences") or ()
    return next((each for each in references if each.get("controller")), None)


def same_template(replica_set: Thing, deployment: Thing) -> bool:
    """Whether a ReplicaSet makes the pods that its Deployment asks for now."""
    return _bare_template(replica_set) == _bare_template(deployment)


def _bare_template(thing: Thing) -> Thing:
    template = thing["spec"]["template"]
    metadata = template.get("metadata") or {}
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k != TEMPLATE_HASH}
    return {**template, "metadata": {"labels": labels, "annotations": metadata.get("annotations")}}


def template_hash(thing: Thing) -> str:
    """Ten characters that depend on the pod template alone."""
    text = msgspec.json.encode(_bare_template(thing), order="deterministic").decode()
    return generated_suffix(text, 10)


def revision_of(replica_set: Thing) -> int:
    """Which revision of its Deployment a ReplicaSet is, counted from 1; 0 if it does not say."""
    text = (replica_set["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdecimal() else 0


def has_revision(pod: Thing, revision: str) -> bool:
    """Whether a pod of a StatefulSet or DaemonSet was made from a revision of the template."""
    return bool((pod["metadata"].get("labels") or {}).get(REVISION_HASH) == revision)


def count(thing: Thing, field: str) -> int:
    """A number in an object's status, 0 where there is none."""
    return int((thing.get("status") or {}).get(field) or 0)


def created(thing: Thing) -> str:
    """When an object was created; texts sort by time."""
    return str(thing["metadata"].get("creationTimestamp", ""))


def is_active(pod: Thing) -> bool:
    """Whether a pod counts as a replica: neither ending nor over."""
    phase = (pod.get("status") or {}).get("phase")
    return not pod["metadata"].get("deletionTimestamp") and phase not in ("Succeeded", "Failed")


def is_ready(pod: Thing) -> bool:
    """Whether a pod is ready, and going to stay."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
