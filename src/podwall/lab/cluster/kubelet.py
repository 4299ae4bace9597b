"""Follows Pod objects: schedules them, gives them addresses, has them built, says that they run.

The scheduler, the network plugin and the kubelets of all nodes in one. News from the API server
only wake it; each time it looks at all pods and does what there is to do, so that bursts cost
little and nothing is ever missed. What stands for a pod is its *sandbox*, told apart by the pod's
uid: a pod that is deleted and created again under its name is another one.

The order is a real node's: a pod first gets its namespace, addresses and listeners, then its status
says so. When it is deleted, it goes on for the moment that a well-behaved program takes to end;
then its namespace is removed, and then the object.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from podwall.cluster.snapshot import build_snapshot
from podwall.errors import LabError
from podwall.lab.apiserver import Api, ApiError
from podwall.lab.apiserver.api import Deletion
from podwall.lab.apiserver.resources import (
    EVENTS,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    Target,
)
from podwall.lab.apiserver.store import Change
from podwall.lab.cluster.link import Link
from podwall.lab.cluster.scheduling import AddressPool, choose_node
from podwall.lab.cluster.things import Thing, event_thing, running_status
from podwall.lab.wire import encode_snapshot
from podwall.model.decode import decode_namespace, decode_pod, decode_policy
from podwall.model.net import Address, Family
from podwall.model.objects import Namespace, Node, Pod
from podwall.model.policy import Policy

log = logging.getLogger(__name__)

LINGER = 0.5
"""Seconds that a deleted pod goes on: a program ends soon after it is asked to."""

_RETRY = 1.0
_SCHEDULER = "default-scheduler"
_FOLLOWED = (PODS, NAMESPACES, NETWORK_POLICIES, NODES)


class Sandbox(msgspec.Struct):
    """What stands, or is about to, for one pod. ``ends`` is a time of the event loop's clock."""

    node: str
    addresses: tuple[Address, ...]
    stands: bool = False
    ends: float | None = None


