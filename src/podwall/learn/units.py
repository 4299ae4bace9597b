"""Workloads as policies can name them: groups of pods with the fewest labels that select just them.

Most workloads have a label of their own. Where one's labels are on others, too, ``DoesNotExist``
may tell them apart; where nothing does, they are one :class:`Unit`, for a policy that names one of
them is a policy for all. Each pod that a selector could match is in exactly one unit, and the
selector of a unit matches the pods of that unit and no others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.learn.labels import is_weak, preference, stable_labels
from podwall.model.objects import Pod, PodKey
from podwall.model.selector import Operator, Requirement, Selector, selector

_MOST_LABELS = 4
_MOST_CANDIDATES = 24


class Unit(msgspec.Struct, frozen=True):
    """Pods of one namespace that policies treat as one.

    Attributes:
        namespace: where they are.
        workloads: what they belong to, ``deployment/web``; more than one where labels do not tell
            them apart.
        selector: matches exactly ``pods`` in the namespace.
        pods: their keys, sorted.
    """

    namespace: str
    workloads: tuple[str, ...]
    selector: Selector
    pods: tuple[PodKey, ...]

    def __hash__(self) -> int:
        # One lists thousands of pods, and is looked up for every connection that was seen.
        return hash((self.namespace, self.workloads))

    @property
    def title(self) -> str:
        """``shop/deployment/web``; of several workloads all names."""
        return f"{self.namespace}/{' + '.join(self.workloads)}"

    @property
    def stem(self) -> str:
        """What a policy for it is named after."""
        return self.workloads[0].partition("/")[2]

    @property
    def sort_key(self) -> tuple[str, tuple[str, ...]]:
        """Orders units."""
        return self.namespace, self.workloads


def units_of(snapshot: Snapshot) -> tuple[Unit, ...]:
    """The units of all pods that policies can be about, sorted."""
    by_namespace: dict[str, list[Pod]] = {}
    for pod in snapshot.pods.values():
        if not pod.host_network and not pod.phase.terminated:
            by_namespace.setdefault(pod.key.namespace, []).append(pod)
    units = itertools.chain.from_iterable(
        _units_in(namespace, pods) for namespace, pods in by_namespace.items()
    )
    return tuple(sorted(units, key=lambda unit: unit.sort_key))


def unit_by_pod(units: Iterable[Unit]) -> Mapping[PodKey, Unit]:
    """The unit of each pod."""
    return {key: unit for unit in units for key in unit.pods}


def workload_title(pod: Pod) -> str:
    """``deployment/web``; a pod of its own is ``pod/name``."""
    if not pod.workload:
        return f"pod/{pod.key.name}"
    kind, _, name = pod.workload.partition("/")
    return f"{kind.lower()}/{name}"


class _Group:
    """Workloads that are one unit, while units are being found: bits of pods stand for sets."""

    def __init__(self, titles: frozenset[str], pods: int, labels: Mapping[str, str]) -> None:
        self.titles = titles
        self.pods = pods
        self.labels = labels


def _units_in(namespace: str, pods: Sequence[Pod]) -> list[Unit]:
    space = _Space(pods)
    groups = _separable(space)
    return [
        Unit(
            namespace,
            tuple(sorted(group.titles)),
            selector(None, space.fewest(group)),
            tuple(sorted(pod.key for pod in space.members(group.pods))),
        )
        for group in groups
    ]


def _separable(space: _Space) -> list[_Group]:
    """Groups that labels tell apart: those that they do not are put together until all are."""
    pending = list(space.groups())
    done: list[_Group] = []
    while pending:
        group = pending.pop(0)
        others = [
            each for each in (*pending, *done) if each.pods & space.narrowest(group) & ~group.pods
        ]
        if not others:
            done.append(group)
            continue
        pending = [each for each in pending if each not in others]
        done = [each for each in done if each not in others]
        pending.append(_joined([group, *others]))
    return done


def _joined(groups: Sequence[_Group]) -> _Group:
    titles = frozenset[str]().union(*(each.titles for each in groups))
    pods = 0
    labels = dict(groups[0].labels)
    for each in groups:
        pods |= each.pods
        labels = {key: value for key, value in labels.items() if each.labels.get(key) == value}
    return _Group(titles, pods, labels)


class _Space:
    """The pods of a namespace, and which of them a requirement matches, as bits."""

    def __init__(self, pods: Sequence[Pod]) -> None:
        self._pods = sorted(pods, key=lambda pod: pod.key)
        self._everyone = (1 << len(self._pods)) - 1
        self._masks: dict[Requirement, int] = {}
        self._stable = [stable_labels(pod.labels, pod.workload) for pod in self._pods]
        self._keys: dict[str, int] = {}
        for index, pod in enumerate(self._pods):
            for key in pod.labels:
                self._keys[key] = self._keys.get(key, 0) | 1 << index

    def groups(self) -> list[_Group]:
        """One group for each workload, with the stable labels that all its pods have."""
        by_title: dict[str, list[int]] = {}
        for index, pod in enumerate(self._pods):
            by_title.setdefault(workload_title(pod), []).append(index)
        return [
            _joined(
                [_Group(frozenset((title,)), 1 << each, self._stable[each]) for each in indexes]
            )
            for title, indexes in sorted(by_title.items())
        ]

    def members(self, mask: int) -> list[Pod]:
        """The pods of a set of bits."""
        return [pod for index, pod in enumerate(self._pods) if mask >> index & 1]

    def narrowest(self, group: _Group) -> int:
        """The pods that remain when everything that is known of a group is asked for."""
        mask = self._everyone
        for each in self._candidates(group):
            mask &= self._mask(each)
        return mask

    def fewest(self, group: _Group) -> tuple[Requirement, ...]:
        """The fewest requirements that match the pods of a group only, the best of equal ones."""
        candidates = [
            each
            for each in self._candidates(group)
            if each.operator is Operator.IN or self._mask(each) != self._everyone
        ]
        if not candidates:
            return ()
        strong = _leading(candidates)
        offered = candidates[:_MOST_CANDIDATES]
        for size in range(1, min(_MOST_LABELS, len(offered)) + 1):
            for chosen in itertools.combinations(offered, size):
                if self._match(chosen) == group.pods and not strong.isdisjoint(chosen):
                    return chosen
        return self._greedy(group, candidates)

    def _greedy(self, group: _Group, candidates: Sequence[Requirement]) -> tuple[Requirement, ...]:
        chosen: list[Requirement] = []
        while self._match(chosen) != group.pods:
            left = [each for each in candidates if each not in chosen]
            chosen.append(min(left, key=lambda each: self._match([*chosen, each]).bit_count()))
        return tuple(chosen)

    def _candidates(self, group: _Group) -> list[Requirement]:
        """What holds for every pod of a group: its labels, and those that only others have."""
        found = [Requirement(key, Operator.IN, (value,)) for key, value in group.labels.items()]
        named = self._everyone
        for each in found:
            named &= self._mask(each)
        strangers = named & ~group.pods
        if strangers:
            foreign = {key for pod in self.members(strangers) for key in _stable_keys(pod)}
            found += [
                Requirement(key, Operator.DOES_NOT_EXIST)
                for key in foreign
                if not self._keys[key] & group.pods
            ]
        return sorted(found, key=preference)

    def _match(self, requirements: Iterable[Requirement]) -> int:
        mask = self._everyone
        for each in requirements:
            mask &= self._mask(each)
        return mask

    def _mask(self, requirement: Requirement) -> int:
        if requirement not in self._masks:
            self._masks[requirement] = sum(
                1 << index
                for index, pod in enumerate(self._pods)
                if requirement.matches(pod.labels)
            )
        return self._masks[requirement]


def _leading(candidates: Sequence[Requirement]) -> set[Requirement]:
    """Of which one at least has to be in a selector: what names, rather than what tells apart."""
    present = [each for each in candidates if each.operator is Operator.IN]
    return {each for each in present if not is_weak(each.key)} or set(present or candidates)


def _stable_keys(pod: Pod) -> Iterable[str]:
    return stable_labels(pod.labels, pod.workload)
