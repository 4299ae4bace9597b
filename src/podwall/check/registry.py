"""All checks, and the one function that runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from podwall.check.blocks import BLOCK_CHECKS
from podwall.check.dns import DNS_CHECKS
from podwall.check.finding import Check, Finding
from podwall.check.input import INPUT_CHECKS
from podwall.check.modes import MODE_CHECKS
from podwall.check.overlaps import OVERLAP_CHECKS
from podwall.check.peers import PEER_CHECKS
from podwall.check.ports import PORT_CHECKS
from podwall.check.subjects import SUBJECT_CHECKS
from podwall.check.world import World
from podwall.cluster.snapshot import Snapshot
from podwall.model.policy import PolicyKey

CHECKS: tuple[Check, ...] = (
    *INPUT_CHECKS,
    *SUBJECT_CHECKS,
    *PEER_CHECKS,
    *PORT_CHECKS,
    *BLOCK_CHECKS,
    *OVERLAP_CHECKS,
    *DNS_CHECKS,
    *MODE_CHECKS,
)
"""Every check, in the order in which they are listed to users."""


def check(
    snapshot: Snapshot,
    remarks: Mapping[PolicyKey, Sequence[str]] | None = None,
    checks: Sequence[Check] = CHECKS,
) -> tuple[Finding, ...]:
    """Look for mistakes and traps in all policies of ``snapshot``.

    ``remarks`` are the decoder's warnings by policy, each as ``path: sentence`` like those in
    ``Policy.problems``; without them rules in a section that ``policyTypes`` leaves out go
    unnoticed (S7), since the decoder drops them. In a snapshot without pods only the checks run
    that need none: see :func:`skipped_checks`.

    Returns the findings sorted by policy and path.
    """
    world = World(snapshot, remarks)
    skipped = set(map(id, skipped_checks(snapshot, checks)))
    running = [each for each in checks if id(each) not in skipped]
    findings = (
        finding
        for policy in snapshot.policies.values()
        for each in running
        for finding in each.findings(policy, world)
    )
    return tuple(sorted(findings, key=lambda finding: finding.sort_key))


def skipped_checks(snapshot: Snapshot, checks: Sequence[Check] = CHECKS) -> tuple[Check, ...]:
    """The checks that can say nothing about ``snapshot``, since it has no pods."""
    return () if snapshot.pods else tuple(each for each in checks if each.needs_pods)
