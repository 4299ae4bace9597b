"""A connection attempt, and the words for what becomes of it."""

from __future__ import annotations

import enum

import msgspec

from podwall.model.net import Address, Protocol


class Verdict(enum.Enum):
    """What becomes of a flow. Allowed means "podwall has nothing against it" (S49)."""

    ALLOWED = "allowed"
    DENIED = "denied"

    @classmethod
    def of(cls, allowed: bool) -> Verdict:
        """The verdict for a truth value."""
        return cls.ALLOWED if allowed else cls.DENIED


class ConnState(enum.Enum):
    """The connection tracking states that podwall tells apart (conntrack's words)."""

    NEW = "NEW"
    ESTABLISHED = "ESTABLISHED"
    RELATED = "RELATED"


class Flow(msgspec.Struct, frozen=True, order=False, gc=False):
    """A packet as the FORWARD hook sees it: after DNAT, before SNAT (S31).

    ``protocol`` is an IP protocol number, ``port`` the destination port of TCP, UDP and SCTP and
    ``None`` for all others. ``src`` and ``dst`` are of one family.
    """

    src: Address
    dst: Address
    protocol: int
    port: int | None = None
    state: ConnState = ConnState.NEW

    def __str__(self) -> str:
        try:
            protocol = Protocol(self.protocol).name.lower()
        except ValueError:
            protocol = f"protocol {self.protocol}"
        target = f"{self.dst} {self.port}/{protocol}" if self.port else f"{self.dst} {protocol}"
        return f"{self.src} → {target}"
