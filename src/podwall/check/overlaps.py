"""Checks of rules and policies that others make superfluous.

Policies add up and order never matters (S3), so what another one allows to the same pods need not
be allowed twice. Only what holds in every cluster is reported: see :mod:`podwall.check.cover`.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from podwall.check.cover import implies, rule_covers
from podwall.check.finding import Check, Note, Severity
from podwall.check.places import rule_path, rules
from podwall.check.world import World
from podwall.model.policy import Direction, Policy, PolicyKey, PolicyRule, RuleId


def rule_swallowed(policy: Policy, world: World) -> Iterator[Note]:  # noqa: ARG001
    """Another rule of the same policy allows everything that this one allows."""
    for rule in rules(policy):
        rivals = policy.rules(rule.id.direction)
        rival = next((each for each in rivals if _swallows(each, rule)), None)
        if rival is not None:
            equal = rule_covers(rule, rival)
            yield Note(
                rule_path(rule),
                f"{'the same as' if equal else 'adds nothing to'} {rule_path(rival)}, which "
                f"allows {'it' if equal else 'all that it allows'} already.",
            )


def _swallows(wide: PolicyRule, narrow: PolicyRule) -> bool:
    # A rule without peers or ports could not be understood: that is another finding.
    if wide.id == narrow.id or not (narrow.peers and narrow.ports):
        return False
    if not rule_covers(wide, narrow):
        return False
    # Of two rules that allow the same, only the later is superfluous.
    return wide.id.index < narrow.id.index or not rule_covers(narrow, wide)


def duplicate_policy(policy: Policy, world: World) -> Iterator[Note]:
    """An earlier policy of the namespace has the same content."""
    content = _content(policy)
    for each in world.policies(policy.key.namespace):
        if each.key < policy.key and each.subject == policy.subject and _content(each) == content:
            yield Note("spec", f"the same as policy {each.key.name}; one of them is enough.")
            return


_NOBODY = PolicyKey("", "")


def _content(policy: Policy) -> Policy:
    """``policy`` without what tells it from another of the same content."""

    def nameless(direction: Direction) -> tuple[PolicyRule, ...]:
        return tuple(
            PolicyRule(RuleId(_NOBODY, direction, 0), each.peers, each.ports)
            for each in policy.rules(direction)
        )

    return msgspec.structs.replace(
        policy,
        key=_NOBODY,
        ingress=nameless(Direction.INGRESS),
        egress=nameless(Direction.EGRESS),
        problems=(),
    )


def policy_swallowed(policy: Policy, world: World) -> Iterator[Note]:
    """Another policy isolates the same pods or more, and allows all that this one allows."""
    # A policy without rules closes by default; that another one does so too is no accident.
    if not rules(policy) or any(not (each.peers and each.ports) for each in rules(policy)):
        return
    for each in world.policies_for_more(policy):
        if _swallows_policy(each, policy):
            pods = "the same pods" if each.subject == policy.subject else "these pods and others"
            yield Note(
                "spec",
                f"policy {each.key.name} selects {pods} and allows all that this one allows, so "
                "this one changes nothing.",
            )
            return


def _swallows_policy(wide: Policy, narrow: Policy) -> bool:
    # What is audited only adds nothing to what is enforced (S51).
    if wide.is_audited and not narrow.is_audited:
        return False
    if not (_covers(wide, narrow) and implies(narrow.subject, wide.subject)):
        return False
    if _covers(narrow, wide) and wide.subject == narrow.subject:
        # Two that say the same: the later is superfluous, unless it is an exact duplicate.
        return wide.key < narrow.key and _content(wide) != _content(narrow)
    return True


def _covers(wide: Policy, narrow: Policy) -> bool:
    return set(narrow.isolates) <= set(wide.isolates) and all(
        any(rule_covers(rival, rule) for rival in wide.rules(rule.id.direction))
        for rule in rules(narrow)
    )


OVERLAP_CHECKS = (
    Check(
        code="rule-swallowed",
        clause="S3",
        severity=Severity.WARNING,
        explains="Rules add up, so one that allows nothing beyond another is superfluous.",
        run=rule_swallowed,
        needs_pods=False,
    ),
    Check(
        code="duplicate-policy",
        clause="S3",
        severity=Severity.WARNING,
        explains="Two policies of a namespace with equal content act like one.",
        run=duplicate_policy,
        needs_pods=False,
    ),
    Check(
        code="policy-swallowed",
        clause="S3",
        severity=Severity.INFO,
        explains="Policies add up, so one whose pods another opens further changes nothing.",
        run=policy_swallowed,
        needs_pods=False,
    ),
)
