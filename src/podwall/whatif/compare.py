"""Compare two clusters: which connections open from one to the other, and which close.

Only pairs that the change can be about are asked: those with an end that is another one now, and
those whose own policies are others. Both clusters are asked by classes
(:mod:`podwall.explain.classes`), so a change of a large cluster costs what the change is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.explain.classes import Classes
from podwall.explain.ends import End
from podwall.explain.reach import NOTHING, Reach, minus
from podwall.model.flow import Flow
from podwall.model.net import Address
from podwall.model.objects import PodKey
from podwall.model.policy import Direction, Policy
from podwall.model.settings import Settings
from podwall.policy.decision import Decision
from podwall.policy.evaluate import evaluate
from podwall.whatif.causes import causes_between, causes_of, samples
from podwall.whatif.outcome import Cause, Outcome, Shift, Turn
from podwall.whatif.parties import Lot, Lots, Member, parties_between

_Ends: TypeAlias = tuple[Address, Address]

_Section: TypeAlias = tuple[Turn, bool]
"""Whether something opens or closes, and whether that is since a pod comes or goes."""


def compare(
    before: Snapshot,
    after: Snapshot,
    settings: Settings = Settings(),
    others: Iterable[End] = (),
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Outcome:
    """What opens and what closes on the way from ``before`` to ``after``.

    ``others`` are ends besides pods and nodes, such as addresses outside; those that belong to a
    pod are left out. ``progress`` is told how many of how many parties are done.
    """
    return _Comparison(before, after, settings).run(tuple(others), progress)


class _Pair(msgspec.Struct, frozen=True):
    """Two members, where they are before and after, and for how many pairs they stand."""

    source: Member
    target: Member
    before: _Ends | None
    after: _Ends | None
    count: int


class _Comparison:
    def __init__(self, before: Snapshot, after: Snapshot, settings: Settings) -> None:
        self._before, self._after, self._settings = before, after, settings
        self._classes = Classes(before, settings), Classes(after, settings)
        self._nodes_differ = before.nodes != after.nodes
        self._judged_anew = _judged_anew(before, after)

    def run(self, others: tuple[End, ...], progress: Callable[[int, int], None]) -> Outcome:
        parties = parties_between(self._before, self._after, others)
        families = sorted({each.family for each in (*self._before.owners, *self._after.owners)})
        lots = [[Lots(each, family, self._classes) for family in families] for each in parties]
        found: dict[_Section, list[Shift]] = defaultdict(list)
        pairs = changed = 0
        for done, source in enumerate(lots, start=1):
            for target in lots:
                both = list(zip(source, target, strict=True))
                if not any(mine.can_meet(theirs) for mine, theirs in both):
                    continue
                shifts = [
                    each
                    for mine, theirs in both
                    if self._is_concerned(mine, theirs)
                    for each in self._shifts(mine, theirs)
                ]
                pairs += 1
                changed += bool(shifts)
                for section, shift in _families_joined(shifts):
                    found[section].append(shift)
            progress(done, len(parties))
        return Outcome(
            opens=tuple(found[Turn.OPENS, False]),
            closes=tuple(found[Turn.CLOSES, False]),
            arrivals=tuple(found[Turn.OPENS, True]),
            departures=tuple(found[Turn.CLOSES, True]),
            comes=_only_in(self._after, self._before),
            goes=_only_in(self._before, self._after),
            unchanged=pairs - changed,
            pairs=pairs,
        )

    def _is_concerned(self, source: Lots, target: Lots) -> bool:
        if not source.can_meet(target):
            return False
        return (
            self._nodes_differ
            or source.touched
            or target.touched
            or source.has_any(self._judged_anew[Direction.EGRESS])
            or target.has_any(self._judged_anew[Direction.INGRESS])
        )

    def _shifts(self, source: Lots, target: Lots) -> list[tuple[_Section, Shift]]:
        """What changes from one party to another in one family."""
        total: dict[_Section, int] = defaultdict(int)
        found: dict[tuple[_Section, Reach], list[_Pair]] = defaultdict(list)
        usual: dict[Turn, set[Reach]] = defaultdict(set)
        moving: list[tuple[Turn, Reach, _Pair]] = []
        for pair in _pairs(*source.towards(target)):
            old, new = self._reach(0, pair.before), self._reach(1, pair.after)
            if pair.before is None or pair.after is None:
                turn = Turn.OPENS if pair.before is None else Turn.CLOSES
                total[turn, True] += pair.count
                moving.append((turn, minus(new, old) if pair.before is None else old, pair))
                continue
            usual[Turn.OPENS].add(new)
            usual[Turn.CLOSES].add(old)
            for turn, what in ((Turn.OPENS, minus(new, old)), (Turn.CLOSES, minus(old, new))):
                total[turn, False] += pair.count
                if not what.nothing:
                    found[(turn, False), what].append(pair)
        for turn, what, pair in moving:
            if not what.nothing and what not in usual[turn]:
                found[(turn, True), what].append(pair)
        return [
            (section, self._shift(section[0], what, pairs, total[section], source, target))
            for (section, what), pairs in found.items()
        ]

    def _reach(self, index: int, ends: _Ends | None) -> Reach:
        return NOTHING if ends is None else self._classes[index].reach(*ends)

    def _shift(
        self,
        turn: Turn,
        what: Reach,
        pairs: Sequence[_Pair],
        total: int,
        source: Lots,
        target: Lots,
    ) -> Shift:
        example = pairs[0]
        services = samples(what, source.family)
        ends = example.after if turn is Turn.OPENS else example.before
        assert ends is not None  # noqa: S101 - what opens is there after, what closes before
        return Shift(
            turn=turn,
            source=source.title,
            target=target.title,
            families=(source.family,),
            what=what,
            pairs=sum(each.count for each in pairs),
            of=total,
            example=Flow(*ends, *services[0]),
            example_source=example.source.title,
            example_target=example.target.title,
            causes=self._causes(example, services),
        )

    def _causes(self, pair: _Pair, services: Sequence[tuple[int, int | None]]) -> tuple[Cause, ...]:
        found: dict[Cause, None] = {}
        for service in services:
            old = self._decision(0, pair.before, service)
            new = self._decision(1, pair.after, service)
            if old is not None and new is not None:
                found |= dict.fromkeys(causes_between(old, new))
            elif (there := new or old) is not None:
                found |= dict.fromkeys(causes_of(there))
        return tuple(found)

    def _decision(
        self, index: int, ends: _Ends | None, service: tuple[int, int | None]
    ) -> Decision | None:
        if ends is None:
            return None
        return evaluate(self._classes[index].deciding(*ends), Flow(*ends, *service), self._settings)


def _judged_anew(before: Snapshot, after: Snapshot) -> dict[Direction, frozenset[str]]:
    """The pods whose own policies are others, by direction."""
    changed: list[Policy] = []
    for key in before.policies.keys() | after.policies.keys():
        old, new = before.policies.get(key), after.policies.get(key)
        if old != new:
            changed += [each for each in (old, new) if each is not None]
    return {
        direction: frozenset(
            str(pod.key)
            for policy in changed
            if direction in policy.isolates
            # Who has other labels than before is asked about in any case.
            for pod in after.pods.values()
            if pod.key.namespace == policy.key.namespace and policy.subject.matches(pod.labels)
        )
        for direction in Direction
    }


def _pairs(sources: Sequence[Lot], targets: Sequence[Lot]) -> Iterator[_Pair]:
    """One pair of different members for each two lots."""
    for lot in sources:
        for other in targets:
            if not (lot.is_pod or other.is_pod):
                continue
            same = len(lot.titles & other.titles)
            found = next(
                (
                    (mine, theirs)
                    for mine in lot.members
                    for theirs in other.members
                    if mine.member.title != theirs.member.title
                ),
                None,
            )
            if found is None:
                continue
            mine, theirs = found
            before = _ends(mine.before, theirs.before)
            after = _ends(mine.after, theirs.after)
            if before is not None or after is not None:
                count = len(lot.members) * len(other.members) - same
                yield _Pair(mine.member, theirs.member, before, after, count)


def _ends(src: Address | None, dst: Address | None) -> _Ends | None:
    return None if src is None or dst is None else (src, dst)


def _families_joined(
    shifts: Iterable[tuple[_Section, Shift]],
) -> Iterator[tuple[_Section, Shift]]:
    """Put together what is so in both families."""
    found: dict[object, tuple[_Section, Shift]] = {}
    for section, shift in shifts:
        same = (section, shift.what, shift.causes, shift.pairs, shift.of)
        if same in found:
            families = (*found[same][1].families, *shift.families)
            shift = msgspec.structs.replace(found[same][1], families=families)  # noqa: PLW2901
        found[same] = (section, shift)
    yield from found.values()


def _only_in(one: Snapshot, other: Snapshot) -> tuple[PodKey, ...]:
    return tuple(
        pod.key
        for pod in one.pods.values()
        if one.owned_addresses(pod)
        and not (pod.key in other.pods and other.owned_addresses(other.pods[pod.key]))
    )
