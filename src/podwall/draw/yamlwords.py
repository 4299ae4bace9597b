"""Parts of a policy as the YAML that says them: normalised, whatever the manifest looked like."""

from __future__ import annotations

import re
from collections.abc import Sequence

from podwall.draw.metrics import clean
from podwall.model.policy import (
    AllPortsOf,
    AnyPeer,
    AnyPort,
    IPBlock,
    NamedPort,
    NumberedPorts,
    Peer,
    PodPeer,
    Port,
)
from podwall.model.selector import Operator, Selector

# What YAML reads as a text whatever follows, and never as a number or a word like ``no``.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*\Z", re.ASCII)
_WORDS = frozenset(["y", "n", "yes", "no", "true", "false", "on", "off", "null", "nan", "inf"])


def scalar(text: str) -> str:
    """A text as YAML, in quotes where it needs them."""
    if _PLAIN.match(text) and text.lower() not in _WORDS:
        return text
    escaped = clean(text.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{escaped}"'


def selector_lines(key: str, selector: Selector, most: int = 6) -> list[str]:
    """A selector under ``key``, on as few lines as can be read."""
    if not selector.requirements:
        return [f"{key}: {{}}"]
    labels = [
        f"{scalar(each.key)}: {scalar(each.values[0])}"
        for each in selector.requirements
        if each.operator is Operator.IN and len(each.values) == 1
    ]
    lines = [f"{key}:"]
    if labels:
        lines.append("  matchLabels:")
        lines += [f"    {each}" for each in labels]
    others = [
        each
        for each in selector.requirements
        if each.operator is not Operator.IN or len(each.values) != 1
    ]
    if others:
        lines.append("  matchExpressions:")
    for each in others:
        lines.append(f"  - key: {scalar(each.key)}")
        lines.append(f"    operator: {each.operator.value}")
        if each.values:
            lines.append(f"    values: [{', '.join(map(scalar, each.values[:20]))}]")
    return lines[:most] + (["  …"] if len(lines) > most else [])


def peer_lines(peer: Peer) -> list[str]:
    """An item of ``from`` or ``to``."""
    match peer:
        case AnyPeer():
            return []
        case IPBlock():
            lines = ["ipBlock:", f"  cidr: {peer.cidr}"]
            if peer.excepts:
                lines.append("  except:")
            lines += [f"  - {each}" for each in peer.excepts[:5]]
            if len(peer.excepts) > 5:
                lines.append(f"  # and {len(peer.excepts) - 5} more")
        case PodPeer():
            lines = []
            if isinstance(peer.namespaces, Selector):
                lines = selector_lines("namespaceSelector", peer.namespaces)
            if peer.pods.requirements or not lines:
                lines += selector_lines("podSelector", peer.pods)
    return _item(lines)


def port_lines(ports: Sequence[Port], most: int = 6) -> list[str]:
    """The items of ``ports``."""
    lines: list[str] = []
    for port in ports[:most]:
        match port:
            case AllPortsOf():
                lines.append(f"- {{protocol: {port.protocol.name}}}")
            case NumberedPorts():
                first, last = port.ports.first, port.ports.last
                end = f", endPort: {last}" if last != first else ""
                lines.append(f"- {{protocol: {port.protocol.name}, port: {first}{end}}}")
            case NamedPort():
                name = scalar(port.name)
                lines.append(f"- {{protocol: {port.protocol.name}, port: {name}}}")
            case AnyPort():
                return []
    if len(ports) > most:
        lines.append(f"# and {len(ports) - most} more")
    return ["ports:", *lines] if lines else []


def _item(lines: Sequence[str]) -> list[str]:
    return [f"{'- ' if index == 0 else '  '}{line}" for index, line in enumerate(lines)]
