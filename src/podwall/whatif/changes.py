"""What is asked about: objects that come or replace others, policies that go, labels, modes.

A :class:`Change` is what a person says; :func:`apply_change` makes of a cluster the one that it
would be afterwards. Whatever the change does not name stays as it is: a changed Deployment gives
new labels and ports to the pods that run it, and leaves them their names, nodes and addresses.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

import msgspec

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.errors import InputError
from podwall.explain.ends import DEFAULT_NAMESPACE
from podwall.model.objects import NAME_LABEL, Namespace, Node, Pod, PodKey
from podwall.model.policy import Mode, Policy, PolicyKey
from podwall.whatif.running import overlaid_nodes, overlaid_pods

_LABEL = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
)
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")


class Overlay(msgspec.Struct, frozen=True):
    """Objects that are added, or replace those of the same name; pods need no node or address."""

    pods: tuple[Pod, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    policies: tuple[Policy, ...] = ()
    nodes: tuple[Node, ...] = ()


class Labelling(msgspec.Struct, frozen=True):
    """Labels to set, or to take away where the value is ``None``, on whatever ``who`` names.

    ``who`` is ``ns/pod``, ``ns/kind/name`` for all pods of a workload, or ``namespace/name``.
    """

    who: str
    labels: tuple[tuple[str, str | None], ...]


class Change(msgspec.Struct, frozen=True):
    """All that shall be different; policies are called ``ns/name``.

    Attributes:
        overlay: what is added or replaced.
        without: policies that are removed.
        labels: who is relabelled.
        enforce: audited policies that are enforced.
        audit: enforced policies that are only audited.
    """

    overlay: Overlay = Overlay()
    without: tuple[str, ...] = ()
    labels: tuple[Labelling, ...] = ()
    enforce: tuple[str, ...] = ()
    audit: tuple[str, ...] = ()


def parse_label(text: str) -> tuple[str, str | None]:
    """Read ``key=value``, or ``key-`` for a label to take away.

    Raises:
        InputError: it is neither, or no label may be written so.
    """
    key, is_set, value = text.partition("=")
    if not is_set:
        if not text.endswith("-"):
            raise InputError(f"{text!r} is no label, as in tier=web, or tier- to take it away")
        key = text[:-1]
    if not _LABEL.fullmatch(key):
        raise InputError(f"{text!r}: {key!r} cannot be the name of a label")
    if not is_set:
        return key, None
    if not _VALUE.fullmatch(value):
        raise InputError(f"{text!r}: {value!r} cannot be the value of a label")
    return key, value


def apply_change(before: Snapshot, change: Change) -> Snapshot:
    """The cluster after the change.

    Raises:
        InputError: something is named that is not there, or is so already.
    """
    policies = _without(dict(before.policies), change)
    policies |= {each.key: each for each in change.overlay.policies}
    modes = ((Mode.ENFORCE, change.enforce), (Mode.AUDIT, change.audit))
    for mode, names in modes:
        for name in names:
            key = find_policy(policies, name)
            policies[key] = _in_mode(policies[key], mode)
    namespaces = dict(before.namespaces)
    namespaces |= {each.name: each for each in change.overlay.namespaces}
    nodes = overlaid_nodes(before.nodes, change.overlay.nodes)
    pods, placed = overlaid_pods(before, change.overlay.pods, nodes)
    for pod in pods.values():
        # As an API server has it: no pod without its namespace (S18).
        name = pod.key.namespace
        if name not in namespaces and pod.key not in before.pods:
            namespaces[name] = Namespace(name, {NAME_LABEL: name})
    for each in change.labels:
        _relabel(pods, namespaces, each)
    return build_snapshot(pods.values(), namespaces.values(), policies.values(), placed.values())


def find_policy(policies: Mapping[PolicyKey, Policy], text: str) -> PolicyKey:
    """The policy that ``ns/name`` means; a bare name is looked for in ``default``, then anywhere.

    Raises:
        InputError: there is none, or several; the message names what comes near.
    """
    namespace, slash, name = text.partition("/")
    if slash:
        named = [each for each in (PolicyKey(namespace, name),) if each in policies]
    else:
        own = PolicyKey(DEFAULT_NAMESPACE, text)
        named = [own] if own in policies else [each for each in policies if each.name == text]
    if len(named) == 1:
        return named[0]
    if named:
        raise InputError(f"policy {text!r} is in several namespaces: {', '.join(map(str, named))}")
    raise InputError(f"there is no policy {text!r}{_near(text, map(str, policies))}")


def _without(policies: dict[PolicyKey, Policy], change: Change) -> dict[PolicyKey, Policy]:
    given = {each.key for each in change.overlay.policies}
    for name in change.without:
        key = find_policy(policies, name)
        if key in given:
            raise InputError(f"policy {key} is both taken away and given anew")
        del policies[key]
    return policies


def _in_mode(policy: Policy, mode: Mode) -> Policy:
    if policy.mode is mode:
        word = "enforced" if mode is Mode.ENFORCE else "audited"
        raise InputError(f"policy {policy.key} is {word} already")
    return msgspec.structs.replace(policy, mode=mode)


def _relabel(
    pods: dict[PodKey, Pod], namespaces: dict[str, Namespace], labelling: Labelling
) -> None:
    kind, _, name = labelling.who.partition("/")
    if kind == "namespace" and "/" not in name:
        namespace = namespaces.get(name)
        if namespace is None:
            raise InputError(f"there is no namespace {name!r}{_near(name, namespaces)}")
        if any(key == NAME_LABEL for key, _ in labelling.labels):
            raise InputError(f"the label {NAME_LABEL} of a namespace cannot be changed (S18)")
        labels = _labelled(namespace.labels, labelling)
        namespaces[name] = msgspec.structs.replace(namespace, labels=labels)
        return
    for pod in _pods_called(pods, labelling.who):
        labels = _labelled(pod.labels, labelling)
        pods[pod.key] = msgspec.structs.replace(pod, labels=labels)


def _labelled(labels: Mapping[str, str], labelling: Labelling) -> dict[str, str]:
    found = dict(labels)
    for key, value in labelling.labels:
        if value is not None:
            found[key] = value
        elif found.pop(key, None) is None:
            raise InputError(f"{labelling.who} has no label {key!r} to take away")
    return found


def _pods_called(pods: Mapping[PodKey, Pod], text: str) -> list[Pod]:
    """The pod ``ns/name``, or all pods of ``ns/kind/name``."""
    parts = text.split("/")
    if len(parts) == 2 and (pod := pods.get(PodKey(*parts))) is not None:
        return [pod]
    wanted = text.lower()
    found = [each for each in pods.values() if _workload_name(each) == wanted]
    if not found:
        names = {*map(str, pods), *filter(None, map(_workload_name, pods.values()))}
        raise InputError(
            f"{text!r} is no pod, workload or namespace, as in shop/web-0, shop/deployment/web "
            f"or namespace/shop{_near(text, names)}"
        )
    return found


def _workload_name(pod: Pod) -> str:
    return f"{pod.key.namespace}/{pod.workload}".lower() if pod.workload else ""


def _near(text: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(text, sorted(names), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""
