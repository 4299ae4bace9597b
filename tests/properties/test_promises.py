"""A promise is kept exactly if the oracle says so of every single connection that it means."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from podwall.cluster.snapshot import Snapshot, is_usable
from podwall.errors import InputError
from podwall.explain.ends import Service
from podwall.model.flow import Flow, Verdict
from podwall.model.net import Cidr, Family, Protocol
from podwall.model.selector import EVERYTHING
from podwall.model.settings import Settings
from podwall.policy.evaluate import evaluate
from podwall.promises.judging import Judge, Pair, is_out_of_reach
from podwall.promises.model import Anyone, Block, LabelledPods, Place, Promise, Who
from podwall.promises.spots import Spot, find_spots
from tests.strategies import UNIVERSE, settings, snapshots
from tests.universe import CIDRS

VERDICTS = st.sampled_from(tuple(Verdict))
SERVICES = st.sampled_from(
    (
        Service(Protocol.TCP, 80),
        Service(Protocol.TCP, 81),
        Service(Protocol.UDP, 80),
        Service(Protocol.SCTP, 79),
        Service(Protocol.ICMP),
    )
)
PODS = LabelledPods(EVERYTHING, EVERYTHING)


def promise(source: Who, target: Who, expect: Verdict, *services: Service) -> Promise:
    return Promise("it", source, target, expect, services, Place("file", 1))


def flow(source: Spot, target: Spot, service: Service) -> Flow:
    protocol = service.protocol
    if protocol is Protocol.ICMP and source.address.family is Family.V6:
        protocol = Protocol.ICMPV6
    return Flow(source.address, target.address, protocol, service.port)


def naive(
    snapshot: Snapshot,
    sources: tuple[Spot, ...],
    targets: tuple[Spot, ...],
    service: Service,
    rules: Settings,
) -> list[Verdict]:
    """The verdict on every pair that counts, one question at a time."""
    found = []
    for source in sources:
        for target in targets:
            same = source.address == target.address
            if same or (source.pod is not None and source.pod == target.pod):
                continue
            if source.address.family is target.address.family:
                decision = evaluate(snapshot, flow(source, target, service), rules)
                if not is_out_of_reach(Pair(source, target, service), decision):
                    found.append(decision.verdict)
    return found


@given(snapshots(), SERVICES, VERDICTS, settings())
def test_every_pair_is_counted_as_the_oracle_judges_it(
    snapshot: Snapshot, service: Service, expect: Verdict, rules: Settings
) -> None:
    found = Judge(snapshot, rules).judge(promise(PODS, PODS, expect, service))
    if found.fault:
        return
    spots = find_spots(snapshot, PODS)
    verdicts = naive(snapshot, spots, spots, service, rules)
    assert found.pairs == len(verdicts)
    assert found.broken == sum(each is not expect for each in verdicts)


@given(snapshots(), st.sampled_from(CIDRS), SERVICES, VERDICTS, settings(), st.booleans())
def test_what_is_true_of_a_block_is_true_of_each_of_its_addresses(
    snapshot: Snapshot,
    cidr: Cidr,
    service: Service,
    expect: Verdict,
    rules: Settings,
    inwards: bool,
) -> None:
    block = Block(cidr)
    ends = (block, PODS) if inwards else (PODS, block)
    found = Judge(snapshot, rules).judge(promise(*ends, expect, service))
    inside = tuple(
        Spot(str(address), address, snapshot.owners.get(address), wide=cidr.prefix != family.bits)
        for address in UNIVERSE
        if (family := address.family) is cidr.family and address in cidr and is_usable(address)
    )
    try:
        pods = find_spots(snapshot, PODS)
    except InputError:
        return
    spots = (inside, pods) if inwards else (pods, inside)
    verdicts = naive(snapshot, *spots, service, rules)
    if found.kept:
        assert set(verdicts) <= {expect}
    elif found.fault:
        assert not verdicts


@given(snapshots(), VERDICTS, settings(), SERVICES)
def test_a_promise_about_all_ports_holds_for_each(
    snapshot: Snapshot, expect: Verdict, rules: Settings, service: Service
) -> None:
    judge = Judge(snapshot, rules)
    if judge.judge(promise(Anyone(), PODS, expect)).kept:
        assert judge.judge(promise(Anyone(), PODS, expect, service)).kept
    if judge.judge(promise(PODS, Anyone(), expect)).kept:
        assert judge.judge(promise(PODS, Anyone(), expect, service)).kept
