"""A server with TLS that wants to know who is asking, and kubeconfigs for it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import ssl
import stat
import sys
import warnings
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import trustme
from kubernetes_asyncio.config import kube_config

from podwall.agent.watch.client import ApiClient
from podwall.agent.watch.credentials import Access
from podwall.agent.watch.kubeconfig import Refusal, read_identity
from podwall.dataplane.command import Completed
from podwall.errors import InputError
from podwall.lab.apiserver import Api
from podwall.lab.apiserver.server import Server, ServerOptions
from tests.unit.agent.watch.watching import QUICK

Json = dict[str, Any]
PODS = "/api/v1/pods"


class Authority:
    """A CA, and what it has signed."""

    def __init__(self) -> None:
        self.ca = trustme.CA()

    @property
    def pem(self) -> str:
        return self.ca.cert_pem.bytes().decode()

    def server(self, *names: str) -> ssl.SSLContext:
        """TLS of a server with these names that takes this CA's clients."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=self.pem)
        context.verify_mode = ssl.CERT_OPTIONAL
        self.ca.issue_cert(*names).configure_cert(context)
        return context

    def client(self) -> tuple[str, str]:
        """A client's certificate and its key."""
        issued = self.ca.issue_cert("agent@example.org")
        certificate = "".join(each.bytes().decode() for each in issued.cert_chain_pems)
        return certificate, issued.private_key_pem.bytes().decode()


@contextlib.asynccontextmanager
async def secured(
    authority: Authority,
    *tokens: str,
    names: Sequence[str] = ("127.0.0.1",),
    port: int = 0,
    api: Api | None = None,
) -> AsyncIterator[Server]:
    """A server that lets in bearers of ``tokens`` and clients of the CA."""
    options = ServerOptions(
        port=port, tls=authority.server(*names), tokens=tokens or ("nobody has this one",)
    )
    async with Server(api, options) as server:
        yield server


def config(server: str, cluster: Json | None = None, user: Json | None = None) -> Json:
    """A kubeconfig."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "agent", "user": user or {}}],
        "contexts": [{"name": "it", "context": {"cluster": "lab", "user": "agent"}}],
        "current-context": "it",
    }


def written(home: Path, content: Json, name: str = "config") -> Path:
    """A kubeconfig as a file; JSON is YAML."""
    path = home / name
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def plugin(home: Path, body: str) -> Path:
    """A program that a kubeconfig may name; ``body`` is Python and has json, os and sys."""
    path = home / "plugin"
    path.write_text(f"#!{sys.executable} -S\nimport json, os, sys\n{body}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def saying(version: str, status: str) -> str:
    """Python that prints what an exec plugin says."""
    api = f"client.authentication.k8s.io/{version}"
    head = f'"kind": "ExecCredential", "apiVersion": "{api}"'
    return f'print(json.dumps({{{head}, "status": {status}}}))'


def execution(version: str, command: str, **more: object) -> Json:
    """The user that an exec plugin stands for."""
    api = f"client.authentication.k8s.io/{version}"
    return {"exec": {"apiVersion": api, "command": command, "interactiveMode": "Never", **more}}


class InProcess:
    """Reads kubeconfigs here, since a process for each would make tests slow."""

    def __init__(self) -> None:
        self.runs = 0

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | bytes | None = None,  # noqa: A002
        timeout: float = 0,
    ) -> Completed:
        self.runs += 1
        files = argv[argv.index("podwall.agent.watch.kubeconfig") + 1]
        context = argv[argv.index("--context") + 1] if "--context" in argv else ""
        before = os.getcwd()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the library's own are no concern of ours
                answer: object = read_identity(files, context)
        except InputError as error:
            answer = Refusal(str(error))
        finally:
            os.chdir(before)
            # The library remembers temporary files for as long as its process lives.
            kube_config._temp_files.clear()
        return Completed(msgspec.json.encode(answer).decode(), "", 0)


async def pods_by(access: Access) -> list[Json]:
    """List pods once."""
    async with ApiClient(access, QUICK) as client:
        found: list[Json] = json.loads(await client.get(PODS))["items"]
        return found
