"""An API server for a private kernel: ``python server.py DIRECTORY OBJECTS``.

It serves with TLS, and writes into the directory what kubelet gives a pod: the token of a service
account, and the authority that signed its certificate. It answers each line with a line: ``asked``
with what it was asked so far, as JSON, and any other with its port. From ``forget`` on it is a
server that does not have WatchList.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from pathlib import Path

import trustme

from podwall.lab.apiserver.server import Server, ServerOptions
from podwall.lab.apiserver.watching import WatchList

TOKEN = "of-the-service-account"


async def _serve(account: Path, objects: Path) -> None:
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    (account / "ca.crt").write_bytes(authority.cert_pem.bytes())
    (account / "token").write_text(TOKEN, encoding="ascii")
    async with Server(options=ServerOptions(tls=tls, tokens=(TOKEN,))) as server:
        server.api.load(json.loads(objects.read_text(encoding="utf-8")))
        port = server.url.rpartition(":")[2]
        while line := await asyncio.to_thread(sys.stdin.readline):
            if line.strip() == "forget":
                server.faults.watch_list = WatchList.FORBIDDEN
            print(_asked(server) if line.strip() == "asked" else port, flush=True)


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
