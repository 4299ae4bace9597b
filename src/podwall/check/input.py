"""What the decoder had to say about a policy, as findings, so that no mistake is lost."""

from __future__ import annotations

from collections.abc import Iterator

from podwall.check.finding import Check, Note, Severity
from podwall.check.world import World
from podwall.model.policy import Direction, Policy


def invalid(policy: Policy, world: World) -> Iterator[Note]:  # noqa: ARG001
    """A part of the policy could not be understood."""
    for problem in policy.problems:
        path, message = split_problem(problem)
        if is_about_annotations(path):
            continue  # unknown_mode says what follows from it
        yield Note(path, f"{message}. The policy isolates all the same, this part allows nothing.")


def section_ignored(policy: Policy, world: World) -> Iterator[Note]:
    """There are rules for a direction that ``policyTypes`` does not list."""
    for remark in world.remarks.get(policy.key, ()):
        path, message = split_problem(remark)
        if _is_ignored_section(policy, path):
            yield Note(path, f"{message}.")


def doubtful_field(policy: Policy, world: World) -> Iterator[Note]:
    """The decoder read something in a way that may not be meant."""
    for remark in world.remarks.get(policy.key, ()):
        path, message = split_problem(remark)
        if not _is_ignored_section(policy, path):
            yield Note(path, f"{message}{'' if message.endswith('?') else '.'}")


def is_about_annotations(path: str) -> bool:
    """Whether a path is one of the annotations, or what holds them."""
    return path.startswith("metadata.annotations")


def split_problem(problem: str) -> tuple[str, str]:
    """Path and sentence of a decoder's message; the path is empty where there is none."""
    path, colon, message = problem.partition(": ")
    if not colon or " " in path:
        return "", problem
    return path, message


def _is_ignored_section(policy: Policy, path: str) -> bool:
    return any(path == f"spec.{each.value}" and each not in policy.isolates for each in Direction)


INPUT_CHECKS = (
    Check(
        code="invalid",
        clause="S10",
        severity=Severity.ERROR,
        explains="A policy that cannot be understood in full isolates, and its rest allows.",
        run=invalid,
        needs_pods=False,
    ),
    Check(
        code="section-ignored",
        clause="S7",
        severity=Severity.WARNING,
        explains="Rules of a direction that policyTypes does not list are ignored.",
        run=section_ignored,
        needs_pods=False,
    ),
    Check(
        code="doubtful-field",
        clause="S9",
        severity=Severity.WARNING,
        explains="A field is unknown, missing or written unusually, and was read as the API does.",
        run=doubtful_field,
        needs_pods=False,
    ),
)
