"""S32 to S41: each form of ports, with each kind of peer, in both directions.

:data:`FORMS` says by hand what a list of ports opens on a destination with the names of pod ``a``,
and where it differs, on ``b``, on ``c`` and on an address that is no pod.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import msgspec
from msgspec.structs import replace

from tests.conformance.case import (
    ABSENT,
    EGRESS,
    INGRESS,
    Case,
    Expectation,
    block,
    expected,
    isolating,
    letter,
    rule,
    single,
)
from tests.conformance.world import (
    ECHO,
    LISTENING,
    NOBODY,
    S80,
    T80,
    T81,
    T82,
    U80,
    U81,
    Manifest,
    Probe,
)

TCP_PORTS, UDP_PORTS = {T80, T81}, {U80, U81}


class Form(msgspec.Struct, frozen=True):
    """A ``ports`` list and what it opens; ``b``, ``c`` and ``no_pod`` where they differ from a."""

    name: str
    clauses: str
    ports: Any
    opens: Set[Probe]
    b: Set[Probe] | None = None
    c: Set[Probe] | None = None
    no_pod: Set[Probe] | None = None

    def on(self, machine: str) -> Set[Probe]:
        """What it opens on ``machine``."""
        own = self.no_pod
        if "/" in machine:
            own = {"b": self.b, "c": self.c}.get(machine[-1])
        return self.opens if own is None else own


NONE: Set[Probe] = frozenset()


def singles(*numbers: int, protocol: str = "TCP") -> list[Manifest]:
    return [{"port": number, "protocol": protocol} for number in numbers]


FORMS = (
    Form("absent", "S32 S47", ABSENT, {*LISTENING}),
    Form("empty", "S32 S47", [], {*LISTENING}),
    Form("empty-entry", "S33 S34", [{}], TCP_PORTS),
    Form("tcp", "S33 S47", [{"protocol": "TCP"}], TCP_PORTS),
    Form("udp", "S33 S47", [{"protocol": "UDP"}], UDP_PORTS),
    Form("sctp", "S33 S34", [{"protocol": "SCTP"}], {S80}),
    Form(
        "all-three-protocols",
        "S33 S47",
        [{"protocol": "TCP"}, {"protocol": "UDP"}, {"protocol": "SCTP"}],
        {*LISTENING} - {ECHO},
    ),
    Form("number", "S34", [{"port": 80}], {T80}),
    Form("number-tcp", "S34", [{"port": 81, "protocol": "TCP"}], {T81}),
    Form("number-udp", "S34", [{"port": 80, "protocol": "UDP"}], {U80}),
    Form("number-sctp", "S34", [{"port": 80, "protocol": "SCTP"}], {S80}),
    Form("number-nobody-listens-on", "S34", [{"port": 7}], NONE),
    Form("one-number-two-protocols", "S35", singles(80) + singles(80, protocol="UDP"), {T80, U80}),
    Form(
        "one-number-each-protocol",
        "S35",
        [*singles(80), *singles(81, protocol="UDP"), *singles(80, protocol="SCTP")],
        {T80, U81, S80},
    ),
    Form("two-numbers", "S35", singles(80, 81), {T80, T81}),
    Form("number-inside-its-protocol", "S33", [{"port": 80}, {"protocol": "TCP"}], TCP_PORTS),
    Form("range", "S40", [{"port": 80, "endPort": 81}], {T80, T81}),
    Form("range-ends-at", "S40", [{"port": 1, "endPort": 80}], {T80}),
    Form("range-starts-at", "S40", [{"port": 81, "endPort": 65535}], {T81}),
    Form("range-beside", "S40", [{"port": 82, "endPort": 90}], NONE),
    Form("range-of-one", "S40", [{"port": 80, "endPort": 80}], {T80}),
    Form("range-of-all", "S40", [{"port": 1, "endPort": 65535}], TCP_PORTS),
    Form("range-udp", "S40", [{"port": 80, "endPort": 81, "protocol": "UDP"}], UDP_PORTS),
    Form("range-sctp", "S40", [{"port": 79, "endPort": 99, "protocol": "SCTP"}], {S80}),
    Form(
        "ranges-that-overlap",
        "S40",
        [{"port": 70, "endPort": 80}, {"port": 75, "endPort": 81}, {"port": 80}],
        {T80, T81},
    ),
    Form("fifteen-numbers", "S41", singles(*range(52, 81, 2)), {T80}),
    Form("sixteen-numbers", "S41", singles(*range(51, 82, 2)), {T81}),
    Form("forty-numbers", "S41", singles(*range(2, 82, 2)), {T80}),
    Form(
        "eight-ranges",
        "S41",
        [{"port": at, "endPort": at + 1} for at in range(10, 81, 10)],
        {T80, T81},
    ),
    Form(
        "many-of-each-protocol",
        "S35 S41",
        [
            each
            for protocol in ("TCP", "UDP", "SCTP")
            for each in singles(*range(50, 82, 2), protocol=protocol)
        ],
        {T80, U80, S80},
    ),
    Form("name", "S36 S37", [{"port": "web"}], {T80}, b={T81}, no_pod=NONE),
    Form(
        "name-udp",
        "S36 S37",
        [{"port": "dgram", "protocol": "UDP"}],
        {U80},
        b={U81},
        no_pod=NONE,
    ),
    Form("name-sctp", "S36 S37", [{"port": "assoc", "protocol": "SCTP"}], {S80}, no_pod=NONE),
    Form("name-of-another-protocol", "S36", [{"port": "web", "protocol": "UDP"}], NONE),
    Form("name-only-c-has", "S36 S37", [{"port": "special"}], NONE, c={T81}),
    Form("name-nobody-has", "S37", [{"port": "nobody"}], NONE),
    Form("name-of-etc-services", "S37 S38", [{"port": "http"}], NONE),
    Form("name-nobody-has-beside-a-number", "S37", [{"port": "nobody"}, {"port": 81}], {T81}),
    Form(
        "name-and-number",
        "S36 S37",
        [{"port": "web"}, {"port": 80}],
        {T80},
        b={T80, T81},
        no_pod={T80},
    ),
    Form(
        "two-names",
        "S36 S37",
        [{"port": "web"}, {"port": "alt"}],
        {T80, T81},
        c={T80},
        no_pod=NONE,
    ),
    Form(
        "names-of-two-protocols",
        "S35 S36",
        [{"port": "web"}, {"port": "dgram", "protocol": "UDP"}],
        {T80, U80},
        b={T81, U81},
        no_pod=NONE,
    ),
    Form(
        "name-inside-its-protocol",
        "S33 S36",
        [{"port": "web"}, {"protocol": "TCP"}],
        TCP_PORTS,
    ),
)


class PeerKind(msgspec.Struct, frozen=True):
    """A list of peers, one machine per role, for both directions."""

    name: str
    peers: Any
    ingress: Sequence[str]
    """Machines that the peers mean, as sources."""
    egress: Sequence[str]
    """Machines that the peers mean, as destinations: an a, a b and a c, or no pod."""
    strangers: Sequence[str]


PEER_KINDS = (
    PeerKind(
        "from-pods",
        [{"namespaceSelector": {"matchLabels": {"env": ""}}, "podSelector": letter("a", "b", "c")}],
        ["blue/a"],
        ["blue/a", "blue/b", "blue/c"],
        ["green/b"],
    ),
    PeerKind("from-anywhere", ABSENT, ["out1", "green/a"], ["out1", "green/a", "blue/b"], []),
)

SHORT_FORMS = (
    "number",
    "name",
    "name-udp",
    "name-nobody-has",
    "name-and-number",
    "range",
    "sixteen-numbers",
    "udp",
)
"""Forms that are tried with every other kind of peer, too."""

OTHER_PEER_KINDS = (
    PeerKind(
        "from-a-block-outside",
        [block("198.51.100.0/24"), block("2001:db8:1::/64")],
        ["out1"],
        ["out1"],
        ["out3", "blue/a"],
    ),
    PeerKind("own-pods", [{"podSelector": letter("d")}], ["red/d"], ["red/d"], ["green/a"]),
    PeerKind(
        "namespaces",
        [{"namespaceSelector": {"matchLabels": {"env": ""}}}],
        ["blue/c"],
        ["blue/b"],
        ["green/b"],
    ),
    PeerKind(
        "block-of-pods",
        [block("10.80.2.0/24"), block("fd80:2::/64")],
        ["blue/b"],
        ["green/a", "blue/b", "green/c"],
        ["blue/a"],
    ),
    PeerKind(
        "block-with-except",
        [
            block("198.51.100.0/24", "198.51.100.128/25"),
            block("2001:db8:1::/64", "2001:db8:1::200/120"),
        ],
        ["out1"],
        ["out1"],
        ["out2"],
    ),
    PeerKind(
        "everything",
        [block("0.0.0.0/0"), block("::/0")],
        ["out3", "blue/a"],
        ["out3", "blue/b", "n2"],
        [],
    ),
)


def cases() -> Iterator[Case]:
    for form in FORMS:
        for kind in PEER_KINDS:
            yield ingress_case(form, kind)
            yield egress_case(form, kind)
    for form in FORMS:
        if form.name in SHORT_FORMS:
            for kind in OTHER_PEER_KINDS:
                yield replace(ingress_case(form, kind), core=False)
                yield replace(egress_case(form, kind), core=False)
    yield from sidecar_cases()
    yield from per_peer_cases()


def ingress_case(form: Form, kind: PeerKind) -> Case:
    """Three subjects that give some names different numbers (S36, S37)."""
    subjects = {"a": "red/a", "b": "red/b", "c": "red/c"}
    return single(
        f"ports/ingress-{form.name}-{kind.name}",
        f"{form.clauses} S35",
        isolating(INGRESS, rule(INGRESS, kind.peers, form.ports), subject=letter(*subjects)),
        *(
            on_probes(INGRESS, subject, each, form.on(subject))
            for subject in subjects.values()
            for each in kind.ingress
        ),
        *(
            expected(INGRESS, subject, NOBODY, among=kind.strangers, probes=LISTENING)
            for subject in subjects.values()
        ),
    )


def egress_case(form: Form, kind: PeerKind) -> Case:
    """One subject, destinations that give some names different numbers (S36, S37)."""
    return single(
        f"ports/egress-{form.name}-{kind.name.replace('from-', 'to-')}",
        f"{form.clauses} S35",
        isolating(EGRESS, rule(EGRESS, kind.peers, form.ports)),
        *(on_probes(EGRESS, "red/a", each, form.on(each)) for each in kind.egress),
        expected(EGRESS, "red/a", NOBODY, among=kind.strangers, probes=LISTENING),
    )


def on_probes(direction: str, subject: str, peer: str, opens: Set[Probe]) -> list[Expectation]:
    """What of everything that machines listen on is open between the two."""
    return [
        each
        for probe in LISTENING
        for each in expected(
            direction, subject, [peer] if probe in opens else [], among=[peer], probes=[probe]
        )
    ]


def sidecar_cases() -> Iterator[Case]:
    """S39: the port of a native sidecar has a name like any other."""
    yield single(
        "ports/ingress-sidecar",
        "S36 S39",
        isolating(INGRESS, rule(INGRESS, ports=[{"port": "side"}]), subject="d"),
        expected(INGRESS, "red/d", ["green/a", "out1"], among=["green/a", "out1"], probes=[T82]),
        expected(INGRESS, "red/d", NOBODY, among=["green/a", "out1"], probes=LISTENING),
    )
    yield single(
        "ports/ingress-init-container",
        "S36 S39",
        isolating(INGRESS, rule(INGRESS, ports=[{"port": "once"}]), subject="d"),
        expected(INGRESS, "red/d", NOBODY, among=["green/a", "out1"], probes=[*LISTENING, T82]),
    )
    yield single(
        "ports/egress-sidecar",
        "S36 S39",
        isolating(EGRESS, rule(EGRESS, [{"podSelector": {}}], [{"port": "side"}])),
        expected(EGRESS, "red/a", ["red/d"], among=["red/d"], probes=[T82]),
        expected(EGRESS, "red/a", NOBODY, among=["red/b", "red/c", "red/d"]),
    )


def per_peer_cases() -> Iterator[Case]:
    """Rules that give each peer its own ports."""
    opened: Mapping[str, Probe] = {"red/b": T80, "red/c": T81, "red/d": U80, "green/a": S80}
    for direction in (INGRESS, EGRESS):
        rules = [
            rule(
                direction,
                [
                    {
                        "podSelector": letter(peer[-1]),
                        "namespaceSelector": {
                            "matchLabels": {"kubernetes.io/metadata.name": peer[:-2]}
                        },
                    }
                ],
                [{"port": number, "protocol": protocol}],
            )
            for peer, (protocol, number) in opened.items()
        ]
        yield single(
            f"ports/{direction.lower()}-each-peer-its-own",
            "S3 S15 S34",
            isolating(direction, *rules),
            *(on_probes(direction, "red/a", peer, {probe}) for peer, probe in opened.items()),
            expected(direction, "red/a", NOBODY, among=["green/b", "out1"], probes=LISTENING),
        )
