"""What a conformance case is, and short ways to write one.

A :class:`Case` is pure data: manifests to apply to the world, and what must then be possible and
what not. Expectations are written down by whoever wrote the case, as sets of machines; nothing here
knows how podwall reads a policy, so that a case can prove any part of podwall wrong, the oracle
included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from podwall.model.net import Family
from podwall.model.settings import Settings
from tests.conformance.world import EVERYONE, MACHINES, T80, Manifest, Probe

BOTH = (Family.V4, Family.V6)
INGRESS, EGRESS = "Ingress", "Egress"
DIRECTIONS = (INGRESS, EGRESS)
ABSENT: Any = object()
"""For a field that is left out, where an empty one would mean something else."""


class Expectation(msgspec.Struct, frozen=True):
    """A new connection between two machines, and whether it is possible."""

    src: str
    dst: str
    family: Family
    protocol: str
    port: int | None
    allowed: bool

    @property
    def pair(self) -> tuple[str, str, Family, str, int | None]:
        """What is asked, without the answer."""
        return self.src, self.dst, self.family, self.protocol, self.port

    def __str__(self) -> str:
        what = self.protocol if self.port is None else f"{self.protocol} {self.port}"
        can = "can" if self.allowed else "cannot"
        return f"{self.src} {can} reach {self.dst} on {what} over IPv{self.family.value}"


ObjectKey: TypeAlias = tuple[str, str, str]
"""Kind, namespace (empty for namespaces and nodes) and name."""


def object_key(manifest: Manifest) -> ObjectKey:
    meta = manifest["metadata"]
    return manifest["kind"], meta.get("namespace", ""), meta["name"]


class Step(msgspec.Struct, frozen=True):
    """Objects to create or replace, then objects to delete, then what must hold."""

    expect: tuple[Expectation, ...]
    apply: tuple[Manifest, ...] = ()
    delete: tuple[ObjectKey, ...] = ()
    note: str = ""


class Case(msgspec.Struct, frozen=True):
    """A story in steps, each on top of the one before; the first starts from the world.

    ``clauses`` are the numbers of the specification that it holds. Cases with ``settings`` other
    than the defaults need podwall to run with them. ``core`` cases together show every clause and
    every form; the others are the rest of their products, for whoever has the time.
    """

    name: str
    clauses: tuple[str, ...]
    steps: tuple[Step, ...]
    settings: Settings = Settings()
    core: bool = True

    @property
    def changes_the_world(self) -> bool:
        """Whether it touches anything but policies, so that the world must be restored after it."""
        return any(
            kind != "NetworkPolicy"
            for step in self.steps
            for kind, _, _ in (*map(object_key, step.apply), *step.delete)
        )

    def states(
        self, world: Iterable[Manifest]
    ) -> Iterator[tuple[Step, Mapping[ObjectKey, Manifest]]]:
        """Each step with all objects that exist once it is done."""
        objects = {object_key(each): each for each in world}
        for step in self.steps:
            objects.update((object_key(each), each) for each in step.apply)
            for key in step.delete:
                del objects[key]
            yield step, dict(objects)


def single(
    name: str, clauses: str, policies: Manifest | Sequence[Manifest], *expect: Iterable[Expectation]
) -> Case:
    """A case of one step; ``clauses`` is written ``"S13 S16"``."""
    applied = (policies,) if isinstance(policies, dict) else tuple(policies)
    return Case(name, tuple(clauses.split()), (step(*expect, apply=applied),))


def step(
    *expect: Iterable[Expectation],
    apply: Iterable[Manifest] = (),
    delete: Iterable[ObjectKey] = (),
    note: str = "",
) -> Step:
    """A step from several groups of expectations."""
    return Step(
        tuple(each for group in expect for each in group), tuple(apply), tuple(delete), note
    )


def expected(
    direction: str,
    subject: str,
    allowed: Iterable[str],
    *,
    probes: Iterable[Probe] = (T80,),
    among: Iterable[str] = EVERYONE,
    families: Iterable[Family] = BOTH,
) -> list[Expectation]:
    """What an isolated ``subject`` can reach (egress), or who can reach it (ingress).

    ``allowed`` are the peers that a policy lets in or out, all others of ``among`` are not; the own
    node always gets in (S42), and the subject itself is left out (S44).
    """
    let = set(allowed)
    if direction == INGRESS:
        let.add(MACHINES[subject].node)
    return [
        Expectation(
            *((peer, subject) if direction == INGRESS else (subject, peer)),
            family,
            *probe,
            allowed=peer in let,
        )
        for family in families
        for peer in sorted(set(among) - {subject})
        for probe in probes
    ]


def untouched(
    direction: str, subject: str, among: Iterable[str] = EVERYONE, probes: Iterable[Probe] = (T80,)
) -> list[Expectation]:
    """The subject is as open in ``direction`` as without any policy."""
    return expected(direction, subject, EVERYONE, among=among, probes=probes)


def other(direction: str) -> str:
    """The opposite direction."""
    return EGRESS if direction == INGRESS else INGRESS


def net_policy(
    subject: Manifest | str,
    *,
    name: str = "p",
    namespace: str = "red",
    types: Any = ABSENT,
    ingress: Any = ABSENT,
    egress: Any = ABSENT,
) -> Manifest:
    """A NetworkPolicy in its wire form; ``subject`` is a pod selector or a letter of the world."""
    spec: Manifest = {"podSelector": letter(subject) if isinstance(subject, str) else subject}
    for field, value in (("policyTypes", types), ("ingress", ingress), ("egress", egress)):
        if value is not ABSENT:
            spec[field] = value
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def isolating(
    direction: str,
    *rules: Manifest,
    subject: Manifest | str = "a",
    name: str = "p",
    namespace: str = "red",
) -> Manifest:
    """A policy of one direction with ``rules``, made by :func:`rule`."""
    return net_policy(
        subject,
        name=name,
        namespace=namespace,
        types=[direction],
        **{direction.lower(): list(rules)},
    )


def rule(direction: str, peers: Any = ABSENT, ports: Any = ABSENT) -> Manifest:
    """An ``ingress`` or ``egress`` entry; what is not given is absent."""
    written: Manifest = {}
    if peers is not ABSENT:
        written["from" if direction == INGRESS else "to"] = peers
    if ports is not ABSENT:
        written["ports"] = ports
    return written


def letter(*letters: str) -> Manifest:
    """The selector of the world's pods with these letters."""
    if len(letters) == 1:
        return {"matchLabels": {"pod": letters[0]}}
    return {"matchExpressions": [{"key": "pod", "operator": "In", "values": list(letters)}]}


def need(key: str, operator: str, *values: str) -> Manifest:
    """One entry of ``matchExpressions``."""
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


def block(cidr: str, *excepts: str) -> Manifest:
    """An ``ipBlock`` peer."""
    return {"ipBlock": {"cidr": cidr, **({"except": list(excepts)} if excepts else {})}}


def policy_key(name: str = "p", namespace: str = "red") -> ObjectKey:
    return "NetworkPolicy", namespace, name


def pod_key(name: str) -> ObjectKey:
    return "Pod", name.partition("/")[0], name.partition("/")[2]
