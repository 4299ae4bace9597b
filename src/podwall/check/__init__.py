"""The linter: mistakes and traps in policies, each with the clause that it rests on."""

from __future__ import annotations

from podwall.check.finding import Check, Finding, Severity, worst
from podwall.check.registry import CHECKS, check, skipped_checks
from podwall.check.render import checks_table, finding_line, findings_table, to_dict

__all__ = [
    "CHECKS",
    "Check",
    "Finding",
    "Severity",
    "check",
    "checks_table",
    "finding_line",
    "findings_table",
    "skipped_checks",
    "to_dict",
    "worst",
]
