"""The ``ingress`` and ``egress`` entries of a NetworkPolicy: peers and ports.

An absent list means everybody or everything, and so does an empty one (S11, S32). A list whose
entries could not be understood means nobody: it becomes an empty tuple, never the wildcard (S10).
"""

from __future__ import annotations

from podwall.errors import AddressError
from podwall.model.decode import names
from podwall.model.decode.fields import Data, warn_unknown
from podwall.model.decode.ports import decode_port_entry
from podwall.model.decode.problem import Path, Problems, describe, shown
from podwall.model.decode.selectors import decode_selector
from podwall.model.net import Cidr, parse_address, parse_cidr
from podwall.model.policy import (
    AnyPeer,
    AnyPort,
    Direction,
    IPBlock,
    Peer,
    PodPeer,
    PolicyKey,
    PolicyRule,
    Port,
    RuleId,
)
from podwall.model.selector import EVERYTHING, Selector

_PEER_FIELDS = ("podSelector", "namespaceSelector", "ipBlock")
_BLOCK_FIELDS = ("cidr", "except")
_PEERS_OF = {Direction.INGRESS: "from", Direction.EGRESS: "to"}
_MAX_CIDR = 64
_CIDR_RULE = "expected a CIDR such as 10.0.0.0/8 or fd00::/8"


def decode_rules(
    found: object, key: PolicyKey, direction: Direction, problems: Problems
) -> tuple[PolicyRule, ...]:
    """Read ``spec.ingress`` or ``spec.egress``; entries that are no mapping allow nothing."""
    path: Path = ("spec", direction.value)
    if found is None:
        return ()
    if not isinstance(found, list):
        problems.error(path, describe(found), "expected a list of rules")
        return ()
    rules: list[PolicyRule] = []
    for index, item in enumerate(found):
        if type(item) is dict:
            rules.append(_decode_rule(item, RuleId(key, direction, index), problems))
        else:
            hint = "expected a rule, {} for one that allows everything"
            problems.error((*path, index), describe(item), hint)
    return tuple(rules)


def _decode_rule(data: Data, rule: RuleId, problems: Problems) -> PolicyRule:
    path: Path = ("spec", rule.direction.value, rule.index)
    peers_field = _PEERS_OF[rule.direction]
    _warn_unknown(data, rule.direction, path, problems)
    peers = _decode_peers(data, peers_field, path, rule.policy.namespace, problems)
    return PolicyRule(rule, peers, _decode_ports(data, path, problems))


def _warn_unknown(data: Data, direction: Direction, path: Path, problems: Problems) -> None:
    """``to`` under ingress and ``from`` under egress are no near misses, but the likely mistake."""
    known = (_PEERS_OF[direction], "ports")
    wrong = "to" if direction is Direction.INGRESS else "from"
    if wrong in data:
        found = f"an {direction.value} rule has no such field, it is ignored"
        problems.warn((*path, wrong), found, f"did you mean {known[0]}?")
    warn_unknown({key: data[key] for key in data if key != wrong}, known, path, problems)


def _decode_peers(
    data: Data, field: str, path: Path, namespace: str, problems: Problems
) -> tuple[Peer, ...]:
    found = data.get(field)
    if found is None or found == []:
        return (AnyPeer(),)
    if not isinstance(found, list):
        problems.error((*path, field), describe(found), "expected a list of peers")
        return ()
    peers = (
        _decode_peer(item, (*path, field, index), namespace, problems)
        for index, item in enumerate(found)
    )
    return tuple(peer for peer in peers if peer is not None)


def _decode_peer(found: object, path: Path, namespace: str, problems: Problems) -> Peer | None:
    if type(found) is not dict:
        problems.error(path, describe(found), "expected a peer")
        return None
    warn_unknown(found, _PEER_FIELDS, path, problems)
    present = [field for field in _PEER_FIELDS if found.get(field) is not None]
    if not present:
        _report_empty_peer(found, path, problems)
        return None
    if "ipBlock" not in present:
        return _decode_pod_peer(found, path, namespace, problems)
    block = _decode_block(found["ipBlock"], (*path, "ipBlock"), problems)
    if len(present) > 1:
        problems.error(path, "ipBlock together with a selector", "expected one or the other")
        return None
    return block


