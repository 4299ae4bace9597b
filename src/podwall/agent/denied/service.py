"""Denied packets as the rest of the agent sees them: a thread to start, and answers."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from podwall.agent.control.answers import AuditedPolicy, AuditReport, DropPairs, DropsHead
from podwall.agent.control.server import LONGEST, Stream
from podwall.agent.control.words import AskDrops
from podwall.agent.denied.asking import Audited
from podwall.agent.denied.record import Record
from podwall.agent.denied.telling import News, tell
from podwall.agent.status import DeniedStatus
from podwall.model.policy import PolicyKey


class Denials:
    """Answers questions on denied packets.

    Args:
        node: the name of this node.
        record: what is kept.
        news: tells that there is more.
        status: how the log is read.
    """

    def __init__(
        self, node: str, record: Record, news: News, status: Callable[[], DeniedStatus]
    ) -> None:
        self._node = node
        self._record = record
        self._news = news
        self._status = status

    def drops(self, asked: AskDrops) -> Stream:
        """Denials one by one."""
        ring = self._record.ring
        head = DropsHead(self._node, self._status(), len(ring), ring.start)
        return Stream(head, tell(ring, self._news, asked), None if asked.follow else LONGEST)

    def pairs(self) -> DropPairs:
        """How often what was denied."""
        pairs, forgotten = self._record.pairs()
        return DropPairs(self._node, self._status(), pairs, forgotten)

    def audit(self, known: Audited) -> AuditReport:
        """What audited policies would have denied, as they are now."""
        self._record.follow(known.policies)
        since, policies, forgotten = self._record.audited()
        keys = {str(key): key for key in known.policies}
        told = tuple(_with(each, keys[each.policy], known) for each in policies)
        return AuditReport(self._node, since, self._status(), told, forgotten)


def _with(told: AuditedPolicy, key: PolicyKey, known: Audited) -> AuditedPolicy:
    pods = tuple(map(str, known.pods.get(key, ())))
    return msgspec.structs.replace(told, pods=pods, packets=known.packets.get(key))
