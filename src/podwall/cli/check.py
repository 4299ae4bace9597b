"""``podwall check``: mistakes and traps in policies, with an exit status for CI."""

from __future__ import annotations

import argparse

from podwall.check.finding import Finding, Severity
from podwall.check.registry import CHECKS, check, skipped_checks
from podwall.check.render import checks_table, findings_table, to_dict
from podwall.cli import options, source
from podwall.cli.output import Status, out, print_json, print_note
from podwall.errors import InputError
from podwall.manifest import Diagnostic
from podwall.manifest import Severity as InputSeverity
from podwall.model.policy import PolicyKey

_POLICY_KIND = "NetworkPolicy"


def add_check(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall check``."""
    source.add_source(parser)
    parser.add_argument("--list", action="store_true", help="list what is looked for, and stop")
    parser.add_argument(
        "--fail-on",
        choices=[*(each.value for each in Severity), "never"],
        default=Severity.WARNING.value,
        help="exit with status 1 for findings this bad or worse (%(default)s)",
    )
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="CODE",
        help="leave out findings of this check; can be given again",
    )
    options.add_output(parser, "table", "json")


def run(args: argparse.Namespace) -> Status:
    """Look for mistakes and traps in the policies of the manifests."""
    if args.list:
        if args.output == "json":
            print_json([_check_dict(each.code) for each in CHECKS])
        else:
            out().print(checks_table(CHECKS))
        return Status.OK
    known = {each.code for each in CHECKS}
    unknown = sorted(set(args.ignore) - known)
    if unknown:
        raise InputError(f"--ignore {unknown[0]}: no such check; see podwall check --list")
    cluster = source.cluster_of(args)
    findings = tuple(
        each
        for each in check(cluster.snapshot, remarks(cluster.diagnostics))
        if each.code not in args.ignore
    )
    for each in skipped_checks(cluster.snapshot)[:1]:
        print_note(f"there are no pods: checks that need some were skipped, such as {each.code}")
    if args.output == "json":
        print_json([to_dict(each) for each in findings])
    elif findings:
        out().print(findings_table(findings))
    else:
        out().print(f"nothing found in {len(cluster.snapshot.policies)} policies")
    return options.input_status(cluster, _status(args.fail_on, findings))


def remarks(diagnostics: tuple[Diagnostic, ...]) -> dict[PolicyKey, list[str]]:
    """The decoder's warnings by policy, as the checks want them."""
    remarks: dict[PolicyKey, list[str]] = {}
    for each in diagnostics:
        if each.kind == _POLICY_KIND and each.severity is InputSeverity.WARNING:
            namespace, _, name = each.name.partition("/")
            remarks.setdefault(PolicyKey(namespace, name), []).append(
                f"{each.path}: {each.message}"
            )
    return remarks


def _status(fail_on: str, findings: tuple[Finding, ...]) -> Status:
    if fail_on == "never":
        return Status.OK
    threshold = Severity(fail_on).rank
    bad = any(each.severity.rank <= threshold for each in findings)
    return Status.DIFFERENT if bad else Status.OK


def _check_dict(code: str) -> dict[str, str]:
    each = next(known for known in CHECKS if known.code == code)
    return {
        "code": each.code,
        "clause": each.clause,
        "severity": each.severity.value,
        "explains": each.explains,
    }