def _report_empty_peer(data: Data, path: Path, problems: Problems) -> None:
    for field in ("podSelector", "namespaceSelector"):
        if field in data:
            hint = "which is the same as absent; write {} to select everything"
            problems.error((*path, field), "it is null", hint)
            return
    problems.error(path, "the peer is empty", "expected podSelector, namespaceSelector or ipBlock")


def _decode_pod_peer(data: Data, path: Path, namespace: str, problems: Problems) -> PodPeer | None:
    """Selectors of a peer count as a whole: half a selector would match more than was meant."""
    pods, pods_complete = _selector_of(data, "podSelector", path, problems)
    spaces, spaces_complete = _selector_of(data, "namespaceSelector", path, problems)
    if not (pods_complete and spaces_complete):
        return None
    return PodPeer(namespace if spaces is None else spaces, EVERYTHING if pods is None else pods)


def _selector_of(
    data: Data, field: str, path: Path, problems: Problems
) -> tuple[Selector | None, bool]:
    found = data.get(field)
    if found is None:
        if field in data:
            hint = "which is the same as absent; write {} to select everything"
            problems.warn((*path, field), "it is null", hint)
        return None, True
    return decode_selector(found, (*path, field), problems)


def _decode_block(found: object, path: Path, problems: Problems) -> IPBlock | None:
    if type(found) is not dict:
        problems.error(path, describe(found), "expected an ipBlock with a cidr")
        return None
    warn_unknown(found, _BLOCK_FIELDS, path, problems)
    cidr = _decode_cidr(found.get("cidr"), (*path, "cidr"), problems)
    excepts = found.get("except")
    if excepts is None:
        excepts = []
    if not isinstance(excepts, list):
        problems.error((*path, "except"), describe(excepts), "expected a list of CIDRs")
        return None
    holes = [
        _decode_except(item, cidr, (*path, "except", index), problems)
        for index, item in enumerate(excepts)
    ]
    understood = tuple(hole for hole in holes if hole is not None)
    if cidr is None or len(understood) != len(holes):
        return None
    return IPBlock(cidr, understood)


def _decode_except(found: object, cidr: Cidr | None, path: Path, problems: Problems) -> Cidr | None:
    """An ``except`` must lie inside its block and be smaller (S28)."""
    hole = _decode_cidr(found, path, problems)
    if hole is None or cidr is None:
        return None
    if not cidr.covers(hole) or hole == cidr:
        fault = "is all of" if hole == cidr else "is not inside"
        problems.error(path, f"{hole} {fault} {cidr}", "expected a smaller block inside it")
        return None
    return hole


def _decode_cidr(found: object, path: Path, problems: Problems) -> Cidr | None:
    if not isinstance(found, str):
        problems.error(path, "it is missing" if found is None else describe(found), _CIDR_RULE)
        return None
    if len(found) > _MAX_CIDR:
        problems.error(path, f"{shown(found)} is not a CIDR", _CIDR_RULE)
        return None
    try:
        cidr = parse_cidr(found)
    except AddressError as error:
        problems.error(path, names.printable_name(str(error)), _CIDR_RULE)
        return None
    if parse_address(found.partition("/")[0]).value != cidr.value:
        problems.warn(path, f"{shown(found)} has host bits", f"it is read as {cidr}")
    return cidr


def _decode_ports(data: Data, path: Path, problems: Problems) -> tuple[Port, ...]:
    found = data.get("ports")
    if found is None or found == []:
        return (AnyPort(),)
    if not isinstance(found, list):
        problems.error((*path, "ports"), describe(found), "expected a list of ports")
        return ()
    ports = (
        decode_port_entry(item, (*path, "ports", index), problems)
        for index, item in enumerate(found)
    )
    return tuple(port for port in ports if port is not None)
