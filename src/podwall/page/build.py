"""From a cluster to the content of a page.

A page has to stay of a size that a browser and a mail can carry, so what grows without bounds has a
budget: explanations and pictures. What does not fit is left out and said so; ``podwall ui`` makes
it on demand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from podwall.check.finding import Finding
from podwall.cluster.snapshot import Snapshot
from podwall.explain import matrix as matrices
from podwall.explain.classes import Classes
from podwall.explain.ends import End
from podwall.explain.reach import Reach
from podwall.model.objects import Pod, PodKey
from podwall.model.policy import Direction, Policy, PolicyKey, PolicyRule
from podwall.model.settings import Settings
from podwall.page.content import (
    Content,
    Drawing,
    Found,
    Member,
    Party,
    PolicyCard,
    Told,
)
from podwall.page.content import Reach as ReachContent
from podwall.page.telling import Teller, representatives, services
from podwall.ruleset.ir import Ruleset

MOST_EXPLANATIONS = 6_000
"""So many explanations a page carries; one is some three hundred bytes."""

MOST_OUTSIDE = 24
"""So many addresses outside the cluster get a row; of each block there could be three."""

MOST_PICTURE_BYTES = 1_800_000
"""Pictures are added up to this size."""

OUTSIDE = "outside"
NODES = "nodes"

Progress = Callable[[int, int], None]
Draw = Callable[[PolicyKey], Iterator[Drawing]]


class Subject(msgspec.Struct, frozen=True):
    """What a page is about.

    Attributes:
        title, source: how it is called, and where it came from.
        snapshot, settings: the cluster, and how it is judged.
        ruleset_of: what the kernel of a node shall hold.
        findings: what ``check`` found.
        problems: what is wrong with the input, a sentence each.
        outside: addresses outside the cluster that are worth a row.
        draw: makes the pictures of a policy.
    """

    title: str
    source: str
    snapshot: Snapshot
    settings: Settings
    ruleset_of: Callable[[str], Ruleset]
    findings: tuple[Finding, ...] = ()
    problems: tuple[str, ...] = ()
    outside: tuple[End, ...] = ()
    draw: Draw = lambda _key: iter(())


def build(
    subject: Subject,
    *,
    live: bool = False,
    explanations: int = MOST_EXPLANATIONS,
    picture_bytes: int = MOST_PICTURE_BYTES,
    progress: Progress = lambda _done, _total: None,
) -> Content:
    """Everything that a page shows of ``subject``.

    With ``live`` the page asks its server for what is left out. ``progress`` is told how many of
    how many steps are done.
    """
    snapshot = subject.snapshot
    outside = subject.outside[:MOST_OUTSIDE]
    parties = _in_order(matrices.parties_of(snapshot, True, outside), snapshot)
    steps = len(parties) * 2
    matrix = matrices.compute_matrix(
        snapshot, parties, subject.settings, lambda done, _total: progress(done, steps)
    )
    index = {party.title: number for number, party in enumerate(parties)}
    reaches: dict[Reach, int] = {}
    answers: dict[tuple[int, ...], int] = {}
    families = {family: number for number, family in enumerate(matrix.families)}
    size = len(parties)
    cells = [[[-1] * size for _ in range(size)] for _ in matrix.families]
    for cell in matrix.cells:
        answer = tuple(reaches.setdefault(each, len(reaches)) for each in cell.reaches)
        number = answers.setdefault(answer, len(answers))
        cells[families[cell.family]][index[cell.target]][index[cell.source]] = number
    told, kept, teller = _explanations(subject, matrix, parties, explanations, progress)
    cards, without = _cards(subject, parties, picture_bytes)
    left_out = []
    if len(outside) < len(subject.outside):
        more = len(subject.outside) - len(outside)
        left_out.append(f"{more} more addresses outside the cluster have no row.")
    if not live and explanations and len(kept) >= explanations:
        left_out.append("Not every cell carries its explanation: there are too many.")
    if without:
        left_out.append(f"{without} policies have no picture here: the page would be too large.")
    return Content(
        title=subject.title,
        source=subject.source,
        families=tuple(f"IPv{family.value}" for family in matrix.families),
        pods=len(snapshot.pods),
        parties=tuple(_party(snapshot, each) for each in parties),
        reaches=tuple(map(_reach, reaches)),
        answers=tuple(answers),
        cells=tuple(tuple(map(tuple, rows)) for rows in cells),
        texts=teller.texts,
        parts=teller.parts,
        explanations=tuple(kept),
        told=told,
        policies=cards,
        problems=subject.problems,
        left_out=tuple(left_out),
        live=live,
    )


def _in_order(parties: Sequence[matrices.Party], snapshot: Snapshot) -> list[matrices.Party]:
    """Workloads by namespace, then nodes, then what is outside."""
    return sorted(parties, key=lambda each: (_rank(each), _place(each, snapshot)))


def _rank(party: matrices.Party) -> int:
    if any(end.pod for end in party.ends):
        return 0
    return 1 if party.title.startswith("node/") else 2


def _place(party: matrices.Party, snapshot: Snapshot) -> tuple[str, str]:
    return (_namespace(party, snapshot), party.title) if not _rank(party) else ("", "")


def _namespace(party: matrices.Party, snapshot: Snapshot) -> str:
    pod = _first_pod(party, snapshot)
    if pod is not None:
        return pod.key.namespace
    return NODES if party.title.startswith("node/") else OUTSIDE


def _first_pod(party: matrices.Party, snapshot: Snapshot) -> Pod | None:
    return next((pod for end in party.ends if (pod := _pod(end, snapshot)) is not None), None)


def _pod(end: End, snapshot: Snapshot) -> Pod | None:
    return None if end.pod is None else snapshot.pods.get(end.pod)


def _party(snapshot: Snapshot, party: matrices.Party) -> Party:
    namespace = _namespace(party, snapshot)
    pods = [pod for end in party.ends if (pod := _pod(end, snapshot)) is not None]
    labels = [set(pod.labels.items()) for pod in pods]
    common = sorted(set.intersection(*labels)) if labels else []
    ports = dict.fromkeys(port for pod in pods for port in pod.ports)
    kind = (pods[0].workload.partition("/")[0].lower() or "pod") if pods else "address"
    return Party(
        namespace=namespace,
        name=party.title.removeprefix(f"{namespace}/") if pods else party.title,
        kind="node" if namespace == NODES and not pods else kind,
        members=tuple(
            Member(end.title, tuple(map(str, end.addresses)), pod.node if pod else "")
            for end in party.ends
            for pod in (_pod(end, snapshot),)
        ),
        labels=tuple(f"{key}={value}" for key, value in common),
        ports=tuple(
            f"{each.number}/{each.protocol.name.lower()}" + (f" ({each.name})" if each.name else "")
            for each in ports
        ),
    )


def _reach(reach: Reach) -> ReachContent:
    kind = "all" if reach.everything else "none" if reach.nothing else "some"
    return ReachContent(
        text=str(reach),
        kind=kind,
        ports={
            protocol.name.lower(): [(each.first, each.last) for each in ranges]
            for protocol, ranges in reach.ports
        },
        icmp=reach.icmp,
    )


def _explanations(
    subject: Subject,
    matrix: matrices.ReachMatrix,
    parties: Sequence[matrices.Party],
    most: int,
    progress: Progress,
) -> tuple[dict[str, tuple[int, ...]], list[Told], Teller]:
    """Explanations by cell; where not all fit, each cell gets one before any gets two."""
    teller = Teller(subject.snapshot, subject.settings, subject.ruleset_of)
    classes = Classes(subject.snapshot, subject.settings)
    index = {party.title: number for number, party in enumerate(parties)}
    families = {family: number for number, family in enumerate(matrix.families)}
    each_cell = max(1, most // max(1, len(matrix.cells)))
    kept: list[Told] = []
    told: dict[str, tuple[int, ...]] = {}
    for cell in matrix.cells if most else ():
        if len(kept) >= most:
            break
        source, target = index[cell.source], index[cell.target]
        pairs = representatives(
            classes, parties[source], parties[target], cell.family, len(cell.reaches)
        )
        numbers: list[int] = []
        for pair in pairs:
            reach = classes.reach(pair.source.addresses[0], pair.target.addresses[0])
            for service in services(subject.snapshot, pair, reach):
                if len(numbers) < each_cell:
                    for explained in teller.tell(pair, service):
                        numbers.append(len(kept))
                        kept.append(explained)
        told[f"{families[cell.family]},{target},{source}"] = tuple(numbers)
        progress(len(parties) + source, len(parties) * 2)
    return told, kept, teller


def _cards(
    subject: Subject, parties: Sequence[matrices.Party], picture_bytes: int
) -> tuple[tuple[PolicyCard, ...], int]:
    """The policies, and how many of them got no picture."""
    snapshot = subject.snapshot
    found: dict[PolicyKey, list[Found]] = {}
    for each in subject.findings:
        found.setdefault(each.policy, []).append(
            Found(each.severity.value, each.code, each.path, each.message, each.clause)
        )
    party_of = {
        end.pod: number
        for number, party in enumerate(parties)
        for end in party.ends
        if end.pod is not None
    }
    cards: list[PolicyCard] = []
    left, without = picture_bytes, 0
    for key, policy in snapshot.policies.items():
        pictures = tuple(subject.draw(key)) if left > 0 else ()
        size = sum(len(each.svg) for each in pictures)
        if not pictures or size > left:
            pictures, size, without = (), 0, without + 1
        left -= size
        cards.append(_card(policy, _selected(snapshot, policy), party_of, found, pictures))
    return tuple(cards), without if picture_bytes else 0


def _selected(snapshot: Snapshot, policy: Policy) -> list[Pod]:
    return [
        pod
        for pod in snapshot.pods.values()
        if pod.key.namespace == policy.key.namespace
        and not pod.host_network
        and policy.subject.matches(pod.labels)
    ]


def _card(
    policy: Policy,
    pods: Sequence[Pod],
    party_of: Mapping[PodKey, int],
    found: Mapping[PolicyKey, list[Found]],
    pictures: tuple[Drawing, ...],
) -> PolicyCard:
    numbers = {party_of[pod.key] for pod in pods if pod.key in party_of}
    return PolicyCard(
        namespace=policy.key.namespace,
        name=policy.key.name,
        audited=policy.is_audited,
        isolates=tuple(each.value for each in policy.isolates),
        subject=str(policy.subject),
        pods=len(pods),
        selects=tuple(sorted(numbers)),
        rules=tuple(
            _rule_words(rule) for direction in Direction for rule in policy.rules(direction)
        ),
        problems=policy.problems,
        findings=tuple(found.get(policy.key, ())),
        pictures=pictures,
    )


def _rule_words(rule: PolicyRule) -> str:
    peers = " or ".join(map(str, rule.peers)) or "nobody"
    ports = ", ".join(map(str, rule.ports)) or "no port"
    word = "from" if rule.id.direction is Direction.INGRESS else "to"
    return f"{rule.id.direction.value}[{rule.id.index}]: {word} {peers}; {ports}"
