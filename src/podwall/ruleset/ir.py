"""The ruleset: sets, chains and rules as data, without any backend's words.

The compiler makes it, the simulator runs packets through it, the diff compares it with what the
kernel holds, and the backends render it. Values compare by meaning: two rules are equal when the
kernel would treat them alike and they carry the same comment.

Invariants, which :func:`podwall.ruleset.validate.validate` checks: every set and chain that a rule
names exists, jumps form no cycle, and names fit the kernel's limits.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec

from podwall.model.net import Address, Cidr, Family, PortRange, Protocol
from podwall.model.policy import PolicyKey, RuleId


class SetType(enum.Enum):
    """The kinds of ipset that podwall uses; the value is ipset(8)'s word."""

    HASH_IP = "hash:ip"
    HASH_NET = "hash:net"
    HASH_IP_PORT = "hash:ip,port"
    HASH_IP_PORT_IP = "hash:ip,port,ip"


class Net(msgspec.Struct, frozen=True, order=True, gc=False):
    """A member of a ``hash:net`` set: the longest prefix decides, ``nomatch`` makes it a hole."""

    cidr: Cidr
    nomatch: bool = False


class AddressPort(msgspec.Struct, frozen=True, order=True, gc=False):
    """A member of a ``hash:ip,port`` set."""

    address: Address
    protocol: Protocol
    port: int


Member: TypeAlias = Address | Net | AddressPort


class SetRole(enum.Enum):
    """What a set is for."""

    PEERS = "peers"
    BLOCKS = "blocks"
    NAMED_PORTS = "named ports"
    CUT = "cut"
    LOGGED = "logged"

    @property
    def is_transient(self) -> bool:
        """Whether it is filled while running, so that its members are never compared."""
        return self in (SetRole.CUT, SetRole.LOGGED)


class IPSet(msgspec.Struct, frozen=True):
    """A named set of one type and family.

    ``title`` says in words what it holds. ``timeout`` is the default life of an entry in seconds;
    a set that has one is filled while running and its members are never compared.
    """

    name: str
    type: SetType
    family: Family
    role: SetRole
    members: frozenset[Member] = frozenset()
    title: str = ""
    timeout: int | None = None


class End(enum.Enum):
    """Which address (and port) of a packet a match looks at; the value is the tools' word."""

    SRC = "src"
    DST = "dst"


class MatchSet(msgspec.Struct, frozen=True):
    """The packet's ``ends``, in order, are a member of the set (or not, if ``negated``)."""

    set: str
    ends: tuple[End, ...]
    negated: bool = False


class MatchProtocol(msgspec.Struct, frozen=True):
    """The packet's IP protocol."""

    protocol: Protocol


MULTIPORT_SLOTS = 15
"""Slots of one multiport match; a port takes one, a range two (S41, iptables-extensions(8))."""


def port_slots(ports: Iterable[PortRange]) -> int:
    """The slots of a multiport match that ``ports`` take."""
    return sum(1 if each.first == each.last else 2 for each in ports)


class MatchPorts(msgspec.Struct, frozen=True):
    """The destination port is in one of the ranges: at most :data:`MULTIPORT_SLOTS` slots.

    Needs a :class:`MatchProtocol` of TCP, UDP or SCTP in the same rule.
    """

    ports: tuple[PortRange, ...]


class MatchAddress(msgspec.Struct, frozen=True):
    """The address at one end lies in a block."""

    end: End
    cidr: Cidr


class MatchState(msgspec.Struct, frozen=True):
    """The connection tracking state is one of ``states`` (sorted as iptables prints them)."""

    states: tuple[str, ...]


class MatchMidStream(msgspec.Struct, frozen=True):
    """A TCP packet that does not open a connection. Needs MatchProtocol(TCP)."""


class MatchLoopback(msgspec.Struct, frozen=True):
    """The packet came in through the loopback interface."""


class MatchNeighbourDiscovery(msgspec.Struct, frozen=True):
    """One ICMPv6 type that has never crossed a router (hop limit 255, RFC 4861 section 6.1)."""

    icmp_type: int


