"""What was seen stays open, what was not is closed, and no rule is there for nothing."""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import product

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.explain.ends import Service
from podwall.learn.court import Court
from podwall.learn.notes import notes_of
from podwall.learn.observed import Observation
from podwall.learn.proposal import Options, Proposal, Proposed, propose
from podwall.learn.sift import Reason, Wanted
from podwall.learn.units import Unit, unit_by_pod, units_of
from podwall.manifest import load
from podwall.manifest.written import render_policy
from podwall.model.flow import Flow
from podwall.model.net import PORT_PROTOCOLS, Family, Protocol
from podwall.model.policy import Direction, IPBlock, Policy, PolicyRule
from podwall.model.settings import Settings
from podwall.policy.evaluate import evaluate, isolating_policies, judge
from tests.strategies import OUTSIDE, flows, rarely, settings, snapshots
from tests.telling import telling_flows

DIRECTIONS = (*[tuple(Direction)] * 3, (Direction.INGRESS,), (Direction.EGRESS,))


@st.composite
def observations(draw: st.DrawFn, snapshot: Snapshot) -> list[Observation]:
    seen = draw(st.lists(flows(snapshot, new_only=True), max_size=12, unique=True))
    seen += draw(crowds(snapshot))
    return [Observation(flow, draw(st.integers(1, 3)), not draw(rarely())) for flow in seen]


@st.composite
def crowds(draw: st.DrawFn, snapshot: Snapshot) -> list[Flow]:
    """One pod and much of the outside, on two ports and by echo requests."""
    if not snapshot.owners or draw(st.booleans()):
        return []
    pod = draw(st.sampled_from(list(snapshot.owners)))
    outward = draw(st.booleans())
    far = [each for each in OUTSIDE if each.family is pod.family]
    echo = (Protocol.ICMP if pod.family is Family.V4 else Protocol.ICMPV6, None)
    services = ((Protocol.TCP, 80), (Protocol.TCP, 81), echo)
    chosen = st.lists(st.sampled_from(list(product(far, services))), unique=True, min_size=3)
    return [
        Flow(pod, address, *service) if outward else Flow(address, pod, *service)
        for address, service in draw(chosen)
    ]


@st.composite
def options(draw: st.DrawFn) -> Options:
    return Options(
        namespaces=draw(st.sampled_from(((), (), ("a",), ("a", "b")))),
        directions=draw(st.sampled_from(DIRECTIONS)),
        fresh=draw(st.booleans()),
        wanted=Wanted(denied=draw(st.booleans()), portless=draw(st.booleans())),
        most_blocks=draw(st.integers(1, 4)),
    )


class Case(msgspec.Struct):
    snapshot: Snapshot
    seen: list[Observation]
    settings: Settings
    options: Options

    @property
    def proposal(self) -> Proposal:
        return propose(self.snapshot, self.seen, self.settings, self.options)


WORKLOADS = ("", "", "Deployment/one", "Deployment/one", "CronJob/two")


