"""Checks of what a policy selects."""

from __future__ import annotations

from collections.abc import Iterator

from podwall.check.finding import Check, Note, Severity
from podwall.check.places import count, hint, names_of, rules
from podwall.check.world import World
from podwall.model.policy import AnyPeer, AnyPort, Direction, Policy
from podwall.model.selector import EVERYTHING

_SUBJECT = "spec.podSelector"


def selects_no_pod(policy: Policy, world: World) -> Iterator[Note]:
    """The namespace has pods, but the policy selects none of them."""
    namespace = policy.key.namespace
    if world.subjects(policy) or not world.pods.in_namespace(namespace):
        return
    if world.host_pods.find(policy.subject, frozenset((namespace,))):
        return  # only_host_network says more
    why = hint(policy.subject, world.pods.words(namespace), "pod there")
    yield Note(
        _SUBJECT,
        f"no pod in namespace {namespace} has {policy.subject}, "
        f"so the policy protects nothing.{why}",
    )


def namespace_without_pods(policy: Policy, world: World) -> Iterator[Note]:
    """The policy's namespace has no pods at all."""
    namespace = policy.key.namespace
    if world.pods.in_namespace(namespace) or world.host_pods.in_namespace(namespace):
        return
    yield Note(
        "metadata.namespace",
        f"namespace {namespace} has no pods, so the policy does nothing there now.",
    )


def host_network_subject(policy: Policy, world: World) -> Iterator[Note]:
    """The policy selects pods that use their node's network, where it has no effect."""
    on_host = world.host_pods.find(policy.subject, frozenset((policy.key.namespace,)))
    if not on_host:
        return
    if world.subjects(policy):
        yield Note(
            _SUBJECT,
            f"{count(len(on_host), 'pod')} of those selected ({names_of(on_host)}) use "
            "hostNetwork and stay open: their traffic is their node's.",
            Severity.INFO,
        )
    else:
        yield Note(
            _SUBJECT,
            f"all pods that it selects ({names_of(on_host)}) use hostNetwork, so the policy "
            "has no effect: their traffic is their node's.",
        )


def allows_everything(policy: Policy, world: World) -> Iterator[Note]:  # noqa: ARG001
    """Every pod of the namespace is selected and a rule allows everything to all of them."""
    if policy.subject != EVERYTHING:
        return
    for rule in rules(policy):
        if AnyPeer() in rule.peers and AnyPort() in rule.ports:
            direction = rule.id.direction
            to = "reach every pod" if direction is Direction.INGRESS else "be reached by every pod"
            yield Note(
                f"spec.{direction.value}[{rule.id.index}]",
                f"this rule lets everything {to} of the namespace, and no other policy can take "
                "that back: policies only add up. Is that meant?",
            )


SUBJECT_CHECKS = (
    Check(
        code="selects-no-pod",
        clause="S1",
        severity=Severity.WARNING,
        explains="A policy isolates the pods that its podSelector matches; this one matches none.",
        run=selects_no_pod,
    ),
    Check(
        code="namespace-without-pods",
        clause="S1",
        severity=Severity.INFO,
        explains="A policy selects pods of its own namespace only, and there are none.",
        run=namespace_without_pods,
    ),
    Check(
        code="host-network-subject",
        clause="S23",
        severity=Severity.WARNING,
        explains="Pods with hostNetwork are never isolated, whatever selects them.",
        run=host_network_subject,
    ),
    Check(
        code="allows-everything",
        clause="S5",
        severity=Severity.INFO,
        explains="An empty podSelector with the rule {} opens a direction for a whole namespace.",
        run=allows_everything,
        needs_pods=False,
    ),
)
