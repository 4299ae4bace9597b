"""Whether policies keep a promise: the oracle is asked about every pair of ends that it means.

Some pairs of a wide end (a block, ``any``) no policy can do anything about: a pod and itself, a
pod's own node, two hosts outside, addresses of a pod range that no pod has. They are left out,
since otherwise nobody could promise that a database is closed to everybody else.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.errors import InputError
from podwall.explain.classes import Classes
from podwall.explain.ends import Service
from podwall.explain.reach import Reach
from podwall.model.flow import Flow, Verdict
from podwall.model.net import Family, PortRange, Protocol
from podwall.model.settings import Settings
from podwall.policy.decision import Decision, Exemption
from podwall.policy.evaluate import evaluate
from podwall.promises.model import Promise
from podwall.promises.spots import Spot, find_spots
from podwall.promises.why import why

MOST_EXAMPLES = 5
"""So many of the pairs that break a promise are told with their reasons."""

LAST_PORT = 65535


class Pair(msgspec.Struct, frozen=True):
    """One question of a promise; without a ``service`` every protocol and port is meant."""

    source: Spot
    target: Spot
    service: Service | None

    @property
    def family(self) -> Family:
        """The family of both addresses."""
        return self.source.address.family


class Breach(msgspec.Struct, frozen=True):
    """A pair that is not as promised: a connection, what becomes of it, and why."""

    source: str
    target: str
    service: str
    flow: Flow
    verdict: Verdict
    why: tuple[str, ...]

    def __str__(self) -> str:
        ends = f"{self.source} → {self.target} {self.service}"
        return f"{ends} is {self.verdict.value} ({self.flow.src} → {self.flow.dst})"


class Judgement(msgspec.Struct, frozen=True):
    """What is true of a promise.

    ``pairs`` were asked about and ``broken`` of them are not as promised, the first of which are
    ``breaches``. ``fault`` says why nothing could be asked.
    """

    promise: Promise
    pairs: int = 0
    broken: int = 0
    breaches: tuple[Breach, ...] = ()
    fault: str = ""

    @property
    def kept(self) -> bool:
        """Whether all of it is as promised."""
        return not self.fault and not self.broken


def judge_promises(
    snapshot: Snapshot,
    promises: Iterable[Promise],
    settings: Settings = Settings(),
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[Judgement, ...]:
    """Judge every promise, in order; ``progress`` is told how many of how many are done."""
    given = tuple(promises)
    judge = Judge(snapshot, settings)
    found = []
    for done, promise in enumerate(given, start=1):
        found.append(judge.judge(promise))
        progress(done, len(given))
    return tuple(found)


class Judge:
    """Asks the oracle about a cluster, once about pairs that it cannot tell apart."""

    def __init__(self, snapshot: Snapshot, settings: Settings = Settings()) -> None:
        self._snapshot = snapshot
        self._settings = settings
        self._classes = Classes(snapshot, settings)

    def judge(self, promise: Promise) -> Judgement:
        """What is true of a promise."""
        try:
            sources = find_spots(self._snapshot, promise.source)
            targets = find_spots(self._snapshot, promise.target)
        except InputError as error:
            return Judgement(promise, fault=str(error))
        asked = broken = 0
        breaches: list[Breach] = []
        for pair, verdict in self._asked(sources, targets, promise):
            asked += 1
            if verdict is not promise.expect:
                broken += 1
                if len(breaches) < MOST_EXAMPLES:
                    breaches.append(self._breach(pair, promise.expect))
        if not asked:
            return Judgement(promise, fault=_why_nothing(sources, targets))
        return Judgement(promise, asked, broken, tuple(breaches))

    def pairs(self, promise: Promise) -> Iterator[Pair]:
        """The pairs that a promise means; none if it means nobody."""
        try:
            sources = find_spots(self._snapshot, promise.source)
            targets = find_spots(self._snapshot, promise.target)
        except InputError:
            return
        for pair, _verdict in self._asked(sources, targets, promise):
            yield pair

    def _asked(
        self, sources: Sequence[Spot], targets: Sequence[Spot], promise: Promise
    ) -> Iterator[tuple[Pair, Verdict]]:
        """Every pair that counts; where all ports are meant, the verdict is that on the worst."""
        known: dict[Hashable, tuple[Verdict | None, ...]] = {}
        services = promise.services or (None,)
        classes = [(each, self._classes.of(each.address)) for each in targets]
        for source in sources:
            its = self._classes.of(source.address)
            for target, other in classes:
                if not _is_pair(source, target):
                    continue
                # Only where one end is a node does it matter on which node the other one is.
                nodes = (its, other) if its.nodes or other.nodes else None
                wide = source.wide, target.wide
                key = (its.number, other.number, source.address.family, wide, nodes)
                if key not in known:
                    asked = (Pair(source, target, service) for service in services)
                    known[key] = tuple(self._verdict(each, promise.expect) for each in asked)
                for service, verdict in zip(services, known[key], strict=True):
                    if verdict is not None:
                        yield Pair(source, target, service), verdict

    def _verdict(self, pair: Pair, expect: Verdict) -> Verdict | None:
        """What becomes of a pair, ``None`` if it does not count."""
        decision = self._decide(pair, expect)
        return None if is_out_of_reach(pair, decision) else decision.verdict

    def _decide(self, pair: Pair, expect: Verdict) -> Decision:
        """The decision on a pair; where all ports are meant, on one that is not as expected."""
        src, dst = pair.source.address, pair.target.address
        if pair.service is not None:
            protocol, port = _protocol(pair.service.protocol, pair.family), pair.service.port
        else:
            found = self._classes.reach(src, dst)
            protocol, port = _contrary(found, expect, pair.family)
        deciding = self._classes.deciding(src, dst)
        return evaluate(deciding, Flow(src, dst, protocol, port), self._settings)

    def _breach(self, pair: Pair, expect: Verdict) -> Breach:
        """A pair that is not as expected, with reasons of its own and not of one like it."""
        decision = self._decide(pair, expect)
        flow, service = decision.flow, pair.service
        if service is None:
            icmp = flow.port is None
            service = Service(Protocol.ICMP if icmp else Protocol(flow.protocol), flow.port)
        return Breach(
            source=pair.source.title,
            target=pair.target.title,
            service=str(service),
            flow=flow,
            verdict=decision.verdict,
            why=why(self._snapshot, decision),
        )


def _is_pair(source: Spot, target: Spot) -> bool:
    """Whether a packet can go from one to the other: no pod asks itself for leave."""
    if source.address.family is not target.address.family or source.address == target.address:
        return False
    return source.pod is None or source.pod != target.pod


def is_out_of_reach(pair: Pair, decision: Decision) -> bool:
    """Whether no policy can do anything about a pair, and nobody asked for just this one."""
    egress, ingress = decision.egress.exemption, decision.ingress.exemption
    if pair.source.wide and ingress is Exemption.OWN_NODE:
        return True
    if pair.target.wide and egress is Exemption.NODE_EGRESS:
        return True
    if pair.source.wide and egress is Exemption.UNKNOWN_POD:
        return True
    if pair.target.wide and ingress is Exemption.UNKNOWN_POD:
        return True
    wide = pair.source.wide or pair.target.wide
    return wide and egress is ingress is Exemption.NOT_A_POD


def _contrary(found: Reach, expect: Verdict, family: Family) -> tuple[Protocol, int | None]:
    """A protocol and port that are not as expected, the first one if there is any."""
    wanted = expect is Verdict.ALLOWED
    for protocol, ranges in found.ports:
        port = _first_outside(ranges) if wanted else next((each.first for each in ranges), None)
        if port is not None:
            return protocol, port
    if found.icmp is not wanted:
        return _protocol(Protocol.ICMP, family), None
    return Protocol.TCP, 1


def _first_outside(ranges: Sequence[PortRange]) -> int | None:
    """The lowest port that is in none of ``ranges``, which are merged and sorted."""
    if not ranges or ranges[0].first > 1:
        return 1
    return ranges[0].last + 1 if ranges[0].last < LAST_PORT else None


def _protocol(protocol: Protocol, family: Family) -> Protocol:
    icmp6 = protocol is Protocol.ICMP and family is Family.V6
    return Protocol.ICMPV6 if icmp6 else protocol


def _why_nothing(sources: Sequence[Spot], targets: Sequence[Spot]) -> str:
    families = {each.address.family for each in sources} & {each.address.family for each in targets}
    if not families:
        return "the two ends have no addresses of one family"
    return "no pair of these ends is one that policies decide about"
