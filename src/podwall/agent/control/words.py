"""What is said over the control socket: one line of JSON asks, one answers.

A line that asks is one of :data:`Request`. A line that answers is an :class:`Answer`: a result, or
what is wrong and whose fault it is. Where the result is only the beginning, as with
:class:`AskCluster`, lines with the rest follow it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import msgspec

SOCKET_NAME = "agent.sock"

MAX_REQUEST = 64 * 1024
"""Bytes; a longer request is refused."""

MAX_ANSWER = 256 * 1024 * 1024
"""Bytes of one line; who asks stops reading there."""


def socket_path(state_dir: str) -> Path:
    """Where the socket of an agent is."""
    return Path(state_dir) / SOCKET_NAME


class AskStatus(msgspec.Struct, frozen=True, tag="status", tag_field="ask"):
    """How are you? The result is an :class:`~podwall.agent.status.AgentStatus`."""


class AskDiff(msgspec.Struct, frozen=True, tag="diff", tag_field="ask"):
    """How does the kernel differ from what it shall hold: :mod:`podwall.agent.control.asking`."""


class AskExplain(msgspec.Struct, frozen=True, tag="explain", tag_field="ask"):
    """What becomes of a connection, and why? The result is a list, one entry for each family."""

    source: str
    target: str
    service: str = "80/tcp"


class AskCluster(msgspec.Struct, frozen=True, tag="cluster", tag_field="ask"):
    """Tell the cluster as you know it.

    The result is a :class:`~podwall.agent.control.answers.ClusterHead`; the objects follow it, one
    line for each of their :class:`~podwall.cluster.wire.Parts`. With the ``known`` of an earlier
    head there are none of them if nothing has changed since.
    """

    known: str = ""


class AskDrops(msgspec.Struct, frozen=True, tag="drops", tag_field="ask"):
    """Tell denied packets.

    The result is a :class:`~podwall.agent.control.answers.DropsHead`; lines follow it, each a
    :class:`~podwall.agent.control.answers.DropLine`: first what is kept of the past, from ``since``
    on, in seconds since the epoch (``None`` is all of it, or none of it with ``follow``), then with
    ``follow`` what happens.
    """

    follow: bool = False
    since: float | None = None


class AskPairs(msgspec.Struct, frozen=True, tag="pairs", tag_field="ask"):
    """How often were which packets denied? A :class:`~podwall.agent.control.answers.DropPairs`."""


class AskAudit(msgspec.Struct, frozen=True, tag="audit", tag_field="ask"):
    """What would audited policies deny? A :class:`~podwall.agent.control.answers.AuditReport`."""


Request: TypeAlias = AskStatus | AskDiff | AskExplain | AskCluster | AskDrops | AskPairs | AskAudit


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """``result``, or an ``error`` that is the asker's mistake (``input``) or not."""

    result: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    input: bool = False