class Kubelet:
    """Runs until it is cancelled; :attr:`idle` tells whether all is done."""

    def __init__(
        self, api: Api, link: Link, nodes: Sequence[Node], families: Sequence[Family]
    ) -> None:
        self.idle = asyncio.Event()
        self._api = api
        self._link = link
        self._nodes: Mapping[str, Node] = {node.name: node for node in nodes}
        self._families = families
        self._pools = {node.name: AddressPool(node, families) for node in nodes}
        self._sandboxes: dict[str, Sandbox] = {}
        self._told = ""
        self._complained: set[tuple[str, str]] = set()
        self._news = asyncio.Event()

    @property
    def counts(self) -> tuple[int, int]:
        """How many pods run here, and how many there are."""
        running = sum(each.stands for each in self._sandboxes.values())
        return running, len(self._api.store[PODS])

    async def run(self) -> None:
        """Follow the API server."""
        for resource in _FOLLOWED:
            self._api.store[resource].listeners.add(self._on_change)
        self._news.set()
        while True:
            await self._news.wait()
            self._news.clear()
            self.idle.clear()
            try:
                await self._settle()
            except LabError as error:
                log.warning("pods cannot be built: %s", error)
                self._told = ""
                self._complain_of_waiting(str(error))
                self._wake_after(_RETRY)
            except Exception:
                log.exception("the kubelet stumbled")
                self._wake_after(_RETRY)
            else:
                if not self._news.is_set():
                    self.idle.set()

    def _on_change(self, _: Change) -> None:
        self._news.set()
        self.idle.clear()

    def _wake_after(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._news.set)

    async def _settle(self) -> None:
        self._schedule()
        pods = {_uid(thing): thing for thing in self._things(PODS)}
        self._admit(pods)
        now = asyncio.get_running_loop().time()
        ended = {uid for uid, box in self._sandboxes.items() if box.ends and box.ends <= now}
        ended |= self._sandboxes.keys() - pods.keys()
        standing = {uid: box for uid, box in self._sandboxes.items() if uid not in ended}
        snapshot = encode_snapshot(self._snapshot(pods, standing))
        if snapshot != self._told:
            await self._link.apply(snapshot)
            self._told = snapshot
        self._sandboxes = standing
        for uid, box in standing.items():
            if not box.stands:
                self._report_running(pods[uid], box)
                box.stands = True
        for uid in ended & pods.keys():
            self._finish(pods[uid])

    def _schedule(self) -> None:
        """Bind the pods that have no node."""
        waiting = [
            each
            for each in self._things(PODS)
            if not each["spec"].get("nodeName")
            and each["spec"].get("schedulerName") == _SCHEDULER
            and not each["spec"].get("schedulingGates")
        ]
        if not waiting:
            return
        nodes = [each for each in self._things(NODES) if each["metadata"]["name"] in self._nodes]
        nodes.sort(key=lambda each: list(self._nodes).index(each["metadata"]["name"]))
        load = Counter(each["spec"].get("nodeName") for each in self._things(PODS))
        for pod in waiting:
            name = choose_node(pod, nodes, load)
            if not name:
                self._complain(pod, "FailedScheduling", "no node fits the pod", _SCHEDULER)
                continue
            load[name] += 1
            place = msgspec.structs.replace(_target(pod), subresource="binding")
            self._api.create(place, {"target": {"kind": "Node", "name": name}})

    def _admit(self, pods: Mapping[str, Thing]) -> None:
        """Make sandboxes for new pods, and let those of deleted pods come to an end."""
        for uid, pod in pods.items():
            metadata, box = pod["metadata"], self._sandboxes.get(uid)
            leaving = metadata.get("deletionTimestamp") is not None
            over = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
            node = pod["spec"].get("nodeName", "")
            if leaving and box is None:
                self._finish(pod)
            elif box is not None and (leaving or over) and box.ends is None:
                grace = min(metadata.get("deletionGracePeriodSeconds") or 0, LINGER)
                box.ends = asyncio.get_running_loop().time() + (0 if over else grace)
                self._wake_after(0 if over else grace)
            elif box is None and not over and node in self._nodes:
                self._add_sandbox(uid, pod, node)

    def _add_sandbox(self, uid: str, pod: Thing, node: str) -> None:
        if pod["spec"].get("hostNetwork"):
            addresses = self._host_addresses(node)
        else:
            used = {a for box in self._sandboxes.values() for a in box.addresses}
            found = self._pools[node].take(used)
            if found is None:
                self._complain(
                    pod, "FailedCreatePodSandBox", f"no free pod address on {node}", "kubelet"
                )
                return
            addresses = found
        self._sandboxes[uid] = Sandbox(node, addresses)

    def _host_addresses(self, node: str) -> tuple[Address, ...]:
        own = self._nodes[node].addresses
        return tuple(next(a for a in own if a.family is family) for family in self._families)

    def _snapshot(self, pods: Mapping[str, Thing], boxes: Mapping[str, Sandbox]) -> Any:
        return build_snapshot(
            list(self._placed(pods, boxes)),
            self._decode_all(NAMESPACES, decode_namespace, Namespace),
            self._decode_all(NETWORK_POLICIES, decode_policy, Policy),
            self._nodes.values(),
        )

    def _placed(self, pods: Mapping[str, Thing], boxes: Mapping[str, Sandbox]) -> Iterator[Pod]:
        for uid, box in boxes.items():
            pod = decode_pod(pods[uid]).value
            if pod is not None:
                yield msgspec.structs.replace(pod, node=box.node, addresses=box.addresses)

    def _decode_all(self, resource: Any, decode: Any, kind: type) -> list[Any]:
        found = (decode(thing).value for thing in self._things(resource))
        return [each for each in found if isinstance(each, kind)]

    def _report_running(self, pod: Thing, box: Sandbox) -> None:
        now = self._api.time()
        target = msgspec.structs.replace(_target(pod), subresource="status")
        hosts = self._host_addresses(box.node)
        try:
            current = self._api.get(target).decode()
            if _uid(current) == _uid(pod):
                current["status"] = running_status(current, box.addresses, hosts, now)
                self._api.update(target, current)
        except ApiError as error:
            # It went while it was built, and the news of that are waiting.
            log.info("%s: %s", target.name, error)

    def _finish(self, pod: Thing) -> None:
        """Remove a deleted pod's object; one that is merely over stays."""
        if pod["metadata"].get("deletionTimestamp") is None:
            return
        try:
            self._api.delete(_target(pod), Deletion(grace=0, uid=_uid(pod)))
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    def _complain_of_waiting(self, message: str) -> None:
        for pod in self._things(PODS):
            box = self._sandboxes.get(_uid(pod))
            if box is not None and not box.stands:
                self._complain(pod, "FailedCreatePodSandBox", message, "kubelet")

    def _complain(self, pod: Thing, reason: str, message: str, source: str) -> None:
        if (_uid(pod), reason) in self._complained:
            return
        self._complained.add((_uid(pod), reason))
        about = {**pod, "kind": "Pod", "apiVersion": "v1"}
        event = event_thing(about, reason, message, source, self._api.time())
        self._api.create(Target(EVENTS, pod["metadata"]["namespace"]), event)

    def _things(self, resource: Any) -> list[Thing]:
        things = [each.decode() for each in self._api.select(Target(resource))]
        for each in things:
            each.setdefault("spec", {})
        return things


def _uid(thing: Thing) -> str:
    uid: str = thing["metadata"]["uid"]
    return uid


def _target(pod: Thing) -> Target:
    return Target(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])
