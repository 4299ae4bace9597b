"""The service account of the pod that we run in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from podwall.agent.watch.identity import Identity
from podwall.errors import InputError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where kubelet mounts it."""

_HOST, _PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"


def is_there(directory: Path) -> bool:
    """Whether there is a service account."""
    return (directory / "token").exists()


def read_identity(directory: Path, env: Mapping[str, str]) -> Identity:
    """Read it, and from the environment where the server is.

    Raises:
        InputError: a file or a variable is not there, or empty.
    """
    host, port = env.get(_HOST, ""), env.get(_PORT, "")
    for name, value in ((_HOST, host), (_PORT, port)):
        if not value:
            raise InputError(
                f"{directory} holds a service account, but {name} is not set: "
                "kubelet sets it in every pod"
            )
    address = f"[{host}]" if ":" in host else host
    return Identity(
        server=f"https://{address}:{port}",
        authority=_text(directory / "ca.crt", errors="ignore"),
        authorization=f"Bearer {_text(directory / 'token').strip()}",
        files=(str(directory / "token"), str(directory / "ca.crt")),
    )


def _text(path: Path, errors: str = "strict") -> str:
    try:
        found = path.read_text(encoding="ascii", errors=errors)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"{path}: {reason}") from error
    if not found.strip():
        raise InputError(f"{path}: it is empty")
    return found
