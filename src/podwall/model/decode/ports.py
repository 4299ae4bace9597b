"""Port entries of policies, and what they share with container ports: protocols and numbers."""

from __future__ import annotations

from podwall.model.decode import names
from podwall.model.decode.fields import Data, warn_unknown
from podwall.model.decode.problem import Path, Problems, describe, shown
from podwall.model.net import PORT_PROTOCOLS, PortRange, Protocol
from podwall.model.policy import AllPortsOf, NamedPort, NumberedPorts, Port

_FIELDS = ("protocol", "port", "endPort")
_PROTOCOLS = {each.name: each for each in PORT_PROTOCOLS}
_LAST = 65535
_NUMBER_RULE = f"expected a number from 1 to {_LAST}"


def decode_port_entry(found: object, path: Path, problems: Problems) -> Port | None:
    """Read one ``ports`` entry; ``None``, which allows nothing, where any part of it is wrong."""
    if type(found) is not dict:
        problems.error(path, describe(found), "expected a port entry with protocol and port")
        return None
    warn_unknown(found, _FIELDS, path, problems)
    protocol = decode_protocol(found.get("protocol"), (*path, "protocol"), problems)
    port = found.get("port")
    end = found.get("endPort")
    if isinstance(port, str):
        return _named(protocol, port, end, path, problems)
    if port is None:
        if end is not None:
            problems.error((*path, "endPort"), "there is no port", "endPort needs a numeric port")
            return None
        return None if protocol is None else AllPortsOf(protocol)
    first = decode_number(port, (*path, "port"), problems)
    last = first if end is None else _end(end, first, path, problems)
    if protocol is None or first is None or last is None:
        return None
    return NumberedPorts(protocol, PortRange(first, last))


def _named(
    protocol: Protocol | None, name: str, end: object, path: Path, problems: Problems
) -> NamedPort | None:
    valid = names.is_port_name(name)
    if not valid:
        numeric = name.isascii() and name.isdigit()
        hint = "write the number without quotes" if numeric else names.PORT_NAME_RULE
        problems.error((*path, "port"), f"{shown(name)} is not a port name", hint)
    if end is not None:
        problems.error((*path, "endPort"), "the port is a name", "endPort needs a numeric port")
        return None
    return NamedPort(protocol, name) if valid and protocol is not None else None


def _end(found: object, first: int | None, path: Path, problems: Problems) -> int | None:
    last = decode_number(found, (*path, "endPort"), problems)
    if first is None or last is None:
        return None
    if last < first:
        expected = f"expected a number from {first} to {_LAST}"
        problems.error((*path, "endPort"), f"{last} is below port {first}", expected)
        return None
    return last


def decode_protocol(found: object, path: Path, problems: Problems) -> Protocol | None:
    """Read a protocol name, TCP where there is none (S34); an unknown one is an error."""
    if found is None:
        return Protocol.TCP
    if isinstance(found, str) and found in _PROTOCOLS:
        return _PROTOCOLS[found]
    meant = names.near_miss(found, tuple(_PROTOCOLS)) if isinstance(found, str) else None
    hint = f"did you mean {meant}?" if meant else "expected TCP, UDP or SCTP"
    what = f"{shown(found)} is unknown" if isinstance(found, str) else describe(found)
    problems.error(path, what, hint)
    return None


def decode_number(found: object, path: Path, problems: Problems) -> int | None:
    """Read a port number from 1 to 65535."""
    if type(found) is int and 0 < found <= _LAST:
        return found
    hint = f"{_NUMBER_RULE} without quotes" if isinstance(found, str) else _NUMBER_RULE
    problems.error(path, describe(found), hint)
    return None


def decode_container_port(
    data: Data, path: Path, problems: Problems
) -> tuple[str, Protocol, int] | None:
    """Read ``name``, ``protocol`` and ``containerPort``; a bad name leaves the port nameless."""
    if data.get("containerPort") is None:
        problems.error((*path, "containerPort"), "it is missing", _NUMBER_RULE)
        return None
    number = decode_number(data["containerPort"], (*path, "containerPort"), problems)
    protocol = decode_protocol(data.get("protocol"), (*path, "protocol"), problems)
    name = data.get("name")
    if name is None:
        name = ""
    elif not isinstance(name, str) or (name and not names.is_port_name(name)):
        found = f"{shown(name)} is not a port name" if isinstance(name, str) else describe(name)
        problems.error((*path, "name"), found, names.PORT_NAME_RULE)
        name = ""
    return None if number is None or protocol is None else (name, protocol, number)