class MatchSelf(msgspec.Struct, frozen=True):
    """Source and destination address are equal (S44)."""


class MatchLimit(msgspec.Struct, frozen=True):
    """No more than so many packets a second met the rule; ``burst`` more after a quiet time."""

    per_second: int
    burst: int


Match: TypeAlias = (
    MatchSet
    | MatchProtocol
    | MatchPorts
    | MatchAddress
    | MatchState
    | MatchMidStream
    | MatchLoopback
    | MatchNeighbourDiscovery
    | MatchSelf
    | MatchLimit
)


class Return(msgspec.Struct, frozen=True):
    """Back to the chain that was last entered by a jump."""


class Drop(msgspec.Struct, frozen=True):
    """Discard the packet."""


class Reject(msgspec.Struct, frozen=True):
    """Discard the packet and tell its sender: by TCP reset, or by an ICMP error."""

    tcp_reset: bool = False


class Jump(msgspec.Struct, frozen=True):
    """Go to ``chain`` and come back here on return."""

    chain: str


class Goto(msgspec.Struct, frozen=True):
    """Go to ``chain`` and never come back here: a return there acts as if it were made here."""

    chain: str


class LogKind(enum.Enum):
    """What a packet is logged for: it is dropped, or an audited policy would drop it."""

    DENY = "deny"
    AUDIT = "audit"


class Log(msgspec.Struct, frozen=True):
    """Hand the head of the packet to whoever listens to an NFLOG group, and go on."""

    kind: LogKind
    group: int


class AddToSet(msgspec.Struct, frozen=True):
    """Put the packet's ``ends`` into a set, and go on."""

    set: str
    ends: tuple[End, ...]


Target: TypeAlias = Return | Drop | Reject | Jump | Goto | Log | AddToSet


class Rule(msgspec.Struct, frozen=True):
    """If all of ``matches`` hold, do ``target``. ``comment`` has at most 255 safe characters."""

    target: Target
    matches: tuple[Match, ...] = ()
    comment: str = ""


class ChainRole(enum.Enum):
    """What a chain is for."""

    ROOT = "root"
    DISPATCH = "dispatch"
    PROFILE = "profile"
    DENY = "deny"
    AUDIT = "audit"
    LOG = "log"


class Chain(msgspec.Struct, frozen=True):
    """A chain of the filter table; ``title`` says in words what it decides.

    ``notes`` says of some rules, by index, whom they are about. It is for readers and never reaches
    the kernel: a comment there is one more match for each packet that hits the rule.
    """

    name: str
    role: ChainRole
    rules: tuple[Rule, ...] = ()
    title: str = ""
    notes: Mapping[int, str] = {}


class Hook(enum.Enum):
    """The built-in chains that podwall hangs a root chain on."""

    INPUT = "INPUT"
    FORWARD = "FORWARD"
    OUTPUT = "OUTPUT"


class FamilyRules(msgspec.Struct, frozen=True):
    """Everything of one address family, by name in sorted order; ``hooks`` maps to root chains."""

    family: Family
    sets: Mapping[str, IPSet] = {}
    chains: Mapping[str, Chain] = {}
    hooks: Mapping[Hook, str] = {}


class Ruleset(msgspec.Struct, frozen=True):
    """What a node's kernel shall hold.

    ``origins`` maps the comment of a rule to the policy rule that it came from, for explanations
    and for telling whose rules the kernel refused. ``audited`` are the policies that are why the
    chains and sets are there that tell what audited policies would deny, sorted.
    """

    v4: FamilyRules
    v6: FamilyRules
    origins: Mapping[str, RuleId] = {}
    audited: tuple[PolicyKey, ...] = ()

    def family(self, family: Family) -> FamilyRules:
        """The half of one address family."""
        return self.v4 if family is Family.V4 else self.v6

    @property
    def families(self) -> tuple[FamilyRules, FamilyRules]:
        """Both halves, IPv4 first."""
        return self.v4, self.v6
