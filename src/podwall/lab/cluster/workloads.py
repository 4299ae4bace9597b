"""Deployments, ReplicaSets, StatefulSets and DaemonSets make pods, and take them away again.

The parts of the real controllers that show: replicas are kept, a changed template makes new pods
(of a Deployment all at once, the others one by one), status counts, and what belonged to a deleted
workload goes with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from podwall.lab.apiserver import Api, ApiError
from podwall.lab.apiserver.resources import BY_KIND, EVENTS, NODES, PODS, Resource, Target
from podwall.lab.apiserver.store import Change
from podwall.lab.cluster.revisions import (
    APPS,
    REVISION,
    REVISION_HASH,
    count,
    created,
    has_revision,
    is_active,
    is_ready,
    owner_of,
    pod_of,
    replica_set_of,
    revision_of,
    same_template,
    template_hash,
)
from podwall.lab.cluster.things import Thing, event_thing

log = logging.getLogger(__name__)

DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, DAEMON_SETS = (
    BY_KIND[APPS, kind] for kind in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")
)
_WORKLOADS = (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, DAEMON_SETS)
_RETRY = 1.0


class Workloads:
    """Runs until it is cancelled."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._news = asyncio.Event()
        self._deleted: set[tuple[str, str, str, str]] = set()
        self._complained: set[tuple[str, str]] = set()

    def listen(self) -> None:
        """Hear of changes from now on."""
        for resource in (*_WORKLOADS, PODS, NODES):
            self._api.store[resource].listeners.add(self._hears_of(resource))

    async def run(self) -> None:
        """Follow the API server."""
        self.listen()
        self._news.set()
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                self.reconcile()
            except Exception:
                log.exception("the controllers stumbled")
                asyncio.get_running_loop().call_later(_RETRY, self._news.set)

    def reconcile(self) -> None:
        """Do what is to be done now."""
        self._collect_orphans()
        for resource, reconcile in self._controllers:
            for each in self._all(resource):
                if each["metadata"].get("deletionTimestamp") is not None:
                    continue
                try:
                    reconcile(self, each)
                except (ApiError, AttributeError, KeyError, TypeError, ValueError) as error:
                    # One that is stored past validation shall not keep the others waiting.
                    log.warning("%s %s: %r", resource.kind, each["metadata"]["name"], error)

    def _hears_of(self, resource: Resource) -> Callable[[Change], None]:
        def listen(change: Change) -> None:
            if change.after is None and change.before is not None and resource in _WORKLOADS:
                uid = change.before.decode()["metadata"]["uid"]
                self._deleted.add((change.before.namespace, resource.kind, change.before.name, uid))
            self._news.set()

        return listen

    def _collect_orphans(self) -> None:
        while self._deleted:
            namespace, kind, name, uid = self._deleted.pop()
            for resource in (REPLICA_SETS, PODS):
                for each in self._owned(resource, namespace, kind, name):
                    if (owner_of(each) or {}).get("uid") == uid:
                        self._delete(resource, each)

    def _deployment(self, thing: Thing) -> None:
        spec, metadata = thing["spec"], thing["metadata"]
        sets = self._owned(REPLICA_SETS, metadata["namespace"], "Deployment", metadata["name"])
        current = next((each for each in sets if same_template(each, thing)), None)
        newest = max((revision_of(each) for each in sets), default=0)
        if current is None:
            self._create(thing, REPLICA_SETS, replica_set_of(thing, newest + 1))
            return
        if revision_of(current) < newest:
            # An earlier template is wanted again.
            current["metadata"].setdefault("annotations", {})[REVISION] = str(newest + 1)
            self._api.update(_target(REPLICA_SETS, current), current)
            return
        annotations = metadata.setdefault("annotations", {})
        if annotations.get(REVISION) != (number := str(revision_of(current))):
            annotations[REVISION] = number
            self._api.update(_target(DEPLOYMENTS, thing), thing)
            return
        wanted = spec.get("replicas", 1)
        self._scale(current, wanted)
        ready = count(current, "readyReplicas")
        for old in sets:
            if old is not current and ready >= wanted:
                self._scale(old, 0)
        self._set_status(
            DEPLOYMENTS,
            thing,
            replicas=sum(count(each, "replicas") for each in sets),
            updatedReplicas=count(current, "replicas"),
            readyReplicas=sum(count(each, "readyReplicas") for each in sets),
            availableReplicas=sum(count(each, "readyReplicas") for each in sets),
            conditions=[
                {
                    "type": "Available",
                    "status": "True" if ready >= wanted else "False",
                    "reason": "MinimumReplicasAvailable",
                    "lastTransitionTime": metadata["creationTimestamp"],
                    "lastUpdateTime": metadata["creationTimestamp"],
                }
            ],
        )

    def _replica_set(self, thing: Thing) -> None:
        metadata, wanted = thing["metadata"], thing["spec"].get("replicas", 1)
        pods = [each for each in self._pods_of(thing, "ReplicaSet") if is_active(each)]
        for _ in range(wanted - len(pods)):
            if not self._create(
                thing, PODS, pod_of(thing, {"generateName": f"{metadata['name']}-"})
            ):
                break
        # Those that are not ready go first, then the youngest.
        pods.sort(key=created, reverse=True)
        pods.sort(key=is_ready)
        surplus = max(0, len(pods) - wanted)
        for each in pods[:surplus]:
            self._delete(PODS, each)
        kept = pods[surplus:]
        ready = sum(map(is_ready, kept))
        self._set_status(
            REPLICA_SETS, thing, replicas=len(kept), readyReplicas=ready, availableReplicas=ready
        )

    def _stateful_set(self, thing: Thing) -> None:
        metadata, wanted = thing["metadata"], thing["spec"].get("replicas", 1)
        revision = f"{metadata['name']}-{template_hash(thing)}"
        pods = {each["metadata"]["name"]: each for each in self._pods_of(thing, "StatefulSet")}
        names = [f"{metadata['name']}-{index}" for index in range(wanted)]
        parallel = thing["spec"].get("podManagementPolicy") == "Parallel"
        for index, name in enumerate(names):
            if name in pods and (parallel or is_ready(pods[name])):
                continue
            if name not in pods:
                labels = {
                    "apps.kubernetes.io/pod-index": str(index),
                    "statefulset.kubernetes.io/pod-name": name,
                    REVISION_HASH: revision,
                }
                self._create(thing, PODS, pod_of(thing, {"name": name}, labels))
            if not parallel:
                break
        self._replace_outdated(pods.values(), revision)
        for name in pods.keys() - set(names):
            self._delete(PODS, pods[name])
        self._count_pods(STATEFUL_SETS, thing, pods.values(), revision)

    def _daemon_set(self, thing: Thing) -> None:
        metadata = thing["metadata"]
        revision = template_hash(thing)
        pods = self._pods_of(thing, "DaemonSet")
        by_node = {each["spec"].get("nodeName"): each for each in pods}
        wanted = thing["spec"]["template"].get("spec", {}).get("nodeSelector") or {}
        nodes = [
            each["metadata"]["name"]
            for each in self._all(NODES)
            if wanted.items() <= (each["metadata"].get("labels") or {}).items()
        ]
        for node in nodes:
            if node not in by_node:
                pod = pod_of(
                    thing, {"generateName": f"{metadata['name']}-"}, {REVISION_HASH: revision}
                )
                pod["spec"]["nodeName"] = node
                self._create(thing, PODS, pod)
        for node in by_node.keys() - set(nodes):
            self._delete(PODS, by_node[node])
        self._replace_outdated(pods, revision)
        ready = sum(map(is_ready, pods))
        self._set_status(
            DAEMON_SETS,
            thing,
            currentNumberScheduled=len(pods),
            desiredNumberScheduled=len(nodes),
            numberAvailable=ready,
            numberMisscheduled=0,
            numberReady=ready,
            updatedNumberScheduled=sum(has_revision(each, revision) for each in pods),
        )

    def _replace_outdated(self, pods: Iterable[Thing], revision: str) -> None:
        """Delete one pod of an old template, once all others are well; another takes its place."""
        pods = list(pods)
        outdated = [each for each in pods if not has_revision(each, revision)]
        if outdated and all(map(is_ready, pods)):
            self._delete(PODS, max(outdated, key=lambda each: each["metadata"]["name"]))

    def _count_pods(
        self, resource: Resource, thing: Thing, pods: Iterable[Thing], revision: str
    ) -> None:
        pods = list(pods)
        ready = sum(map(is_ready, pods))
        self._set_status(
            resource,
            thing,
            replicas=len(pods),
            readyReplicas=ready,
            availableReplicas=ready,
            currentReplicas=len(pods),
            updatedReplicas=sum(has_revision(each, revision) for each in pods),
            currentRevision=revision,
            updateRevision=revision,
        )

    def _scale(self, replica_set: Thing, replicas: int) -> None:
        if replica_set["spec"].get("replicas") != replicas:
            replica_set["spec"]["replicas"] = replicas
            self._api.update(_target(REPLICA_SETS, replica_set), replica_set)

    def _set_status(self, resource: Resource, thing: Thing, **values: Any) -> None:
        status = {"observedGeneration": thing["metadata"].get("generation", 1), **values}
        target = msgspec.structs.replace(_target(resource, thing), subresource="status")
        self._api.update(target, {**thing, "status": status})

    def _create(self, owner: Thing, resource: Resource, thing: Thing) -> bool:
        namespace = owner["metadata"]["namespace"]
        try:
            self._api.create(Target(resource, namespace), thing)
        except ApiError as error:
            # Not the message, which names another pod each time.
            key = (owner["metadata"]["uid"], error.reason)
            # The first pod of a name is still ending: its end is news.
            if error.reason != "AlreadyExists" and key not in self._complained:
                self._complained.add(key)
                kind = owner["kind"]
                about = {**owner, "apiVersion": APPS}
                event = event_thing(
                    about,
                    "FailedCreate",
                    f"Error creating: {error}",
                    f"{kind.lower()}-controller",
                    self._api.time(),
                )
                self._api.create(Target(EVENTS, namespace), event)
            return False
        return True

    def _delete(self, resource: Resource, thing: Thing) -> None:
        if thing["metadata"].get("deletionTimestamp") is None:
            self._api.delete(_target(resource, thing))

    def _pods_of(self, thing: Thing, kind: str) -> list[Thing]:
        metadata = thing["metadata"]
        return self._owned(PODS, metadata["namespace"], kind, metadata["name"])

    def _owned(self, resource: Resource, namespace: str, kind: str, name: str) -> list[Thing]:
        return [
            each
            for each in self._all(resource, namespace)
            if (owner := owner_of(each)) and (owner.get("kind"), owner.get("name")) == (kind, name)
        ]

    def _all(self, resource: Resource, namespace: str = "") -> list[Thing]:
        found = self._api.select(Target(resource, namespace))
        return [{**each.decode(), "kind": resource.kind} for each in found]

    _controllers: Sequence[tuple[Resource, Callable[[Workloads, Thing], None]]] = (
        (DEPLOYMENTS, _deployment),
        (REPLICA_SETS, _replica_set),
        (STATEFUL_SETS, _stateful_set),
        (DAEMON_SETS, _daemon_set),
    )


def _target(resource: Resource, thing: Thing) -> Target:
    return Target(resource, thing["metadata"]["namespace"], thing["metadata"]["name"])
