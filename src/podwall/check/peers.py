"""Checks of selector peers that mean nobody.

A peer that matches no pod has one cause, and the causes are told apart here once: which half of it
matches nothing, and whether what was probably meant exists. Each cause is a check of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from podwall.check.finding import Check, Note, Severity
from podwall.check.places import count, hint, list_of, names_of, placed_peers
from podwall.check.world import World
from podwall.model.objects import NAME_LABEL
from podwall.model.policy import PodPeer, Policy
from podwall.model.selector import Operator, Selector

_NO_NAMESPACE = "peer-matches-no-namespace"
_NAME_LABEL = "namespace-name-label"
_NO_POD = "peer-matches-no-pod"
_OTHER_NAMESPACE = "peer-in-other-namespace"
_HOST_NETWORK = "host-network-peer"


class _Cause(NamedTuple):
    code: str
    field: str
    message: str


def _checker(code: str) -> Callable[[Policy, World], Iterator[Note]]:
    def run(policy: Policy, world: World) -> Iterator[Note]:
        for path, _, peer in placed_peers(policy):
            if isinstance(peer, PodPeer) and not world.members(peer):
                cause = world.remember(find_cause, peer)
                if cause.code == code:
                    yield Note(f"{path}{cause.field}", cause.message)

    return run


def find_cause(peer: PodPeer, world: World) -> _Cause:
    """Why ``peer``, which means no pod, does so."""
    namespaces = world.namespaces_of(peer)
    if not namespaces and isinstance(peer.namespaces, Selector):
        return _no_namespace(peer.namespaces, world)
    on_host = world.host_pods.find(peer.pods, namespaces)
    if on_host:
        message = (
            f"it matches only pods with hostNetwork ({names_of(on_host)}), which no selector "
            "allows: their traffic has their node's address, so an ipBlock has to name that."
        )
        return _Cause(_HOST_NETWORK, "", message)
    elsewhere: tuple[str, ...] = ()
    if peer.pods.requirements:
        elsewhere = tuple(
            each for each in world.remember(_places, peer.pods) if each not in namespaces
        )
    if isinstance(peer.namespaces, str):
        return _in_own_namespace(peer, peer.namespaces, elsewhere, world)
    return _in_namespaces(peer, namespaces, elsewhere, world)


def _places(wanted: Selector, world: World) -> tuple[str, ...]:
    """The namespaces with pods that ``wanted`` matches, sorted."""
    found = world.pods.find_anywhere(wanted)
    return tuple(dict.fromkeys(each.key.namespace for each in found))


def _no_namespace(wanted: Selector, world: World) -> _Cause:
    for each in wanted.requirements:
        named = [value for value in each.values if world.namespace_named(value)]
        if each.operator is Operator.IN and each.key != NAME_LABEL and named:
            message = (
                f"no namespace has {wanted}, but there is one named {named[0]}: the label that "
                f"carries the name is {NAME_LABEL}."
            )
            return _Cause(_NAME_LABEL, ".namespaceSelector", message)
    why = hint(wanted, world.namespace_words, "namespace")
    message = f"no namespace has {wanted}, so it allows nobody.{why}"
    return _Cause(_NO_NAMESPACE, ".namespaceSelector", message)


def _in_own_namespace(
    peer: PodPeer, namespace: str, elsewhere: tuple[str, ...], world: World
) -> _Cause:
    field = ".podSelector"
    if elsewhere:
        places = "namespace" if len(elsewhere) == 1 else "namespaces"
        message = (
            f"no pod in {namespace}, the policy's own namespace, has {peer.pods}, but there are "
            f"some in {places} {list_of(elsewhere)}: a podSelector alone never looks there, "
            "add a namespaceSelector to the same item."
        )
        return _Cause(_OTHER_NAMESPACE, field, message)
    if not peer.pods.requirements:
        message = f"namespace {namespace} has no pods, so it allows nobody."
        return _Cause(_NO_POD, field, message)
    why = hint(peer.pods, world.pods.words(namespace), "pod there")
    message = f"no pod in namespace {namespace} has {peer.pods}, so it allows nobody.{why}"
    return _Cause(_NO_POD, field, message)


def _in_namespaces(
    peer: PodPeer, namespaces: frozenset[str], elsewhere: tuple[str, ...], world: World
) -> _Cause:
    found = (
        f"{count(len(namespaces), 'namespace')} ({list_of(sorted(namespaces))}) "
        f"{'matches' if len(namespaces) == 1 else 'match'} {peer.namespaces}, but"
    )
    if not peer.pods.requirements:
        return _Cause(_NO_POD, ".namespaceSelector", f"{found} without pods: it allows nobody.")
    if elsewhere:
        why = (
            f" There are some in {list_of(elsewhere)}; both selectors of one item must match the "
            "same pod, for either of them write two items."
        )
    else:
        why = hint(peer.pods, world.pods.words(), "pod anywhere")
    message = f"{found} no pod there has {peer.pods}, so it allows nobody.{why}"
    return _Cause(_NO_POD, ".podSelector", message)


PEER_CHECKS = (
    Check(
        code=_NO_NAMESPACE,
        clause="S12",
        severity=Severity.WARNING,
        explains="A namespaceSelector that matches no namespace allows nobody.",
        run=_checker(_NO_NAMESPACE),
    ),
    Check(
        code=_NAME_LABEL,
        clause="S18",
        severity=Severity.WARNING,
        explains="A namespace's name is no label of any key but kubernetes.io/metadata.name.",
        run=_checker(_NAME_LABEL),
    ),
    Check(
        code=_NO_POD,
        clause="S12",
        severity=Severity.WARNING,
        explains="A peer that matches no pod allows nobody, and the isolation stands.",
        run=_checker(_NO_POD),
    ),
    Check(
        code=_OTHER_NAMESPACE,
        clause="S13",
        severity=Severity.WARNING,
        explains="A podSelector alone means pods of the policy's own namespace; the pods that "
        "match are in others.",
        run=_checker(_OTHER_NAMESPACE),
    ),
    Check(
        code=_HOST_NETWORK,
        clause="S23",
        severity=Severity.WARNING,
        explains="Pods with hostNetwork never match a selector peer.",
        run=_checker(_HOST_NETWORK),
    ),
)
