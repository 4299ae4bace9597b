"""What a page holds, as plain values that become JSON.

Everything that repeats is held once and named by its index: cells name answers, answers reaches,
explanations texts. An index of -1 is "nothing here".
"""

from __future__ import annotations

import msgspec


class Member(msgspec.Struct, frozen=True):
    """One pod, node or address of a party."""

    name: str
    addresses: tuple[str, ...]
    node: str = ""


class Party(msgspec.Struct, frozen=True):
    """A row and a column of the matrix.

    ``labels`` are those that all its pods have, as ``key=value``; ``ports`` those that they
    declare, as ``6379/tcp (redis)``.
    """

    namespace: str
    name: str
    kind: str
    members: tuple[Member, ...]
    labels: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()


class Reach(msgspec.Struct, frozen=True):
    """What can be reached: words, and the ranges by protocol for filters."""

    text: str
    kind: str
    ports: dict[str, list[tuple[int, int]]]
    icmp: bool


class Text(msgspec.Struct, frozen=True, array_like=True):
    """A line of an explanation: index of its text, depth, and tone."""

    text: int
    depth: int = 0
    tone: str = "plain"


class Part(msgspec.Struct, frozen=True):
    """A heading, whether what it is about allows, and the lines under it.

    A line without depth and tone is the index of its text alone.
    """

    head: int
    allowed: bool
    lines: tuple[int | Text, ...]


class Told(msgspec.Struct, frozen=True):
    """An explanation of one connection; directions and stops are indices of parts."""

    source: int
    target: int
    service: int
    addresses: int
    allowed: bool
    agrees: bool
    directions: tuple[int, int]
    stops: tuple[int, ...]


class Found(msgspec.Struct, frozen=True):
    """A finding of ``check`` about a policy."""

    severity: str
    code: str
    path: str
    message: str
    clause: str


class Drawing(msgspec.Struct, frozen=True):
    """A picture as SVG; ``description`` is for those who cannot see it."""

    kind: str
    title: str
    description: str
    svg: str


class PolicyCard(msgspec.Struct, frozen=True):
    """A policy; ``selects`` are the parties of which it selects pods, by index."""

    namespace: str
    name: str
    audited: bool
    isolates: tuple[str, ...]
    subject: str
    pods: int
    selects: tuple[int, ...]
    rules: tuple[str, ...]
    problems: tuple[str, ...]
    findings: tuple[Found, ...]
    pictures: tuple[Drawing, ...]


class Content(msgspec.Struct, frozen=True):
    """All of a page.

    ``cells`` has for each family, target and source the index of an answer, which is a tuple of
    indices of ``reaches``. ``told`` has for ``family,target,source`` the indices of explanations.
    ``left_out`` says what was too much for the page.
    """

    title: str
    source: str
    families: tuple[str, ...]
    pods: int
    parties: tuple[Party, ...]
    reaches: tuple[Reach, ...]
    answers: tuple[tuple[int, ...], ...]
    cells: tuple[tuple[tuple[int, ...], ...], ...]
    texts: tuple[str, ...]
    parts: tuple[Part, ...]
    explanations: tuple[Told, ...]
    told: dict[str, tuple[int, ...]]
    policies: tuple[PolicyCard, ...]
    problems: tuple[str, ...]
    left_out: tuple[str, ...]
    live: bool = False
