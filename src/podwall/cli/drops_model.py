"""Denied packets as ``podwall drops`` hears of them, and which of them are wanted.

Whether the kernel's log was read here or an agent did it, a :class:`Drop` is what
:meth:`podwall.explain.denial.Denial.to_dict` tells, and the node. Ends are chosen by the names that
denials have, so that also a pod that is long gone can be asked for.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TypeAlias

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.errors import AddressError, InputError
from podwall.explain.denial import Denial
from podwall.explain.ends import find_end, parse_service
from podwall.model.net import Address, parse_address, parse_cidr


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """A denial, as plain values; ``node`` is the one that told."""

    time: float
    kind: str
    source: str
    target: str
    service: str
    src: str
    dst: str
    source_workload: str = ""
    target_workload: str = ""
    direction: str = ""
    subject: str = ""
    namespace: str = ""
    isolated_by: tuple[str, ...] = ()
    reason: str = ""
    verdict_now: str = ""
    stale: bool = False
    node: str = ""

    @property
    def verb(self) -> str:
        """What happened to it."""
        return "denied" if self.kind == "deny" else "would be denied"


def drop_of(denial: Denial, node: str) -> Drop:
    """The same, of a denial that was named here."""
    return msgspec.convert({**denial.to_dict(), "node": node}, Drop)


class Gap(msgspec.Struct, frozen=True):
    """``count`` packets or denials of a node are missing, and why."""

    node: str
    count: int
    why: str


Heard: TypeAlias = Drop | Gap | None
"""What comes in; ``None`` from time to time, so that whoever listens can look at the clock."""


class Wanted(msgspec.Struct, frozen=True):
    """Which denials are asked for; an empty text or ``None`` asks for all."""

    source: str = ""
    target: str = ""
    namespace: str = ""
    port: str = ""
    direction: str = ""
    kind: str = ""
    since: float | None = None

    def __call__(self, drop: Drop) -> bool:
        """Whether this is one of them."""
        return (
            self.direction in ("", drop.direction)
            and self.kind in ("", drop.kind)
            and (self.since is None or drop.time >= self.since)
            and (not self.source or _is_end(self.source, *_source(drop)))
            and (not self.target or _is_end(self.target, *_target(drop)))
            and (not self.namespace or _in_namespace(self.namespace, drop))
            and (not self.port or _is_service(self.port, drop.service))
        )

    @property
    def names(self) -> bool:
        """Whether any name is in it that could be misspelt."""
        return bool(self.source or self.target or self.namespace)


def check_port(text: str) -> None:
    """See that ``text`` is a port to ask for.

    Raises:
        InputError: it is none.
    """
    parse_service(text)


def check_names(wanted: Wanted, snapshot: Snapshot) -> None:
    """See that everything that is asked for by name is there.

    Raises:
        InputError: something is not; the message names what comes near.
    """
    for end in (wanted.source, wanted.target):
        if end and "*" not in end and _block(end) is None:
            find_end(snapshot, end)
    name = wanted.namespace
    known = {key.namespace for key in snapshot.pods} | snapshot.namespaces.keys()
    if name and name not in known:
        near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise InputError(f"there is no namespace {name!r}{hint}")


def _source(drop: Drop) -> tuple[str, str, str]:
    return drop.source, drop.source_workload, drop.src


def _target(drop: Drop) -> tuple[str, str, str]:
    return drop.target, drop.target_workload, drop.dst


def _is_end(wanted: str, name: str, workload: str, address: str) -> bool:
    """Whether ``wanted`` means an end, by the same words as everywhere on the command line."""
    holds = _block(wanted)
    if holds is not None:
        return holds(address)
    text = wanted.strip("/")
    if "*" in text:
        return any(fnmatchcase(each, text) for each in (name, workload) if each)
    if text.startswith("pod/") and text.count("/") > 1:
        text = text.removeprefix("pod/")
    if "/" not in text:
        return name.rpartition("/")[2] == text and not name.startswith("node/")
    lower = text.lower()
    return name == text or (bool(workload) and f"/{workload}".endswith(f"/{lower}"))


def _block(text: str) -> Callable[[str], bool] | None:
    """Whether an address is ``text``, if that is an address or a block of them."""
    try:
        if "/" in text:
            cidr = parse_cidr(text)
            return lambda address: (found := _address(address)) is not None and found in cidr
        wanted = parse_address(text)
    except AddressError:
        return None
    return lambda address: _address(address) == wanted


def _address(text: str) -> Address | None:
    """The address; what an agent counts has names alone."""
    try:
        return parse_address(text)
    except AddressError:
        return None


def _in_namespace(namespace: str, drop: Drop) -> bool:
    return any(end.startswith(f"{namespace}/") for end in (drop.source, drop.target))


def _is_service(wanted: str, service: str) -> bool:
    """A number alone is a port of any protocol; ``icmp`` is that of both families."""
    text = wanted.strip().lower()
    if text.isdecimal():
        return service.partition("/")[0] == text
    return service == text or (text == "icmp" and service == "icmpv6")
