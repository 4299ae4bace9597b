"""Names of sets and chains: a prefix, a readable part and a hash of what the thing means.

A name says what a thing is for, never what it holds at the moment: the hash of a peer set covers
its selectors, not its members. So an unchanged thing is recognised after a restart, and a changed
one is built beside the old. Names and labels come from users: only lower-case letters, digits,
``.`` and ``-`` survive into a name, and the hash, not the readable part, tells things apart.

Sets                                    Chains
``PW4-p-…``  pods by selector           ``PW-FORWARD`` …  a root chain for each hook
``PW4-b-…``  address blocks             ``PW-ingress``, ``PW-egress``  dispatch, by direction
``PW4-n-…``  named ports                ``PW-in-…``, ``PW-eg-…``  dispatch, one block of addresses
``PW4-cut``  connections that were cut  ``PW-i-…``, ``PW-e-…``  a profile: what may pass
``PW4-logged``  denied flows, told of   ``PW-deny``, ``PW-audit``  what nothing allowed
``PW4-audited``  audited flows, told of ``PW-log-deny``, ``PW-log-audit``  tell of it
``PW6-…``  likewise
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re

from podwall.errors import CompileError
from podwall.model.net import Cidr, Family
from podwall.model.policy import Direction
from podwall.ruleset.ir import Hook, LogKind, SetRole

CHAIN_LIMIT = 28
"""Longest chain name that both iptables modes take, in characters (XT_EXTENSION_MAXNAMELEN - 1)."""

SET_LIMIT = 31
"""Longest set name, in characters (IPSET_MAXNAMELEN - 1)."""

CHAIN_PREFIX = "PW-"
DENY_CHAIN = "PW-deny"
AUDIT_CHAIN = "PW-audit"

HASH_LENGTH = 13
"""Characters of base32 in a name: 65 bits, so a chance collision is out of reach. One on purpose is
expensive, and :class:`Namer` notices it."""

_ROLE_LETTERS = {
    SetRole.PEERS: "p",
    SetRole.BLOCKS: "b",
    SetRole.NAMED_PORTS: "n",
}
_CUT = "cut"
_LOGGED = {LogKind.DENY: "logged", LogKind.AUDIT: "audited"}
_FIXED_ROLES = {_CUT: SetRole.CUT, **dict.fromkeys(_LOGGED.values(), SetRole.LOGGED)}
_SET_NAME = re.compile(rf"PW[46]-(?:([pbn])-.+|({'|'.join(_FIXED_ROLES)}))\Z", re.ASCII)
_UNSAFE = re.compile(r"[^a-z0-9.]+")


def digest(content: object) -> str:
    """Hash the meaning of ``content``, a value whose ``repr`` tells it from every other value."""
    raw = hashlib.sha256(repr(content).encode("utf-8", "surrogatepass")).digest()
    return base64.b32encode(raw).decode("ascii").lower()[:HASH_LENGTH]


def readable(text: str, length: int) -> str:
    """At most ``length`` characters of ``text`` that are safe in a name."""
    return _UNSAFE.sub("-", text[:200].lower()).strip("-.")[:length].rstrip("-.") or "x"


class Namer:
    """Gives names to contents, and keeps two different contents from sharing one.

    One namer serves one compilation, or one ruleset for as long as it is kept up to date. Asking
    again for equal content gives the same name.
    """

    def __init__(self) -> None:
        self._contents: dict[str, object] = {}

    def set_name(self, family: Family, role: SetRole, title: str, content: object) -> str:
        """Name of a set of ``family`` whose meaning is ``content``."""
        prefix = f"PW{family.value}-{_ROLE_LETTERS[role]}-"
        return self._name(prefix, title, content, SET_LIMIT)

    def profile_name(self, direction: Direction, title: str, content: object) -> str:
        """Name of the chain that decides for the pods of a profile."""
        return self._name(f"PW-{direction.value[0]}-", title, content, CHAIN_LIMIT)

    def forget(self, name: str) -> None:
        """Nothing has ``name`` any more; whatever comes may get it."""
        self._contents.pop(name, None)

    def _name(self, prefix: str, title: str, content: object, limit: int) -> str:
        room = limit - len(prefix) - HASH_LENGTH - 1
        stem = prefix + readable(title, room)
        for attempt in range(1000):
            salted = content if attempt == 0 else (attempt, content)
            name = f"{stem}-{digest(salted)}"
            if self._contents.setdefault(name, content) == content:
                return name
        raise CompileError(f"no free name for {stem}")


def cut_set(family: Family) -> str:
    """Name of the set of connections that were cut: server address and port, client address."""
    return f"PW{family.value}-{_CUT}"


def logged_set(family: Family, kind: LogKind) -> str:
    """Name of the set of flows that were logged a moment ago: client, server port, server."""
    return f"PW{family.value}-{_LOGGED[kind]}"


def log_chain(kind: LogKind) -> str:
    """Name of the chain that logs a packet."""
    return f"{CHAIN_PREFIX}log-{kind.value}"


@functools.lru_cache(maxsize=4096)
def dispatch_chain(direction: Direction, block: Cidr | None = None) -> str:
    """Name of the dispatch chain for a block of addresses; without one, that of the direction.

    IPv6 blocks can be longer than a name, so they are hashed.
    """
    if block is None:
        return f"{CHAIN_PREFIX}{direction.value}"
    text = digest(block) if block.family is Family.V6 else str(block).replace("/", "-")
    return f"{CHAIN_PREFIX}{direction.value[:2]}-{text}"


def dispatch_direction(name: str) -> Direction | None:
    """The direction that a dispatch chain of this name is for; ``None`` for any other chain."""
    for direction in Direction:
        if name == dispatch_chain(direction) or name.startswith(
            f"{CHAIN_PREFIX}{direction.value[:2]}-"
        ):
            return direction
    return None


def root_chain(hook: Hook) -> str:
    """Name of the chain that a hook jumps to."""
    return f"{CHAIN_PREFIX}{hook.value}"


def set_role(name: str) -> SetRole | None:
    """What a set of this name is for; ``None`` for a set that is not ours."""
    match = _SET_NAME.match(name)
    if match is None:
        return None
    letter, fixed = match.groups()
    if fixed is not None:
        return _FIXED_ROLES[fixed]
    return next(role for role, known in _ROLE_LETTERS.items() if known == letter)
