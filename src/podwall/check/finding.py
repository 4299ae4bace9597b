"""What a check is and what it finds.

A check is a pure function from a policy and the world around it to notes. A note says where and
what; the check it comes from adds the code, the clause and how bad it is, and makes it a finding.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from podwall.check.world import World
from podwall.model.policy import Policy, PolicyKey


class Severity(enum.Enum):
    """How bad a finding is.

    An error cannot work, a warning hardly does what was meant, an info is good to know.
    """

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """Orders severities, the worst first."""
        return tuple(Severity).index(self)


class Finding(msgspec.Struct, frozen=True, gc=False):
    """One mistake or trap in a policy.

    ``code`` names the check, ``clause`` the clause of the semantics that it rests on; ``path``
    leads to the field, as ``spec.ingress[0].from[1]``, and is empty where the policy is meant.
    """

    severity: Severity
    code: str
    policy: PolicyKey
    path: str
    message: str
    clause: str

    @property
    def sort_key(self) -> tuple[PolicyKey, str, int, str, str]:
        """Orders findings by policy and path, as a reader goes through a file."""
        return self.policy, _natural(self.path), self.severity.rank, self.code, self.message


class Note(NamedTuple):
    """What a check found; ``severity`` only where it differs from the check's own."""

    path: str
    message: str
    severity: Severity | None = None


class Check(msgspec.Struct, frozen=True):
    """One thing that podwall looks for.

    ``explains`` says in one sentence what and why. A check that ``needs_pods`` says nothing about a
    cluster without any: policies are often checked alone, and then no selector matches.
    """

    code: str
    clause: str
    severity: Severity
    explains: str
    run: Callable[[Policy, World], Iterable[Note]]
    needs_pods: bool = True

    def findings(self, policy: Policy, world: World) -> Iterable[Finding]:
        """What this check finds in ``policy``."""
        for note in self.run(policy, world):
            yield Finding(
                severity=note.severity or self.severity,
                code=self.code,
                policy=policy.key,
                path=note.path,
                message=note.message,
                clause=self.clause,
            )


def worst(findings: Iterable[Finding]) -> Severity | None:
    """The worst severity among ``findings``, for an exit status; ``None`` if there are none."""
    return min((each.severity for each in findings), key=lambda each: each.rank, default=None)


def _natural(path: str) -> str:
    """``path`` with its indexes padded, so that item 10 comes after item 9."""
    return re.sub(r"\d+", lambda number: number[0].zfill(6), path)
