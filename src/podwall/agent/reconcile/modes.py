"""Rules of ours that are in force in the other iptables mode too, and how they leave.

A node changes its mode when its distribution does. Packets then meet our old rules as well as the
new, so neither may be less than right before the other goes: first the old rules are brought up to
date where they are, sets and all, in an order that is safe for them; then the new ones come, to the
same sets; then the old ones go.
"""

from __future__ import annotations

import logging

from podwall.dataplane.apply import ApplyReport, CompileWithout, apply, enforce
from podwall.dataplane.kernel import KernelDataPlane
from podwall.errors import KernelError
from podwall.ruleset.diff import cleanup
from podwall.ruleset.ir import Ruleset
from podwall.ruleset.plan import ChainStep, Plan

log = logging.getLogger(__name__)


def settle(
    dataplane: KernelDataPlane, desired: Ruleset, compile_without: CompileWithout
) -> ApplyReport:
    """Enforce ``desired`` in the mode of ``dataplane`` and nothing of ours in the other one.

    Raises:
        KernelError: see :func:`~podwall.dataplane.apply.enforce`. What is wrong with the other mode
            alone is logged; its rules then stay in force until somebody calls again.
    """
    if not dataplane.strays:
        return enforce(dataplane, desired, compile_without)
    other = _in_other_mode(dataplane)
    if other is not None:
        try:
            enforce(other, desired, compile_without)
        except KernelError as error:
            log.warning("rules in iptables' %s mode stay as they are: %s", other.mode.value, error)
    report = enforce(dataplane, desired, compile_without)
    if other is not None:
        _remove_rules(other)
    return report


def _in_other_mode(dataplane: KernelDataPlane) -> KernelDataPlane | None:
    try:
        return dataplane.in_other_mode()
    except KernelError as error:
        log.warning("rules in the other iptables mode cannot be changed: %s", error)
        return None


def _remove_rules(other: KernelDataPlane) -> None:
    """Take our rules out of a mode; the sets stay, for the rules of the other one."""
    try:
        observed = other.observe()
        steps = tuple(step for step in cleanup(observed).steps if isinstance(step, ChainStep))
        report = apply(other, Plan(steps), observed)
    except KernelError as error:
        log.warning("rules in iptables' %s mode could not be removed: %s", other.mode.value, error)
    else:
        log.info("removed %d rules from %s mode", report.rules_removed, other.mode.value)
