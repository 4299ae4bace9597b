"""What was seen becomes policies: for each workload one, and what they change.

A workload that was seen gets a policy that isolates it in the directions asked for and allows what
was seen of it; where nothing was seen in one of them, that direction is closed. A workload that was
not seen at all is left as it is: silence for an hour is no evidence. Policies that are there stay,
and only what they do not allow is proposed; or, when proposing afresh, they are replaced, and what
they close to workloads that were not seen stays closed.

That what was seen and allowed stays allowed is not believed but asked of the oracle, connection by
connection (:func:`_check`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.errors import CompileError
from podwall.explain.ends import Service
from podwall.learn.blocks import Kept
from podwall.learn.court import Court
from podwall.learn.observed import Observation
from podwall.learn.rules import ANYTHING, Counts, Draft, Far, draft_rules
from podwall.learn.sift import Judged, LeftOut, Wanted, sift, without_policies
from podwall.learn.units import Unit, unit_by_pod, units_of
from podwall.model.net import PORT_PROTOCOLS, Address, Protocol, host_cidr
from podwall.model.objects import NAME_LABEL, PodKey
from podwall.model.policy import Direction, Mode, Policy, PolicyKey, PolicyRule, RuleId
from podwall.model.settings import Settings
from podwall.policy.evaluate import isolating_policies, peer_address, subject_address

MOST_BLOCKS = 16
"""So many single addresses outside a rule names before it names wider blocks."""

_PREFIX = "learned-"
_LONGEST = 200
_UNUSABLE = re.compile(r"[^a-z0-9.-]+")


class Options(msgspec.Struct, frozen=True):
    """What to propose.

    Attributes:
        namespaces: whose workloads get policies; empty means all.
        directions: what is isolated.
        fresh: replace the policies of these namespaces instead of adding to them.
        wanted: what is kept that is left out by itself.
        most_blocks: how many single addresses a rule may name, for each family.
    """

    namespaces: tuple[str, ...] = ()
    directions: tuple[Direction, ...] = tuple(Direction)
    fresh: bool = False
    wanted: Wanted = Wanted()
    most_blocks: int = MOST_BLOCKS


class Proposed(msgspec.Struct, frozen=True):
    """A policy, whom it is for, and what its rules were seen for, in the order of the rules.

    The policy is an enforced one; :meth:`audited` is how to begin with less risk.
    """

    policy: Policy
    unit: Unit
    drafts: Mapping[Direction, tuple[Draft, ...]]
    connections: int

    def audited(self) -> Policy:
        """The same policy in audit mode."""
        return msgspec.structs.replace(self.policy, mode=Mode.AUDIT)


class Proposal(msgspec.Struct, frozen=True):
    """Policies, sorted, and the cluster without and with them.

    Attributes:
        policies: what is proposed.
        before: the cluster as it is.
        after: the same with the proposed policies enforced.
        kept: what was judged; what of it was allowed is allowed ``after``, too.
        left_out: what was seen and plays no part.
        unseen: the workloads in question that nothing was seen of, and that are left as they are.
    """

    policies: tuple[Proposed, ...]
    before: Snapshot
    after: Snapshot
    kept: tuple[Judged, ...]
    left_out: tuple[LeftOut, ...]
    unseen: tuple[Unit, ...]


def propose(
    snapshot: Snapshot,
    observations: Iterable[Observation],
    settings: Settings = Settings(),
    options: Options | None = None,
) -> Proposal:
    """Propose policies for what was seen.

    Raises:
        CompileError: a connection that was seen and allowed would be denied, which is a defect.
    """
    options = options or Options()
    scope = options.namespaces or tuple(snapshot.namespaces) + tuple(
        {pod.key.namespace for pod in snapshot.pods.values()}
    )
    base = without_policies(snapshot, scope, options.directions) if options.fresh else snapshot
    before = Court(snapshot, settings)
    stays = Court(base, settings) if options.fresh else before
    sifted = sift(before, stays, observations, options.wanted)
    units = [unit for unit in units_of(snapshot) if unit.namespace in scope]
    seen = _Seen(snapshot, sifted.kept, options.directions)
    names = _Names(base.policies)
    writer = _Writer(snapshot, base, options, seen, names)
    policies = tuple(filter(None, map(writer.write, units)))
    after = _with_policies(base, (each.policy for each in policies))
    _check(before, Court(after, settings), sifted.kept)
    unseen = tuple(unit for unit in units if unit not in seen.units)
    return Proposal(policies, snapshot, after, sifted.kept, sifted.left_out, unseen)


class _Seen:
    """What was seen, by who it is about."""

    def __init__(
        self, snapshot: Snapshot, kept: Iterable[Judged], directions: Collection[Direction]
    ) -> None:
        self._snapshot = snapshot
        self._directions = directions
        self._unit_by_pod = unit_by_pod(units_of(snapshot))
        self.units: set[Unit] = set()
        self.unnamed: set[Address] = set()
        self._connections: dict[Unit, int] = {}
        self._needs: dict[tuple[Unit, Direction], dict[tuple[Far, Service | None], int]] = {}
        for each in kept:
            self._add(each)

    def needs(self, unit: Unit, direction: Direction) -> Counts:
        """How often ``unit`` was seen with which peers, as far as no policy allows it."""
        return self._needs.get((unit, direction), {})

    def connections(self, unit: Unit) -> int:
        """How many connections of ``unit`` were seen that need a rule, each once."""
        return self._connections.get(unit, 0)

    def _add(self, judged: Judged) -> None:
        flow = judged.observation.flow
        needs = [each for each in judged.needs if each in self._directions]
        for unit in {self._unit(subject_address(flow, each)) for each in needs}:
            if unit is not None:
                self._connections[unit] = self.connections(unit) + judged.observation.count
        for direction in judged.seen:
            unit = self._unit(subject_address(flow, direction))
            if unit is None:
                continue
            self.units.add(unit)
            if direction in needs:
                far = self._far(peer_address(flow, direction), unit)
                counts = self._needs.setdefault((unit, direction), {})
                key = far, service_of(judged.observation)
                counts[key] = counts.get(key, 0) + judged.observation.count

    def _unit(self, address: Address) -> Unit | None:
        pod = self._snapshot.owner(address)
        return None if pod is None else self._unit_by_pod.get(pod.key)

    def _far(self, address: Address, subject: Unit) -> Far:
        unit = self._unit(address)
        if unit is None:
            return address
        namespace = self._snapshot.namespaces.get(unit.namespace)
        named = namespace is not None and namespace.labels.get(NAME_LABEL) == namespace.name
        if named or unit.namespace == subject.namespace:
            return unit
        self.unnamed.add(address)
        return address


def service_of(observation: Observation) -> Service | None:
    """What a policy has to name for an observation; ``None`` for what only "everything" allows."""
    flow = observation.flow
    if flow.protocol not in PORT_PROTOCOLS:
        return ANYTHING
    return Service(Protocol(flow.protocol), flow.port)


class _Writer:
    """Writes the policy of one unit after the other."""

    def __init__(
        self, snapshot: Snapshot, base: Snapshot, options: Options, seen: _Seen, names: _Names
    ) -> None:
        self._snapshot = snapshot
        self._base = base
        self._options = options
        self._seen = seen
        self._names = names
        nodes = [each for node in snapshot.nodes.values() for each in node.addresses]
        self._known = frozenset(nodes) | seen.unnamed
        ranges = [each for node in snapshot.nodes.values() for each in node.pod_cidrs]
        self._kept = Kept([*ranges, *map(host_cidr, (*nodes, *snapshot.owners))])

    def write(self, unit: Unit) -> Proposed | None:
        """The policy for a unit; ``None`` if it needs none."""
        needs = {each: self._seen.needs(unit, each) for each in self._options.directions}
        isolates = tuple(each for each in Direction if self._isolates(unit, each, needs.get(each)))
        if not isolates:
            return None
        key = self._names.of(unit)
        drafts = {
            direction: draft_rules(
                unit.namespace, counts, self._known, self._kept, self._options.most_blocks
            )
            for direction in isolates
            if (counts := needs[direction])
        }
        rules = {direction: _rules(key, direction, found) for direction, found in drafts.items()}
        policy = Policy(
            key=key,
            subject=unit.selector,
            isolates=isolates,
            ingress=rules.get(Direction.INGRESS, ()),
            egress=rules.get(Direction.EGRESS, ()),
        )
        return Proposed(policy, unit, drafts, self._seen.connections(unit))

    def _isolates(self, unit: Unit, direction: Direction, needs: Counts | None) -> bool:
        if needs is None:
            return False
        if needs:
            return True
        isolated = [self._is_isolated(self._base, key, direction) for key in unit.pods]
        if unit in self._seen.units:
            return not all(isolated)
        # Of what is replaced stays closed what was closed, also to those that nothing was seen of.
        before = [self._is_isolated(self._snapshot, key, direction) for key in unit.pods]
        return any(was and not now for was, now in zip(before, isolated, strict=True))

    @staticmethod
    def _is_isolated(snapshot: Snapshot, key: PodKey, direction: Direction) -> bool:
        return bool(isolating_policies(snapshot, snapshot.pods[key], direction))


def _rules(key: PolicyKey, direction: Direction, drafts: Sequence[Draft]) -> tuple[PolicyRule, ...]:
    return tuple(
        PolicyRule(RuleId(key, direction, index), draft.peers, draft.ports)
        for index, draft in enumerate(drafts)
    )


class _Names:
    """Names for policies that no other policy has."""

    def __init__(self, taken: Collection[PolicyKey]) -> None:
        self._taken = set(taken)

    def of(self, unit: Unit) -> PolicyKey:
        """The name of a unit's policy, after its workload."""
        stem = _UNUSABLE.sub("-", unit.stem.lower()).strip("-.") or "pods"
        if len(stem) > _LONGEST:
            digest = hashlib.sha256(stem.encode()).hexdigest()[:10]
            stem = f"{stem[:_LONGEST].rstrip('-.')}-{digest}"
        key = PolicyKey(unit.namespace, f"{_PREFIX}{stem}")
        number = 2
        while key in self._taken:
            key = PolicyKey(unit.namespace, f"{_PREFIX}{stem}-{number}")
            number += 1
        self._taken.add(key)
        return key


def _with_policies(snapshot: Snapshot, policies: Iterable[Policy]) -> Snapshot:
    return build_snapshot(
        snapshot.pods.values(),
        snapshot.namespaces.values(),
        (*snapshot.policies.values(), *policies),
        snapshot.nodes.values(),
    )


def _check(before: Court, after: Court, kept: Iterable[Judged]) -> None:
    for each in kept:
        flow = each.observation.flow
        decision = after.decide(flow)
        if not decision.allowed and before.decide(flow).allowed:
            fault = "the proposed policies deny a connection that was seen, which is a defect"
            raise CompileError(f"{fault}\n{decision}")