@st.composite
def clusters(draw: st.DrawFn, max_policies: int) -> Snapshot:
    """Clusters in which several pods may be of one workload, whatever labels they have."""
    drawn = draw(snapshots(max_policies=max_policies))
    pods = [
        msgspec.structs.replace(pod, workload=draw(st.sampled_from(WORKLOADS)))
        for pod in drawn.pods.values()
    ]
    return build_snapshot(
        pods, drawn.namespaces.values(), drawn.policies.values(), drawn.nodes.values()
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    snapshot = draw(clusters(max_policies=3))
    return Case(snapshot, draw(observations(snapshot)), draw(settings()), draw(options()))


def with_policies(snapshot: Snapshot, policies: Iterable[Policy]) -> Snapshot:
    return build_snapshot(
        snapshot.pods.values(), snapshot.namespaces.values(), policies, snapshot.nodes.values()
    )


def lost_by(case: Case, proposal: Proposal, after: Snapshot) -> list[Observation]:
    """What was kept and is allowed by the proposal, and is denied in another cluster."""
    return [
        each.observation
        for each in proposal.kept
        if any(
            judge(proposal.after, each.observation.flow, direction, case.settings).allowed
            and not judge(after, each.observation.flow, direction, case.settings).allowed
            for direction in Direction
        )
    ]


@given(cases())
def test_everything_that_was_seen_and_allowed_stays_allowed(case: Case) -> None:
    proposal = case.proposal
    kept = {each.observation.flow for each in proposal.kept}
    left_out = {each.observation.flow: each.reason for each in proposal.left_out}
    for each in case.seen:
        flow = each.flow
        if flow not in left_out:
            assert flow in kept
        reason = left_out.get(flow)
        may_be_lost = reason in (Reason.GONE, Reason.UNANSWERED, Reason.PORTLESS, Reason.STRAY)
        if evaluate(case.snapshot, flow, case.settings).allowed and not may_be_lost:
            assert evaluate(proposal.after, flow, case.settings).allowed


@given(cases())
def test_the_same_sightings_in_another_order_give_the_same_text(case: Case) -> None:
    def text(proposal: Proposal) -> list[str]:
        return [
            render_policy(each.policy, notes_of(each, case.snapshot)) for each in proposal.policies
        ]

    backwards = propose(case.snapshot, case.seen[::-1], case.settings, case.options)
    assert text(backwards) == text(case.proposal)


@given(cases())
def test_proposals_load_back_as_they_were_judged(case: Case) -> None:
    for each in case.proposal.policies:
        text = render_policy(each.policy, notes_of(each, case.snapshot))
        manifests = load(["-"], stdin=io.BytesIO(text.encode()))
        assert not manifests.diagnostics
        assert manifests.policies == (each.policy,)


@given(cases())
def test_no_rule_could_be_left_away(case: Case) -> None:
    proposal = case.proposal
    after = proposal.after
    for each in proposal.policies:
        for direction in Direction:
            for rule in each.policy.rules(direction):
                smaller = dict(after.policies)
                smaller[each.policy.key] = without(each.policy, rule)
                assert lost_by(case, proposal, with_policies(after, smaller.values()))


def without(policy: Policy, rule: PolicyRule) -> Policy:
    return msgspec.structs.replace(
        policy,
        ingress=tuple(each for each in policy.ingress if each != rule),
        egress=tuple(each for each in policy.egress if each != rule),
    )


@given(st.data())
def test_nothing_between_workloads_is_open_that_was_not_seen(data: st.DataObject) -> None:
    snapshot = data.draw(clusters(max_policies=0))
    seen = data.draw(observations(snapshot))
    drawn = data.draw(options())
    limited = msgspec.structs.replace(drawn, wanted=Wanted())
    proposal = propose(snapshot, seen, Settings(), limited)
    units = unit_by_pod(units_of(snapshot))
    triples = set[tuple[Unit, Unit, Service]]()
    for each in proposal.kept:
        ends = units_at(units, snapshot, each.observation.flow)
        if ends is not None:
            triples.add((*ends, service(each.observation.flow)))
    for flow in telling_flows(proposal.after):
        ends = units_at(units, snapshot, flow)
        if ends is None or flow.protocol not in PORT_PROTOCOLS:
            continue
        for direction, unit in zip((Direction.EGRESS, Direction.INGRESS), ends, strict=True):
            decision = judge(proposal.after, flow, direction)
            if decision.allowed_by is not None:
                assert (*ends, service(flow)) in triples, (flow, direction, unit)


def units_at(units: dict[object, Unit], snapshot: Snapshot, flow: Flow) -> tuple[Unit, Unit] | None:
    src, dst = snapshot.owner(flow.src), snapshot.owner(flow.dst)
    if src is None or dst is None or src is dst:
        return None
    return units[src.key], units[dst.key]


def service(flow: Flow) -> Service:
    return Service(Protocol(flow.protocol), flow.port)


@given(cases())
def test_blocks_hold_no_pod_and_no_node_that_was_not_seen(case: Case) -> None:
    inhabited = set(case.snapshot.owners)
    inhabited |= {each for node in case.snapshot.nodes.values() for each in node.addresses}
    seen = {end for each in case.seen for end in (each.flow.src, each.flow.dst)}
    for block in blocks_of(case.proposal.policies):
        for address in inhabited - seen:
            excluded = any(address in hole for hole in block.excepts)
            assert address not in block.cidr or excluded


def blocks_of(policies: Iterable[Proposed]) -> Iterable[IPBlock]:
    for each in policies:
        for rule in (*each.policy.ingress, *each.policy.egress):
            yield from (peer for peer in rule.peers if isinstance(peer, IPBlock))


@given(clusters(max_policies=0))
def test_a_unit_selects_its_own_pods_and_no_others(snapshot: Snapshot) -> None:
    units = units_of(snapshot)
    for unit in units:
        matched = [
            pod.key
            for pod in snapshot.pods.values()
            if pod.key.namespace == unit.namespace
            and not pod.host_network
            and not pod.phase.terminated
            and unit.selector.matches(pod.labels)
        ]
        assert tuple(sorted(matched)) == unit.pods
    members = [key for unit in units for key in unit.pods]
    assert len(members) == len(set(members))


@given(cases())
def test_proposing_opens_nothing_unless_asked_to(case: Case) -> None:
    if case.options.wanted.denied:
        return
    proposal = case.proposal
    for flow in telling_flows(proposal.after):
        if is_to_or_from_a_unit_isolated_in_part(case.snapshot, flow):
            continue
        if evaluate(proposal.after, flow, case.settings).allowed:
            before = evaluate(case.snapshot, flow, case.settings)
            assert before.allowed, before


def is_to_or_from_a_unit_isolated_in_part(snapshot: Snapshot, flow: Flow) -> bool:
    units = unit_by_pod(units_of(snapshot))
    for address, direction in ((flow.src, Direction.EGRESS), (flow.dst, Direction.INGRESS)):
        pod = snapshot.owner(address)
        if pod is None:
            continue
        pods = [snapshot.pods[key] for key in units[pod.key].pods]
        if len({bool(isolating_policies(snapshot, each, direction)) for each in pods}) > 1:
            return True
    return False


@given(st.data())
def test_a_court_says_what_the_oracle_says(data: st.DataObject) -> None:
    snapshot, switches = data.draw(snapshots()), data.draw(settings())
    court = Court(snapshot, switches)
    for flow in telling_flows(snapshot, 100):
        assert court.decide(flow) == evaluate(snapshot, flow, switches)
