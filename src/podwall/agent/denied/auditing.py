"""What audited policies would have denied, for as long as they are audited as they are.

A policy is watched for days before somebody enforces it, so the ledger is written to the state
directory now and then and read again by the next agent. What was counted for a policy is about that
text of it: one that was changed, enforced or deleted starts anew, since what it would have denied
before says nothing of what it would deny now. So do the others of which something was counted
together with it: that is lost, too.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from podwall.agent.denied.tally import Count, Tally
from podwall.agent.reconcile.words import plain
from podwall.model.policy import Policy, PolicyKey

log = logging.getLogger(__name__)

MOST = 2000
"""So many flows are kept, on disk and in memory."""

LARGEST = 16 * 1024 * 1024
"""Bytes; a larger file is none of ours."""

_FORMAT = 1


class AuditedKey(msgspec.Struct, frozen=True, gc=False):
    """A flow that the ``policies`` together would deny; names as a denial has them."""

    policies: tuple[str, ...]
    source: str
    target: str
    service: str
    direction: str


class Version(msgspec.Struct, frozen=True, gc=False):
    """A text of a policy: its digest, and since when it is audited."""

    digest: str
    since: float


class _Row(msgspec.Struct, frozen=True):
    key: AuditedKey
    count: int
    first: float
    last: float


class _File(msgspec.Struct, frozen=True):
    format: int
    since: float
    forgotten: int
    policies: dict[str, Version]
    flows: list[_Row]


class AuditLedger:
    """Counts what would have been denied; belongs to one thread.

    Args:
        path: the file; its directory belongs to the agent alone.
        wall: the time in seconds since the epoch.
        most: so many flows are kept.

    Attributes:
        since: when the ledger was begun, by this agent or one before it.
        flows: how often each flow would have been denied.
        policies: the audited policies, by name.
    """

    def __init__(self, path: Path, wall: Callable[[], float], most: int = MOST) -> None:
        self.since = wall()
        self.flows: Tally[AuditedKey] = Tally(most)
        self.policies: dict[str, Version] = {}
        self._path = path
        self._wall = wall
        self._seen: Mapping[PolicyKey, Policy] = {}
        self._changed = False
        self._failed = False

    def load(self) -> None:
        """Go on from what an agent before this one wrote; nothing if there is nothing of use."""
        try:
            with self._path.open("rb") as file:
                kept = msgspec.json.decode(file.read(LARGEST), type=_File)
            if kept.format != _FORMAT:
                raise ValueError(f"its format is {kept.format}, expected {_FORMAT}")
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as error:
            log.warning(
                "what audited policies would have denied is counted anew: %s cannot be read: %s",
                *(self._path, plain(str(error), 200)),
            )
            return
        self.since, self.policies = kept.since, kept.policies
        self.flows.forgotten = kept.forgotten
        for each in kept.flows:
            self.flows.put(each.key, Count(each.count, each.first, each.last))

    def follow(self, audited: Mapping[PolicyKey, Policy]) -> None:
        """These are the audited policies now; what was counted for others is forgotten."""
        fresh = {
            str(key): policy for key, policy in audited.items() if self._seen.get(key) is not policy
        }
        self._seen = audited
        stale = self.policies.keys() - set(map(str, audited))
        for name, policy in fresh.items():
            digest = _digest(policy)
            known = self.policies.get(name)
            if known is None or known.digest != digest:
                stale.add(name)
                self.policies[name] = Version(digest, self._wall())
                self._changed = True
        if not stale:
            return
        self._changed = True
        self._forget_about(stale)
        for name in stale - set(map(str, audited)):
            del self.policies[name]

    def _forget_about(self, stale: set[str]) -> None:
        """Forget what was counted for these, also of others that were judged together with them.

        What the others would deny alone was in it, so they are known for no longer than from now.
        """
        shared = {
            name
            for key, _ in self.flows.items()
            if not stale.isdisjoint(key.policies)
            for name in key.policies
        }
        self.flows.drop(lambda key: not stale.isdisjoint(key.policies))
        now = self._wall()
        for name in (shared - stale) & self.policies.keys():
            self.policies[name] = msgspec.structs.replace(self.policies[name], since=now)
        if self.policies.keys() <= stale:
            # Nothing is left of what the forgotten flows could have been about.
            self.flows.forgotten = 0

    def add(self, key: AuditedKey, when: float) -> None:
        """Count a flow that audited policies would have denied."""
        self.flows.add(key, when)
        self._changed = True

    def save(self) -> None:
        """Write the file if anything changed; a failure is logged once and tried again."""
        if not self._changed:
            return
        rows = [_Row(key, each.count, each.first, each.last) for key, each in self.flows.items()]
        kept = _File(_FORMAT, self.since, self.flows.forgotten, self.policies, rows)
        try:
            _write(self._path, msgspec.json.encode(kept))
        except OSError as error:
            if not self._failed:
                log.warning("%s cannot be written: %s", self._path, error.strerror)
            self._failed = True
            return
        self._changed = self._failed = False


def _digest(policy: Policy) -> str:
    return hashlib.blake2b(msgspec.msgpack.encode(policy), digest_size=16).hexdigest()


def _write(path: Path, data: bytes) -> None:
    """Replace the file as a whole: a reader finds the old one or the new, also after a crash."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
