"""What is kept of the denials that were named, for everybody who asks.

One thread adds, any thread reads. Nothing here grows without bounds, whatever users and their
packets do: the last denials, the pairs that were denied, and the ledger of audited policies.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import msgspec

from podwall.agent.control.answers import AuditedFlow, AuditedPolicy, DropPair
from podwall.agent.denied.auditing import AuditedKey, AuditLedger
from podwall.agent.denied.ring import Ring
from podwall.agent.denied.tally import Tally
from podwall.model.policy import Direction, Policy, PolicyKey
from podwall.ruleset.ir import LogKind

MOST_PAIRS = 5000
"""So many pairs are counted."""


class Named(msgspec.Struct, frozen=True):
    """A denial, as far as it is kept.

    ``line`` is all of it, as JSON, and ``text`` the same as people read it, without the time; the
    rest is what things are counted by. ``namespace`` is that of the pod whose policies decided,
    empty if it is none that is known; ``policies`` are those that isolate it, audited ones if
    ``kind`` says so. What is ``stale`` would be allowed by now.
    """

    kind: LogKind
    when: float
    source: str
    target: str
    service: str
    direction: Direction
    namespace: str
    policies: tuple[PolicyKey, ...]
    line: bytes
    text: str
    stale: bool = False


class PairKey(msgspec.Struct, frozen=True, gc=False):
    """What one count is about."""

    kind: str
    source: str
    target: str
    service: str
    direction: str


class Record:
    """Keeps denials.

    Args:
        ledger: keeps what audited policies would have denied.
        ring: keeps the last ones.

    Attributes:
        ring: may be read by anybody.
    """

    def __init__(self, ledger: AuditLedger, ring: Ring | None = None) -> None:
        self.ring = Ring() if ring is None else ring
        self._ledger = ledger
        self._pairs: Tally[PairKey] = Tally(MOST_PAIRS)
        self._counts = dict.fromkeys(LogKind, 0)
        self._lock = threading.Lock()

    def load(self) -> None:
        """Go on from what an agent before this one kept."""
        with self._lock:
            self._ledger.load()

    def add(self, denials: Sequence[Named]) -> None:
        """Keep what was denied."""
        with self._lock:
            for each in denials:
                self._counts[each.kind] += 1
                what = (each.source, each.target, each.service, each.direction.value)
                self._pairs.add(PairKey(each.kind.value, *what), each.when)
                if each.kind is LogKind.AUDIT and not each.stale:
                    policies = tuple(map(str, each.policies))
                    self._ledger.add(AuditedKey(policies, *what), each.when)
        self.ring.add([each.line for each in denials])

    def follow(self, audited: Mapping[PolicyKey, Policy]) -> None:
        """These are the audited policies of the cluster now."""
        with self._lock:
            self._ledger.follow(audited)

    def knows(self, denials: Sequence[Named]) -> bool:
        """Whether all the audited policies that they name were told before."""
        audited = (each for each in denials if each.kind is LogKind.AUDIT)
        return all(str(key) in self._ledger.policies for each in audited for key in each.policies)

    @property
    def audits(self) -> bool:
        """Whether there were audited policies when they were last told."""
        return bool(self._ledger.policies)

    def save(self) -> None:
        """Keep for the next agent what is worth it."""
        with self._lock:
            self._ledger.save()

    def count(self, kind: LogKind) -> int:
        """How many there were of a kind."""
        return self._counts[kind]

    def pairs(self) -> tuple[tuple[DropPair, ...], int]:
        """How often each pair was denied, and the sum of those that are not kept any more."""
        with self._lock:
            pairs = tuple(
                DropPair(
                    *(key.kind, key.source, key.target, key.service, key.direction),
                    *(each.count, each.first, each.last),
                )
                for key, each in self._pairs.items()
            )
            return pairs, self._pairs.forgotten

    def audited(self) -> tuple[float, tuple[AuditedPolicy, ...], int]:
        """Since when is counted, what each audited policy would have denied, and what is missing.

        Pods and counters of the kernel are for others to fill in.
        """
        with self._lock:
            flows: dict[str, list[AuditedFlow]] = {name: [] for name in self._ledger.policies}
            for key, each in self._ledger.flows.items():
                flow = AuditedFlow(
                    *(key.source, key.target, key.service, key.direction),
                    *(each.count, each.first, each.last, key.policies),
                )
                for name in key.policies:
                    if name in flows:
                        flows[name].append(flow)
            policies = tuple(
                AuditedPolicy(name, version.since, (), tuple(flows[name]))
                for name, version in sorted(self._ledger.policies.items())
            )
            return self._ledger.since, policies, self._ledger.flows.forgotten
