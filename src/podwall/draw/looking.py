"""From policies to what a picture of them tells (:mod:`podwall.draw.view`).

Pods with the same policies are one group. What holds for every group of a namespace is told once,
for the namespace as a whole, and not again at each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.draw.crowd import (
    Crowd,
    counted,
    name_of_namespace,
    numbers_of,
    plural,
    some,
    workload_of,
)
from podwall.draw.view import (
    FrameView,
    Gate,
    GroupView,
    Hole,
    PeerView,
    PlaceView,
    PolicyView,
    PortView,
    RuleView,
    SideView,
)
from podwall.model.objects import NAME_LABEL, Pod
from podwall.model.policy import (
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
from podwall.model.selector import Selector

MOST_FRAMES = 6
MOST_GROUPS = 12
GROUPS_OF_ALL = 36
MOST_RULES = 8
MOST_PEERS = 6
RULES_OF_MANY = 5
PEERS_OF_MANY = 4
MOST_PORTS = 6
MOST_HOLES = 4
MOST_PROBLEMS = 6


def view_of(snapshot: Snapshot, policies: Sequence[Policy]) -> PolicyView:
    """What is to be told of ``policies``."""
    crowd = Crowd(snapshot)
    by_namespace: dict[str, list[Policy]] = {}
    for policy in policies:
        by_namespace.setdefault(policy.key.namespace, []).append(policy)
    names = sorted(by_namespace)
    alone = len(policies) == 1
    groups = min(MOST_GROUPS, GROUPS_OF_ALL // min(len(names), MOST_FRAMES))
    look = _Looking(snapshot, crowd, groups, alone=alone)
    frames = tuple(
        look.single(policies[0]) if alone else look.namespace(name, by_namespace[name])
        for name in names[:MOST_FRAMES]
    )
    problems = [f"{each.key}: {text}" for each in policies for text in each.problems]
    more = len(problems) - MOST_PROBLEMS
    shown = problems[:MOST_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
    audited = sum(each.is_audited for each in policies)
    left = len(names) - MOST_FRAMES
    return PolicyView(
        title=_title(policies, names),
        subtitle=_subtitle(policies, audited),
        frames=frames,
        problems=tuple(shown),
        audited=alone and bool(audited),
        left_out=f"and the policies of {plural(left, 'more namespace')}" if left > 0 else "",
    )


def _title(policies: Sequence[Policy], names: Sequence[str]) -> str:
    if len(policies) == 1:
        return str(policies[0].key)
    if len(names) == 1:
        return f"{plural(len(policies), 'policy')} of namespace {names[0]}"
    return f"{plural(len(policies), 'policy')} of {plural(len(names), 'namespace')}"


def _subtitle(policies: Sequence[Policy], audited: int) -> str:
    if len(policies) == 1 and audited:
        return "in audit mode: it denies nothing, and what it would deny is told"
    text = "who may come in, and where they may go"
    return f"{text}; {audited} of them in audit mode deny nothing" if audited else text


class _Looking:
    """Looks at the policies of one snapshot."""

    def __init__(self, snapshot: Snapshot, crowd: Crowd, most_groups: int, *, alone: bool) -> None:
        self._snapshot = snapshot
        self._crowd = crowd
        self._most_groups = most_groups
        self._most_rules = MOST_RULES if alone else RULES_OF_MANY
        self._most_peers = MOST_PEERS if alone else PEERS_OF_MANY

    def single(self, policy: Policy) -> FrameView:
        """One policy by itself, whatever others say of its pods."""
        pods = self._crowd.subjects(policy)
        others = [
            each
            for each in self._snapshot.policies.values()
            if each.key.namespace == policy.key.namespace
            and each.key != policy.key
            and any(each.subject.matches(pod.labels) for pod in pods)
        ]
        sides = {
            each: self._side(each, [policy], pods, alone=True, others=others) for each in Direction
        }
        also = [each.key.name for each in others]
        group = GroupView(
            title=_selected(policy),
            note=plural(len(pods), "pod"),
            pods=_names(pods),
            policies=tuple(also),
            policies_title="other policies here",
            ingress=sides[Direction.INGRESS],
            egress=sides[Direction.EGRESS],
            empty=not pods,
        )
        return self._frame(policy.key.namespace, (group,), "")

    def namespace(self, name: str, policies: Sequence[Policy]) -> FrameView:
        """All that ``policies`` say of the pods of one namespace."""
        groups = self._groups(name, policies)
        selected = [keys for keys, _ in groups if keys]
        everywhere = frozenset.intersection(*selected) if len(selected) > 1 else frozenset()
        common = [each for each in policies if each.key.name in everywhere]
        views: list[GroupView] = []
        if common:
            pods = [pod for keys, members in groups if keys for pod in members]
            whole = len(selected) == len(groups)
            title = "all pods" if whole else "all that are selected"
            views.append(_not_here(self._group(title, common, pods, ())))
        shown = groups[: self._most_groups]
        for keys, members in shown:
            mine = [each for each in policies if each.key.name in keys and each not in common]
            if keys and not mine and len(selected) > 1:
                continue
            views.append(self._group("", mine, members, common if keys else ()))
        idle = [each for each in policies if not self._crowd.subjects(each)]
        views += [self._idle(each) for each in idle[: self._most_groups - len(shown)]]
        left = len(groups) - len(shown)
        left_idle = len(idle) - max(0, self._most_groups - len(shown))
        words = [plural(left, "more group") + " of pods"] if left > 0 else []
        words += [plural(left_idle, "policy") + " that select no pod"] if left_idle > 0 else []
        return self._frame(name, tuple(views), f"and {' and '.join(words)}" if words else "")

    def _groups(
        self, name: str, policies: Sequence[Policy]
    ) -> list[tuple[frozenset[str], list[Pod]]]:
        """Pods by the policies that select them; those that none selects come last."""
        groups: dict[frozenset[str], list[Pod]] = {}
        for pod in self._crowd.of(name):
            keys = frozenset(each.key.name for each in policies if each.subject.matches(pod.labels))
            groups.setdefault(keys, []).append(pod)
        return sorted(groups.items(), key=lambda each: (not each[0], each[1][0].key))

    def _frame(self, name: str, groups: tuple[GroupView, ...], left_out: str) -> FrameView:
        known = self._snapshot.namespaces.get(name)
        labels = {} if known is None else known.labels
        words = [f"{key}={value}" for key, value in sorted(labels.items()) if key != NAME_LABEL]
        note = some(words, 3) if known else "its labels are not known"
        return FrameView(f"namespace {name}", note, groups, left_out)

    def _group(
        self,
        title: str,
        policies: Sequence[Policy],
        pods: Sequence[Pod],
        besides: Sequence[Policy],
    ) -> GroupView:
        """A group; ``besides`` are the policies that were told of for all."""
        names = counted(pods)
        one = len(names) == 1
        ingress, egress = (self._side(each, policies, pods, besides=besides) for each in Direction)
        told = [f"{each.key.name}{' (audit)' if each.is_audited else ''}" for each in policies]
        return GroupView(
            title=title or (workload_of(pods[0]) if one else plural(len(names), "workload")),
            note=plural(len(pods), "pod"),
            pods=_names(pods),
            policies=tuple(told) or (() if besides else ("no policy selects them",)),
            ingress=ingress,
            egress=egress,
        )

    def _idle(self, policy: Policy) -> GroupView:
        """A policy that selects no pod."""
        ingress, egress = (self._side(each, [policy], ()) for each in Direction)
        audited = " (audit)" if policy.is_audited else ""
        told = (f"{policy.key.name}{audited}",)
        return GroupView(_selected(policy), "no pod", (), told, ingress, egress, empty=True)

    def _side(
        self,
        direction: Direction,
        policies: Sequence[Policy],
        pods: Sequence[Pod],
        *,
        besides: Sequence[Policy] = (),
        alone: bool = False,
        others: Sequence[Policy] = (),
    ) -> SideView:
        concerned = [each for each in policies if direction in each.isolates]
        told = [each for each in besides if direction in each.isolates]
        enforced = [each for each in (*concerned, *told) if not each.is_audited]
        gate = Gate.CLOSED if enforced else Gate.AUDITED if concerned or told else Gate.OPEN
        rules = [(each, rule) for each in concerned for rule in each.rules(direction)]
        views = tuple(
            self._rule(rule, policy, pods, alone=alone)
            for policy, rule in rules[: self._most_rules]
        )
        rest, note = _rest(direction, gate, [rule for _, rule in rules], told)
        if gate is Gate.OPEN and any(direction in each.isolates for each in others):
            note = "other policies may close it"
        return SideView(gate, views, max(0, len(rules) - self._most_rules), rest, note)

    def _rule(
        self, rule: PolicyRule, policy: Policy, pods: Sequence[Pod], *, alone: bool
    ) -> RuleView:
        place = f"{rule.id.direction.value}[{rule.id.index}]"
        peers = rule.peers[: self._most_peers]
        targets = pods if rule.id.direction is Direction.INGRESS else self._targets(peers)
        return RuleView(
            title=place if alone else f"{policy.key.name} [{rule.id.index}]",
            whole=str(rule.id),
            places=self._places(peers),
            ports=tuple(_port(each, targets) for each in rule.ports[:MOST_PORTS]),
            more_peers=len(rule.peers) - len(peers),
            more_ports=max(0, len(rule.ports) - MOST_PORTS),
            audited=policy.is_audited,
            broken=not (rule.peers and rule.ports),
        )

    def _targets(self, peers: Iterable[Peer]) -> Sequence[Pod]:
        return [
            pod for peer in peers if isinstance(peer, PodPeer) for pod in self._crowd.peers(peer)
        ]

    def _places(self, peers: Iterable[Peer]) -> tuple[PlaceView, ...]:
        """The peers by where they are, in the order in which they come."""
        places: dict[tuple[str, str], list[PeerView]] = {}
        alone: list[PlaceView] = []
        for peer in peers:
            match peer:
                case AnyPeer():
                    view = PeerView("anyone", "any address", "any")
                    alone.append(PlaceView((view,)))
                case IPBlock():
                    alone.append(PlaceView((_block(peer),)))
                case PodPeer():
                    places.setdefault(self._where(peer), []).append(self._pods(peer))
                case _:
                    assert_never(peer)
        boxes = [PlaceView(tuple(views), *where) for where, views in places.items()]
        return (*boxes, *alone)

    def _where(self, peer: PodPeer) -> tuple[str, str]:
        if isinstance(peer.namespaces, str):
            return f"namespace {peer.namespaces}", ""
        found = self._crowd.namespaces(peer)
        name = name_of_namespace(peer.namespaces)
        if name:
            return f"namespace {name}", "" if found else "there is none of that name"
        if not peer.namespaces.requirements:
            return "every namespace", ""
        note = f"now: {some(found, 3)}" if found else "no namespace has such labels"
        return f"namespaces {_spaced(peer.namespaces)}", note

    def _pods(self, peer: PodPeer) -> PeerView:
        pods = self._crowd.peers(peer)
        title = _spaced(peer.pods) if peer.pods.requirements else "all pods"
        note = f"{plural(len(pods), 'pod')}: {some(counted(pods), 2)}" if pods else "no such pod"
        return PeerView(title, note, missing=not pods)


def _not_here(group: GroupView) -> GroupView:
    """What holds for all pods, where others may be named further down."""
    sides = {
        name: msgspec.structs.replace(side, rest="all not named here")
        for name, side in (("ingress", group.ingress), ("egress", group.egress))
        if side.gate is not Gate.OPEN and side.rest
    }
    return msgspec.structs.replace(group, **sides)


def _selected(policy: Policy) -> str:
    return _spaced(policy.subject) if policy.subject.requirements else "all pods"


def _spaced(selector: Selector) -> str:
    """A selector with room between its requirements, where lines can break."""
    return ", ".join(map(str, selector.requirements))


def _names(pods: Sequence[Pod]) -> tuple[str, ...]:
    """Workloads where there are several; else the first few pods."""
    workloads = counted(pods)
    if len(workloads) > 1:
        more = len(workloads) - 5
        return (*workloads[:5], *((f"and {more} more",) if more > 0 else ()))
    names = [each.key.name for each in pods]
    more = len(names) - 3
    return (*names[:3], *((f"and {more} more",) if more > 0 else ()))


def _rest(
    direction: Direction, gate: Gate, rules: Sequence[PolicyRule], told: Sequence[Policy]
) -> tuple[str, str]:
    """What is said of everybody whom no rule names, and a word more."""
    if gate is Gate.OPEN:
        return "anyone" if direction is Direction.INGRESS else "anywhere", "not restricted"
    if gate is Gate.CLOSED and any(not each.is_audited for each in told):
        # It was said of all pods of the namespace, above.
        return "", ""
    useful = [each for each in rules if each.peers and each.ports]
    if any(AnyPeer() in each.peers and AnyPort() in each.ports for each in useful):
        return "", ""
    shut = "would be shut out" if gate is Gate.AUDITED else "shut out"
    if direction is Direction.EGRESS:
        shut = "would be out of reach" if gate is Gate.AUDITED else "out of reach"
    if any(AnyPeer() in each.peers for each in useful):
        return "every other port", shut
    if useful:
        # Other ends, and these on other ports.
        return "all else", shut
    return "everyone" if direction is Direction.INGRESS else "everything", shut


def _port(port: Port, targets: Sequence[Pod]) -> PortView:
    match port:
        case AnyPort():
            return PortView("any port", "any protocol")
        case AllPortsOf():
            return PortView(f"{port.protocol.name} any port")
        case NumberedPorts():
            first, last = port.ports.first, port.ports.last
            numbers = str(first) if first == last else f"{first}–{last}"
            return PortView(f"{port.protocol.name} {numbers}")
        case NamedPort():
            numbers = some([str(each) for each in numbers_of(targets, port)], 3)
            return PortView(f"{port.protocol.name} {port.name}", f"= {numbers}" if numbers else "")
        case _:
            assert_never(port)


def _block(block: IPBlock) -> PeerView:
    cidr = block.cidr
    size = cidr.last - cidr.first + 1
    holes = sorted(block.excepts)
    views = tuple(
        Hole(
            (each.first - cidr.first) / size,
            (each.last + 1 - cidr.first) / size,
            str(each),
        )
        for each in holes[:MOST_HOLES]
    )
    everything = cidr.prefix == 0 and not holes
    note = f"every IPv{cidr.family.value} address" if everything else ""
    return PeerView(str(cidr), note, "block", holes=views, more_holes=len(holes) - len(views))
