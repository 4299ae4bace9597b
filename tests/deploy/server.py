"""An API server for a private kernel: ``python server.py KUBECONFIG OBJECTS``.

It answers each line with a line: ``asked`` with what it was asked so far, as JSON, and any other
with ``ready``. From ``forget`` on it is a server that does not have WatchList.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from podwall.lab.apiserver import Server
from podwall.lab.apiserver.watching import WatchList


async def _serve(kubeconfig: Path, objects: Path) -> None:
    async with Server() as server:
        server.api.load(json.loads(objects.read_text(encoding="utf-8")))
        kubeconfig.write_text(json.dumps(server.kubeconfig()), encoding="utf-8")
        while line := await asyncio.to_thread(sys.stdin.readline):
            if line.strip() == "forget":
                server.faults.watch_list = WatchList.FORBIDDEN
            print(_asked(server) if line.strip() == "asked" else "ready", flush=True)


def _asked(server: Server) -> str:
    return json.dumps(
        [
            {
                "verb": each.verb,
                "group": each.resource.group,
                "resource": "/".join(filter(None, (each.resource.plural, each.subresource))),
                "namespace": each.namespace,
                "query": dict(each.query),
            }
            for each in server.asked
        ]
    )


if __name__ == "__main__":
    asyncio.run(_serve(*map(Path, sys.argv[1:3])))
