"""Which pods a selector means, in words: by workload, with a count and a few names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from podwall.cluster.snapshot import Snapshot
from podwall.model.objects import NAME_LABEL, Pod
from podwall.model.policy import NamedPort, PodPeer, Policy
from podwall.model.selector import Operator, Selector
from podwall.policy.resolve import number_of


class Crowd:
    """The pods of one snapshot that policies can mean: neither on the host's network nor ended."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._by_namespace: dict[str, list[Pod]] = {}
        for pod in snapshot.pods.values():
            if not (pod.host_network or pod.phase.terminated):
                self._by_namespace.setdefault(pod.key.namespace, []).append(pod)

    def of(self, namespace: str) -> Sequence[Pod]:
        """The pods of a namespace, by name."""
        return self._by_namespace.get(namespace, ())

    def subjects(self, policy: Policy) -> tuple[Pod, ...]:
        """The pods that ``policy`` selects."""
        return tuple(
            each for each in self.of(policy.key.namespace) if policy.subject.matches(each.labels)
        )

    def namespaces(self, peer: PodPeer) -> tuple[str, ...]:
        """The namespaces in which ``peer`` looks for pods; one whose labels are not known is none
        that a selector matches.
        """  # noqa: D205 - one sentence
        if isinstance(peer.namespaces, str):
            return (peer.namespaces,)
        wanted = peer.namespaces
        known = self._snapshot.namespaces.values()
        return tuple(each.name for each in known if wanted.matches(each.labels))

    def peers(self, peer: PodPeer) -> tuple[Pod, ...]:
        """The pods that ``peer`` means."""
        return tuple(
            pod
            for namespace in self.namespaces(peer)
            for pod in self.of(namespace)
            if peer.pods.matches(pod.labels)
        )


def workload_of(pod: Pod) -> str:
    """What a pod belongs to, without its kind; the pod itself if to nothing."""
    return pod.workload.partition("/")[2] or pod.workload or pod.key.name


def counted(pods: Iterable[Pod]) -> tuple[str, ...]:
    """Workloads and how many pods each has, most first; with namespaces if there are several."""
    pods = list(pods)
    several = len({each.key.namespace for each in pods}) > 1
    counts = Counter(
        (f"{each.key.namespace}/" if several else "") + workload_of(each) for each in pods
    )
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return tuple(f"{name} ×{count}" if count > 1 else name for name, count in ordered)


def some(words: Sequence[str], most: int) -> str:
    """The first of ``words``, and how many were left out."""
    left = len(words) - most
    text = ", ".join(words[:most])
    return f"{text} and {left} more" if left > 0 else text


def plural(count: int, word: str) -> str:
    """``1 pod``, ``2 pods``, ``no pod``."""
    many = word[:-1] + "ies" if word.endswith("y") else word + "s"
    return f"no {word}" if not count else f"{count} {word if count == 1 else many}"


def name_of_namespace(selector: Selector) -> str:
    """The name, where a selector asks for nothing but one; else nothing."""
    match selector.requirements:
        case (one,) if one.key == NAME_LABEL and one.operator is Operator.IN:
            return one.values[0] if len(one.values) == 1 else ""
        case _:
            return ""


def numbers_of(pods: Iterable[Pod], port: NamedPort) -> tuple[int, ...]:
    """The numbers that a port's name stands for among ``pods``."""
    found = {number_of(each, port) for each in pods}
    return tuple(sorted(each for each in found if each is not None))
