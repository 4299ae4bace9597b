"""Checks of a policy's mode: whether it is enforced, or only told of what it would deny (S51)."""

from __future__ import annotations

from collections.abc import Iterator

from podwall.check.finding import Check, Note, Severity
from podwall.check.input import is_about_annotations, split_problem
from podwall.check.world import World
from podwall.model.policy import MODE_ANNOTATION, Policy

_PATH = "metadata.annotations"


def audited(policy: Policy, world: World) -> Iterator[Note]:  # noqa: ARG001
    """The policy is in audit mode."""
    if policy.is_audited:
        yield Note(
            _PATH,
            f"{MODE_ANNOTATION} is audit: the policy isolates nothing and allows nothing yet, and "
            "what it would deny is told.",
        )


def unknown_mode(policy: Policy, world: World) -> Iterator[Note]:  # noqa: ARG001
    """The annotation says something else than a mode."""
    for problem in policy.problems:
        path, message = split_problem(problem)
        if is_about_annotations(path):
            yield Note(path, f"{message}.")


MODE_CHECKS = (
    Check(
        code="audited",
        clause="S51",
        severity=Severity.INFO,
        explains="A policy in audit mode is not enforced: it is only told what it would deny.",
        run=audited,
        needs_pods=False,
    ),
    Check(
        code="unknown-mode",
        clause="S51",
        severity=Severity.WARNING,
        explains="A mode that is neither enforce nor audit is none, so the policy is enforced.",
        run=unknown_mode,
        needs_pods=False,
    ),
)
