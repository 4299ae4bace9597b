"""Policies out: a policy of the model as the manifest that means it, with comments.

What is written here and read by :func:`podwall.manifest.load` is the policy that it was. PyYAML
writes the YAML, but for one thing: whether a text needs quotes is for the reader to say
(:mod:`podwall.manifest.yaml_scalars`), and Kubernetes takes ``y`` for a boolean and ``1e3`` for a
number where PyYAML does not.

Comments are the reason why a rule is there, and they hold names that users chose. They stay
comments: whatever a note holds, it becomes printable lines behind ``#``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, assert_never

import msgspec
import yaml

from podwall.errors import CompileError
from podwall.manifest.yaml_scalars import plain_scalar
from podwall.model.decode import escaped
from podwall.model.policy import (
    MODE_ANNOTATION,
    AllPortsOf,
    AnyPeer,
    AnyPort,
    Direction,
    IPBlock,
    NamedPort,
    NumberedPorts,
    Peer,
    PodPeer,
    Policy,
    PolicyRule,
    Port,
)
from podwall.model.selector import Operator, Requirement, Selector

Data: TypeAlias = dict[str, Any]

_TYPES = {Direction.INGRESS: "Ingress", Direction.EGRESS: "Egress"}
_PEERS = {Direction.INGRESS: "from", Direction.EGRESS: "to"}
_WIDTH = 1 << 20
_MAX_NOTE = 400


class Notes(msgspec.Struct, frozen=True):
    """Comments on a policy: lines before it, and lines before its rules by direction and index."""

    head: Sequence[str] = ()
    rules: Mapping[tuple[Direction, int], Sequence[str]] = {}


_NO_NOTES = Notes()


def render_policy(policy: Policy, notes: Notes = _NO_NOTES) -> str:
    """The YAML document of a policy, without ``---``; it ends with a newline.

    Raises:
        CompileError: the policy is not one that a manifest can say, see :func:`policy_data`.
    """
    data = policy_data(policy)
    spec = data.pop("spec")
    rules = {direction: spec.pop(direction.value, None) for direction in Direction}
    lines = [*_comments(notes.head, ""), *_yaml(data), "spec:", *_indented(_yaml(spec), "  ")]
    for direction, items in rules.items():
        if items:
            lines.append(f"  {direction.value}:")
        for index, item in enumerate(items or ()):
            lines += _comments(notes.rules.get((direction, index), ()), "  ")
            lines += _indented(_yaml([item]), "  ")
    return "\n".join(lines) + "\n"


def policy_data(policy: Policy) -> Data:
    """A policy as plain data, ready for JSON or YAML.

    Raises:
        CompileError: the policy cannot be said in a manifest: a rule that allows nobody, which is
            what the decoder leaves of one that it does not understand (S10), or a peer in a
            namespace by name that is not the policy's own.
    """
    metadata: Data = {"name": policy.key.name, "namespace": policy.key.namespace}
    if policy.is_audited:
        metadata["annotations"] = {MODE_ANNOTATION: policy.mode.value}
    spec: Data = {
        "podSelector": _selector_data(policy.subject),
        "policyTypes": [_TYPES[each] for each in Direction if each in policy.isolates],
    }
    for direction in Direction:
        if rules := policy.rules(direction):
            spec[direction.value] = [_rule_data(policy, rule) for rule in rules]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": spec,
    }


def _rule_data(policy: Policy, rule: PolicyRule) -> Data:
    if not rule.peers or not rule.ports:
        raise CompileError(f"{rule.id} allows nobody: there is no manifest that says so")
    data: Data = {}
    if AnyPeer() not in rule.peers:
        peers = [_peer_data(policy, rule, each) for each in rule.peers]
        data[_PEERS[rule.id.direction]] = peers
    if AnyPort() not in rule.ports:
        data["ports"] = [_port_data(each) for each in rule.ports]
    return data


def _peer_data(policy: Policy, rule: PolicyRule, peer: Peer) -> Data:
    match peer:
        case IPBlock():
            block: Data = {"cidr": str(peer.cidr)}
            if peer.excepts:
                block["except"] = list(map(str, peer.excepts))
            return {"ipBlock": block}
        case PodPeer(namespaces=str(namespace)):
            if namespace != policy.key.namespace:
                where = f"namespace {namespace} of a policy in {policy.key.namespace}"
                raise CompileError(f"{rule.id} names {where}: only a selector can")
            return {"podSelector": _selector_data(peer.pods)}
        case PodPeer(namespaces=Selector() as namespaces):
            data = {"namespaceSelector": _selector_data(namespaces)}
            if peer.pods.requirements:
                data["podSelector"] = _selector_data(peer.pods)
            return data
        case _:
            raise CompileError(f"{rule.id} has a peer that no manifest can say: {peer}")


def _port_data(port: Port) -> Data:
    match port:
        case AllPortsOf():
            return {"protocol": port.protocol.name}
        case NumberedPorts():
            data: Data = {"protocol": port.protocol.name, "port": port.ports.first}
            if port.ports.last != port.ports.first:
                data["endPort"] = port.ports.last
            return data
        case NamedPort():
            return {"protocol": port.protocol.name, "port": port.name}
        case AnyPort():
            return {}
        case _:
            assert_never(port)


def _selector_data(selector: Selector) -> Data:
    """``matchLabels`` for what they can say, ``matchExpressions`` for the rest."""
    labels: dict[str, str] = {}
    expressions: list[Data] = []
    for each in selector.requirements:
        if _is_equality(each) and each.key not in labels:
            labels[each.key] = each.values[0]
        else:
            expressions.append(_expression_data(each))
    data: Data = {}
    if labels:
        data["matchLabels"] = labels
    if expressions:
        data["matchExpressions"] = expressions
    return data


def _is_equality(requirement: Requirement) -> bool:
    return requirement.operator is Operator.IN and len(requirement.values) == 1


def _expression_data(requirement: Requirement) -> Data:
    data: Data = {"key": requirement.key, "operator": requirement.operator.value}
    if requirement.values:
        data["values"] = list(requirement.values)
    return data


class _Dumper(yaml.SafeDumper):
    """Writes texts in quotes wherever Kubernetes would read something else without."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = isinstance(plain_scalar(text), str) and escaped(text) == text
    style = None if plain else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _yaml(data: object) -> list[str]:
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=_WIDTH)
    return str(text).splitlines()


def _indented(lines: Iterable[str], indent: str) -> list[str]:
    return [f"{indent}{line}" for line in lines]


def _comments(notes: Iterable[str], indent: str) -> list[str]:
    return [f"{indent}# {_cut(escaped(note))}".rstrip() for note in notes]


def _cut(note: str) -> str:
    return note if len(note) <= _MAX_NOTE else f"{note[:_MAX_NOTE]}…"
