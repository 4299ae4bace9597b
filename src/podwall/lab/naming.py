"""What users call the endpoints of a lab, and how a list of them is written shortly; pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

from podwall.errors import InputError
from podwall.lab.matrix import Party
from podwall.lab.topology import Listen
from podwall.model.net import PORT_PROTOCOLS, Protocol

_MAX_PORT = 65535


def select_parties(parties: Sequence[Party], words: Iterable[str]) -> frozenset[str] | None:
    """The names of the parties that any of ``words`` means; None for no words at all.

    A word is a name, a pod of the namespace ``default`` or a node without their prefix, a workload
    (``Deployment/web``, ``web`` or, in another namespace, ``dev/web``) or a pattern (``dev/*``).

    Raises:
        InputError: a word means nobody.
    """
    chosen: set[str] = set()
    given = list(words)
    for word in given:
        found = _meant(parties, word)
        if not found:
            raise InputError(f"{word!r} is nobody in this lab: 'podwall lab status' lists them")
        chosen.update(found)
    return frozenset(chosen) if given else None


def parse_listen(text: str) -> Listen:
    """Read ``6379/tcp``; TCP if no protocol is given (S34).

    Raises:
        InputError: it is no port.
    """
    number, _, protocol = text.partition("/")
    name = (protocol or "tcp").upper()
    known = {each.name for each in PORT_PROTOCOLS}
    if not (number.isascii() and number.isdecimal() and 0 < int(number) <= _MAX_PORT):
        raise InputError(f"{text!r} is not a port: write it as 6379 or 53/udp")
    if name not in known:
        raise InputError(f"{text!r} is not a port: the protocol is tcp, udp or sctp")
    return Listen(Protocol[name], int(number))


def join_names(names: Iterable[str]) -> str:
    """The names in one line; those that differ only after the last dash share what is before it.

    ``default/web-0, default/web-1, dev/db`` becomes ``default/web-{0,1}, dev/db``.
    """
    stems: dict[str, list[str]] = {}
    for name in names:
        stem, dash, end = name.rpartition("-")
        stems.setdefault(stem + dash, []).append(end)
    return ", ".join(
        f"{stem}{ends[0]}"
        if len(ends) == 1
        else f"{stem}{{{','.join(ends)}}}"
        if stem
        else ", ".join(ends)
        for stem, ends in stems.items()
    )


def _meant(parties: Sequence[Party], word: str) -> list[str]:
    for name in (word, f"default/{word}", f"node/{word}"):
        exact = [party.name for party in parties if party.name == name]
        if exact:
            return exact
    return [
        party.name
        for party in parties
        if word in _workload_names(party) or fnmatch.fnmatchcase(party.name, word)
    ]


def _workload_names(party: Party) -> tuple[str, ...]:
    if not party.workload:
        return ()
    namespace, _, _ = party.name.partition("/")
    _, _, name = party.workload.partition("/")
    qualified = (f"{namespace}/{name}", f"{namespace}/{party.workload}")
    return (name, party.workload, *qualified) if namespace == "default" else qualified
