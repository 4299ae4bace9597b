"""Where the API server is, and who we are: from the pod we run in, or from a kubeconfig.

Both are read again when a file that they came from changes, shortly before they expire, and when
the server does not know us any more (401), so that rotated certificates and tokens are followed for
years. If that fails, what there was is kept: it may be good still, and the server has the last
word.

Kubeconfigs are read by kubernetes_asyncio, which would take more memory than the rest of an agent
does; so it runs in a process of its own, :mod:`podwall.agent.watch.kubeconfig`, that ends at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from podwall.agent.watch import incluster
from podwall.agent.watch.identity import Identity
from podwall.agent.watch.kubeconfig import Refusal
from podwall.agent.watch.tls import make_context
from podwall.agent.watch.words import printable
from podwall.dataplane.command import Completed, Runner, SystemRunner
from podwall.errors import InputError, KernelError

EARLY = 30.0
"""Seconds before they expire that credentials are read anew."""

AT_MOST_EVERY = 10.0
"""Seconds between two readings, whoever asks for them; exec plugins may cost money or patience."""

_CHILD_TIMEOUT = 30.0

_log = logging.getLogger(__name__)


class Access:
    """How to reach the API server, now.

    Read the attributes after :meth:`headers`, which brings them up to date.

    Args:
        load: reads who we are; blocks, and raises :class:`~podwall.errors.InputError`.
        clock: seconds since the epoch.

    Attributes:
        base_url: where the server is, without a slash at the end.
        tls: ``None`` where it speaks plain HTTP.
        proxy: the HTTP proxy on the way, empty for none.
        server_name: the name its certificate must have, empty for that in the URL.
    """

    def __init__(
        self, load: Callable[[], Identity], clock: Callable[[], float] = time.time
    ) -> None:
        self.base_url = ""
        self.tls: ssl.SSLContext | None = None
        self.proxy = ""
        self.server_name = ""
        self._load = load
        self._clock = clock
        self._identity = Identity("")
        self._seen: tuple[object, ...] = ()
        self._read_at = 0.0
        self._doubted = False
        self._lock = asyncio.Lock()

    async def read(self) -> None:
        """Read who we are.

        Raises:
            InputError: it cannot be read, or cannot be used.
        """
        try:
            identity, context, seen = await asyncio.to_thread(self._read)
        finally:
            self._read_at = self._clock()
            self._doubted = False
        self._identity, self.tls, self._seen = identity, context, seen
        self.base_url = identity.server.rstrip("/")
        self.proxy, self.server_name = identity.proxy, identity.server_name

    async def headers(self) -> dict[str, str]:
        """Headers that say who we are."""
        if self._due():
            async with self._lock:
                if self._due():
                    await self._try_again()
        return self._headers()

    async def renew(self, used: Mapping[str, str]) -> bool:
        """After a 401 to a request with the headers ``used``: whether there are others now."""
        async with self._lock:
            sent = used.get("Authorization", "")
            if sent == self._identity.authorization and self._may_read():
                await self._try_again()
            return sent != self._identity.authorization

    def doubt(self) -> None:
        """Have everything read again before the next request: TLS did not come about."""
        self._doubted = True

    def _headers(self) -> dict[str, str]:
        authorization = self._identity.authorization
        return {"Authorization": authorization} if authorization else {}

    def _due(self) -> bool:
        if not self._may_read():
            return False
        expires = self._identity.expires
        expired = expires is not None and self._clock() > expires - EARLY
        return expired or self._doubted or _fingerprint(self._identity.files) != self._seen

    def _may_read(self) -> bool:
        # A clock that was set back must not keep us from it.
        return abs(self._clock() - self._read_at) >= AT_MOST_EVERY

    async def _try_again(self) -> None:
        try:
            await self.read()
        except InputError as error:
            _log.warning("credentials cannot be read again, the old ones are kept: %s", error)

    def _read(self) -> tuple[Identity, ssl.SSLContext | None, tuple[object, ...]]:
        # Before they are read: what changes meanwhile is then read again.
        seen = _fingerprint(self._identity.files)
        identity = self._load()
        if identity.files != self._identity.files:
            seen = _fingerprint(identity.files)
        _check(identity)
        return identity, make_context(identity), seen


async def load_access(
    kubeconfig: Path | None,
    context: str | None = None,
    *,
    env: Mapping[str, str] | None = None,
    runner: Runner | None = None,
    service_account: Path = incluster.SERVICE_ACCOUNT,
    clock: Callable[[], float] = time.time,
) -> Access:
    """Find the API server and who we are.

    Args:
        kubeconfig: the kubeconfig to use. ``None`` takes the service account of the pod that we run
            in, and outside of one what kubectl takes: ``$KUBECONFIG`` or ``~/.kube/config``.
        context: the context of the kubeconfig, ``None`` for its current one.
        env: environment variables, those of this process by default.
        runner: starts the process that reads kubeconfigs.
        service_account: the directory in which a pod finds its service account.
        clock: seconds since the epoch.

    Raises:
        InputError: there is none, or it cannot be used; the message names the file.
    """
    env = os.environ if env is None else env
    if kubeconfig is None and incluster.is_there(service_account):
        access = Access(lambda: incluster.read_identity(service_account, env), clock)
    else:
        files = str(kubeconfig) if kubeconfig is not None else _default(env, service_account)
        access = Access(_KubeconfigReader(files, context or "", runner or SystemRunner()), clock)
    await access.read()
    return access


def _check(identity: Identity) -> None:
    """Refuse what no request can carry; nothing of a secret gets into the message."""
    url = urlsplit(identity.server)
    if url.username is not None or url.password is not None:
        raise InputError(f"{url.hostname}: a user in the server's URL is not supported, a token is")
    authorization = identity.authorization
    if not (authorization.isascii() and authorization.isprintable()):
        raise InputError(f"{identity.server}: the token holds what no HTTP header can")


def _default(env: Mapping[str, str], service_account: Path) -> str:
    if env.get("KUBECONFIG"):
        return env["KUBECONFIG"]
    home = Path(env.get("HOME") or "/") / ".kube" / "config"
    if home.is_file():
        return str(home)
    raise InputError(
        f"no API server is named: there is neither a service account in {service_account} "
        f"nor a kubeconfig at {home}; name one with --kubeconfig or KUBECONFIG"
    )


class _KubeconfigReader:
    """Runs the process that reads kubeconfigs."""

    def __init__(self, files: str, context: str, runner: Runner) -> None:
        self._files = files
        self._context = context
        self._runner = runner

    def __call__(self) -> Identity:
        # -P keeps the working directory, which may be anybody's, off the search path.
        argv = [sys.executable, "-P", "-m", "podwall.agent.watch.kubeconfig", self._files]
        if self._context:
            argv += ["--context", self._context]
        try:
            completed = self._runner.run(argv, timeout=_CHILD_TIMEOUT)
        except KernelError as error:
            raise InputError(f"kubeconfig {self._files}: {error}") from error
        try:
            answer = msgspec.json.decode(completed.stdout, type=Identity | Refusal)
        except msgspec.MsgspecError as error:
            raise InputError(f"kubeconfig {self._files}: {_last_words(completed)}") from error
        if isinstance(answer, Refusal):
            raise InputError(answer.error)
        return answer


def _last_words(completed: Completed) -> str:
    lines = completed.stderr.strip().splitlines() or [""]
    words = printable(lines[-1]) or "it said nothing"
    return f"the process that reads it ended with status {completed.status}: {words}"


def _fingerprint(files: tuple[str, ...]) -> tuple[object, ...]:
    """What changes when a file is written, or another one is put in its place."""
    found: list[object] = []
    for each in files:
        try:
            status = os.stat(each)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(found)
