"""How the tests of checks run one check over a small cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from podwall.check.finding import Finding
from podwall.check.registry import CHECKS, check
from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.model.objects import Namespace, Node, Pod
from podwall.model.policy import Policy, PolicyKey
from tests.builders import namespace

BY_CODE = {each.code: each for each in CHECKS}


def cluster(
    *things: Pod | Policy | Namespace | Node, namespaces: Iterable[str] = ("dev", "prod")
) -> Snapshot:
    """A snapshot of ``things``; the plain ``namespaces`` exist unless one of ``things`` is one."""
    declared = {each.name: each for each in things if isinstance(each, Namespace)}
    return build_snapshot(
        pods=[each for each in things if isinstance(each, Pod)],
        policies=[each for each in things if isinstance(each, Policy)],
        nodes=[each for each in things if isinstance(each, Node)],
        namespaces={**{name: namespace(name) for name in namespaces}, **declared}.values(),
    )


def found(
    code: str, snapshot: Snapshot, remarks: Mapping[PolicyKey, Sequence[str]] | None = None
) -> list[tuple[str, str]]:
    """Paths and messages of what one check finds, and that it finds it under its own name."""
    findings = run(code, snapshot, remarks)
    return [(each.path, each.message) for each in findings]


def run(
    code: str, snapshot: Snapshot, remarks: Mapping[PolicyKey, Sequence[str]] | None = None
) -> tuple[Finding, ...]:
    findings = check(snapshot, remarks, (BY_CODE[code],))
    for each in findings:
        assert (each.code, each.clause) == (code, BY_CODE[code].clause)
    return findings


def paths(code: str, snapshot: Snapshot) -> list[str]:
    return [path for path, _ in found(code, snapshot)]


def codes(snapshot: Snapshot) -> set[str]:
    """Everything that all checks together have to say."""
    return {each.code for each in check(snapshot)}
