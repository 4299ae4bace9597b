"""The API server of one cluster, filled before it listens; told what to do line by line.

    agent_server.py SHAPE-AS-JSON KUBECONFIG

It prints a line of JSON when it listens, and one for each line of JSON that it reads:
`{"do": "churn", "rate": 500, "seconds": 60}` changes pods straight in its store, so that the cost
of writing is not measured along; `{"do": "touch", "resource": "pod", "count": 9}` makes some newer;
`{"do": "dump", "path": "…"}` writes what there is, for a comparison.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from agent_cluster import AgentShape, moved_pod, objects, trimmed
from cluster_gen import NODE

from podwall.lab.apiserver import Api
from podwall.lab.apiserver.resources import NAMESPACES, NETWORK_POLICIES, NODES, PODS
from podwall.lab.apiserver.server import Server, ServerOptions
from podwall.lab.apiserver.store import Object

BATCH = 0.02
"""Seconds between the moments at which changes happen, a few each time."""

KINDS = (PODS, NAMESPACES, NODES, NETWORK_POLICIES)


class Churn:
    """Changes of pods, in the proportions in which clusters have them.

    Most are news that change nothing for anybody here (a label, a condition); some enter or leave
    what policies of the node select, some pods go and others come in their place, some are the
    node's own.
    """

    def __init__(self, api: Api, seed: int = 1) -> None:
        self._store = api.store
        self._chance = random.Random(seed)
        self._keys = [each.key for each in api.store[PODS].at(None).after()]
        self._local = [each for each in self._keys if self._node(each) == NODE]
        self._counter = 0

    def _node(self, key: str) -> str:
        version = self._store[PODS].get(key)
        return "" if version is None else version.fields["spec.nodeName"]

    def step(self) -> None:
        """One change."""
        self._counter += 1
        dice = self._chance.random()
        if dice < 0.05 and self._local:
            self._label(self._chance.choice(self._local), "note", str(self._counter))
            return
        index = self._chance.randrange(len(self._keys))
        key = self._keys[index]
        if dice < 0.25:
            self._flip(key)
        elif dice < 0.35 and key not in self._local:
            self._replace(index)
        else:
            self._label(key, "note", str(self._counter))

    def _pod(self, key: str) -> Object:
        version = self._store[PODS].get(key)
        assert version is not None, key
        return {"apiVersion": "v1", "kind": "Pod", **version.decode()}

    def _label(self, key: str, name: str, value: str | None) -> None:
        pod = self._pod(key)
        labels = pod["metadata"].setdefault("labels", {})
        if value is None:
            labels.pop(name, None)
        else:
            labels[name] = value
        self._store.put(PODS, pod)

    def _flip(self, key: str) -> None:
        labels = self._pod(key)["metadata"]["labels"]
        self._label(key, "bench", None if "bench" in labels else "yes")

    def _replace(self, index: int) -> None:
        """A pod goes and another one comes, with another name and address."""
        old = self._pod(self._keys[index])
        self._store.remove(PODS, self._keys[index])
        self._keys[index] = self._store.put(PODS, moved_pod(old, self._counter)).key


async def churn(api: Api, rate: int, seconds: float) -> dict[str, Any]:
    """So many changes a second; says how many it managed."""
    changes, began, done = Churn(api), time.monotonic(), 0
    while (elapsed := time.monotonic() - began) < seconds:
        due = int(rate * elapsed)
        # A server that falls behind does not make up for it in one go.
        for _ in range(min(due - done, int(rate * BATCH * 5))):
            changes.step()
            done += 1
        await asyncio.sleep(BATCH)
    return {"changes": done, "seconds": time.monotonic() - began}


def touch(api: Api, resource: str, count: int) -> dict[str, Any]:
    """Some objects become newer; nothing else changes."""
    collection = {"pod": PODS, "namespace": NAMESPACES, "policy": NETWORK_POLICIES}[resource]
    versions = api.store[collection].at(None).after()
    head = {"apiVersion": collection.api_version, "kind": collection.kind}
    for version in list(itertools.islice(versions, count)):
        api.store.put(collection, {**head, **version.decode()})
    return {}


def dump(api: Api, path: Path) -> dict[str, Any]:
    """What enforcement on one node depends on, as a manifest; of pods not more than that."""
    items = []
    for resource in KINDS:
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        for version in api.store[resource].at(None).after():
            if resource is PODS:
                items.append({**head, **trimmed(version.decode())})
            elif resource is not NODES or version.name == NODE:
                items.append({**head, **version.decode()})
    path.write_bytes(msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": items}))
    return {"objects": len(items)}


async def serve(shape: AgentShape, kubeconfig: Path) -> None:
    """Fill, listen, and do what is asked."""
    began = time.monotonic()
    api = Api()
    api.load(list(objects(shape)))
    api.store.compact()
    async with Server(api, ServerOptions()) as server:
        kubeconfig.write_text(json.dumps(server.kubeconfig()), encoding="utf-8")
        _say({"url": server.url, "seconds": time.monotonic() - began})
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            asked = json.loads(line)
            match asked.pop("do"):
                case "churn":
                    _say(await churn(api, **asked))
                case "touch":
                    _say(touch(api, **asked))
                case "dump":
                    _say(dump(api, Path(asked["path"])))
                case other:
                    raise ValueError(f"unknown: {other}")


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def main() -> None:
    """Serve until standard input ends."""
    shape = AgentShape(**json.loads(sys.argv[1]))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(shape, Path(sys.argv[2])))


if __name__ == "__main__":
    main()
