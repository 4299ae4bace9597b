"""Findings and checks for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from podwall.check.finding import Check, Finding, Severity

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


def finding_line(finding: Finding) -> str:
    """``warning: dev/web spec.ingress[0].from[1]: what and why [S12 peer-matches-no-pod]``."""
    where = f"{finding.policy} {finding.path}".rstrip()
    tag = f"[{finding.clause} {finding.code}]"
    return f"{finding.severity.value}: {where}: {finding.message} {tag}"


def findings_table(findings: Iterable[Finding]) -> Table:
    """A table with a row for each finding, in the order given; names of policies only once."""
    table = Table(box=None, pad_edge=False, show_lines=False)
    for name in ("policy", "", "path", "finding", "clause"):
        table.add_column(name, overflow="fold", no_wrap=name in ("", "clause"))
    previous = None
    for each in findings:
        table.add_row(
            Text(str(each.policy) if each.policy != previous else ""),
            Text(each.severity.value, style=_STYLES[each.severity]),
            Text(each.path),
            Text.assemble(each.message, (f" [{each.code}]", "dim")),
            Text(each.clause),
        )
        previous = each.policy
    return table


def checks_table(checks: Iterable[Check]) -> Table:
    """A table of what is looked for, for ``podwall check --list``."""
    table = Table(box=None, pad_edge=False)
    for name in ("check", "clause", "severity", "what and why"):
        table.add_column(name, overflow="fold", no_wrap=name != "what and why")
    for each in checks:
        table.add_row(
            Text(each.code),
            Text(each.clause),
            Text(each.severity.value, style=_STYLES[each.severity]),
            Text(each.explains),
        )
    return table


def to_dict(finding: Finding) -> dict[str, str]:
    """The fields of a finding under their names, for JSON."""
    return {
        "severity": finding.severity.value,
        "code": finding.code,
        "clause": finding.clause,
        "namespace": finding.policy.namespace,
        "policy": finding.policy.name,
        "path": finding.path,
        "message": finding.message,
    }
