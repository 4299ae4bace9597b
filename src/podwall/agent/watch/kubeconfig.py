"""Reads a kubeconfig and prints who we are: ``python -m podwall.agent.watch.kubeconfig FILES``.

A process of its own, since kubernetes_asyncio, which knows all that a kubeconfig can say, takes
40 MB of memory that an agent would never give back. It prints one line of JSON, an
:class:`~podwall.agent.watch.identity.Identity` or a :class:`Refusal`, and ends. What is wrong with
the file itself is said here, where it can be named; what is wrong with the credentials that it
leads to, by the library.

Programs that a kubeconfig names (exec plugins) are started in the directory of the file, as a
relative path in it means.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import binascii
import os
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from podwall.agent.watch.identity import Identity
from podwall.agent.watch.words import printable
from podwall.errors import InputError
from podwall.model.decode import shown

_FILES_OF_CLUSTER = ("certificate-authority",)
_FILES_OF_USER = ("client-certificate", "client-key", "tokenFile")


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """Why there is no identity."""

    error: str


class Chosen(msgspec.Struct, frozen=True):
    """A context and what it stands for: the contents of its cluster and its user, and all files."""

    context: str
    cluster: dict[str, Any]
    user: dict[str, Any]
    files: tuple[str, ...]


def main() -> int:
    """Print the identity; the exit status is 0, or 2 with a refusal."""
    parser = argparse.ArgumentParser(description="Print who a kubeconfig says we are, as JSON.")
    parser.add_argument("files", help="kubeconfigs, separated as in $KUBECONFIG")
    parser.add_argument("--context", default="")
    arguments = parser.parse_args()
    answer: Identity | Refusal
    try:
        answer = read_identity(arguments.files, arguments.context)
    except InputError as error:
        answer = Refusal(str(error))
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    return 2 if isinstance(answer, Refusal) else 0


def read_identity(files: str, context: str) -> Identity:
    """Read kubeconfigs, of which the first that says something counts.

    Raises:
        InputError: they cannot be used; the message names the file and what is wrong.
    """
    paths = [Path(each).expanduser().absolute() for each in files.split(os.pathsep) if each]
    chosen = choose(paths, context)
    os.chdir(paths[0].parent)
    try:
        return asyncio.run(_load(paths, chosen))
    except InputError:
        raise
    except Exception as error:
        # The library raises anything from its own ConfigException to what a plugin caused.
        words = printable(str(error)) or type(error).__name__
        raise InputError(f"kubeconfig {files}: {words}") from error


async def _load(paths: list[Path], chosen: Chosen) -> Identity:
    # Imported here, since this module's words are used where the library must not be.
    from kubernetes_asyncio.client import Configuration  # noqa: PLC0415
    from kubernetes_asyncio.config import exec_provider, kube_config  # noqa: PLC0415

    said: dict[str, Any] = {}

    class Remembering(exec_provider.ExecProvider):
        """Keeps what the plugin said: the library forgets when certificates expire."""

        async def run(self, previous_response: str | None = None) -> Any:
            status = await super().run(previous_response)
            said.update(status)
            return status

    setattr(kube_config, "ExecProvider", Remembering)  # noqa: B010 - it does not export it
    found = Configuration()
    with tempfile.TemporaryDirectory(prefix="podwall-") as directory:
        await kube_config.load_kube_config(
            os.pathsep.join(map(str, paths)), chosen.context, found, False, directory
        )
        return Identity(
            server=found.host or "",
            authority=_text(found.ssl_ca_cert),
            certificate=said.get("clientCertificateData") or _text(found.cert_file),
            key=said.get("clientKeyData") or _text(found.key_file),
            authorization=(found.api_key.get("BearerToken") or "").strip(),
            proxy=chosen.cluster.get("proxy-url") or "",
            server_name=chosen.cluster.get("tls-server-name") or "",
            insecure=bool(chosen.cluster.get("insecure-skip-tls-verify")),
            expires=_expiry(said.get("expirationTimestamp")),
            files=chosen.files,
        )


def _text(path: str | None) -> str:
    return Path(path).read_text(encoding="utf-8") if path else ""


def _expiry(timestamp: str | None) -> float | None:
    return datetime.fromisoformat(timestamp).timestamp() if timestamp else None


def choose(paths: list[Path], context: str) -> Chosen:
    """Find the context and what it stands for, and see whether all that is there.

    Raises:
        InputError: it is not.
    """
    there = [each for each in paths if each.exists()]
    if not there:
        raise InputError(f"kubeconfig {paths[0]}: there is no such file" if paths else "no file")
    configs = [(each, _parse(each)) for each in there]
    where = ", ".join(map(str, there))
    wanted = context or _current(configs)
    if not wanted:
        known = _names(configs, "contexts")
        raise InputError(f"kubeconfig {where}: it has no current-context; there are {known}")
    _, found = _find(configs, "contexts", wanted, where)
    files = [str(each) for each in paths]
    halves: list[dict[str, Any]] = []
    for word, fields in (("cluster", _FILES_OF_CLUSTER), ("user", _FILES_OF_USER)):
        name = found.get(word)
        if not isinstance(name, str):
            raise InputError(f"kubeconfig {where}: context {shown(wanted)} names no {word}")
        path, content = _find(configs, f"{word}s", name, where)
        files += _referred(path, f"{word} {shown(name)}", content, fields)
        halves.append(content)
    _check(where, *halves)
    return Chosen(wanted, halves[0], halves[1], tuple(files))


def _parse(path: Path) -> dict[str, Any]:
    import yaml  # noqa: PLC0415 - only the child needs it

    try:
        found = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise InputError(f"kubeconfig {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        words = " ".join(str(error).split())
        raise InputError(f"kubeconfig {path}: it is no YAML: {printable(words)}") from error
    if not isinstance(found, dict):
        raise InputError(f"kubeconfig {path}: it is no mapping, as a kubeconfig is")
    return found


def _current(configs: list[tuple[Path, dict[str, Any]]]) -> str:
    named = [config.get("current-context") for _, config in configs]
    return next((each for each in named if isinstance(each, str) and each), "")


def _entries(config: dict[str, Any], section: str) -> list[dict[str, Any]]:
    listed = config.get(section)
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _names(configs: list[tuple[Path, dict[str, Any]]], section: str) -> str:
    names = [each.get("name") for _, config in configs for each in _entries(config, section)]
    return ", ".join(shown(each) for each in names if isinstance(each, str)) or "none"


def _find(
    configs: list[tuple[Path, dict[str, Any]]], section: str, name: str, where: str
) -> tuple[Path, dict[str, Any]]:
    word = section.removesuffix("s")
    for path, config in configs:
        for each in _entries(config, section):
            if each.get("name") == name:
                content = each.get(word) or {}
                if not isinstance(content, dict):
                    raise InputError(f"kubeconfig {path}: {word} {shown(name)} is no mapping")
                return path, content
    known = _names(configs, section)
    raise InputError(f"kubeconfig {where}: there is no {word} {shown(name)}; there are {known}")


def _referred(path: Path, what: str, content: dict[str, Any], fields: tuple[str, ...]) -> list[str]:
    """The files that a cluster or a user refers to; data that is written out must be base64."""
    found: list[str] = []
    for field in fields:
        data = content.get(f"{field}-data")
        if data:
            try:
                base64.b64decode(data, validate=True)
            except (binascii.Error, ValueError, TypeError) as error:
                raise InputError(f"kubeconfig {path}: {what}: {field}-data is no base64") from error
        elif content.get(field):
            file = path.parent / Path(str(content[field])).expanduser()
            if not file.is_file():
                raise InputError(f"kubeconfig {path}: {what}: {field}: there is no file {file}")
            found.append(str(file))
    return found


def _check(where: str, cluster: dict[str, Any], user: dict[str, Any]) -> None:
    """Refuse what cannot work, or would work otherwise than it says."""
    server = cluster.get("server")
    if not _is_url(server):
        raise InputError(f"kubeconfig {where}: the cluster's server is no http or https URL")
    proxy = cluster.get("proxy-url")
    if proxy and not _is_url(proxy):
        raise InputError(f"kubeconfig {where}: proxy-url is no http or https URL")
    authority = cluster.get("certificate-authority") or cluster.get("certificate-authority-data")
    if cluster.get("insecure-skip-tls-verify") and authority:
        raise InputError(
            f"kubeconfig {where}: insecure-skip-tls-verify together with a certificate-authority"
        )
    if any(user.get(field) for field in ("as", "as-uid", "as-groups", "as-user-extra")):
        raise InputError(f"kubeconfig {where}: impersonation (as) is not supported")


def _is_url(found: object) -> bool:
    if not isinstance(found, str):
        return False
    try:
        parts = urlsplit(found)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
