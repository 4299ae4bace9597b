"""What the tools printed, before it is read: cut to what is ours, and told apart cheaply.

Whoever looks at a kernel again and again mostly finds what was there the last time. Reading 100,000
members takes most of a second; finding out that the text is the same takes a few milliseconds. So
the text is cut into its sets, and each set and each table gets a print: a digest of what matters in
it. What changes by itself (counters, flows that were cut or logged) and what belongs to others is
not part of it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Iterator, Mapping

import msgspec

from podwall.dataplane.fence import OUR_CHAIN
from podwall.dataplane.ipset.parse import our_set
from podwall.dataplane.iptables.parse import filter_lines
from podwall.model.net import Family
from podwall.ruleset.ir import Hook
from podwall.ruleset.names import set_role

_CREATE = "create "
_HOOKS = frozenset(hook.value for hook in Hook)


class Saved(msgspec.Struct, frozen=True):
    """What ``ipset save`` printed, and what iptables-save printed of each family's filter table."""

    ipset: str
    tables: Mapping[Family, str]


class Prints(msgspec.Struct, frozen=True):
    """Digests of what is ours: of each set by name, and of each family's rules."""

    sets: Mapping[str, bytes]
    tables: Mapping[Family, bytes]


def set_texts(text: str) -> dict[str, str]:
    """The part of ``ipset save`` about each set of ours: the line that creates it, and members."""
    starts = [*_headers(text), len(text)]
    return {
        name: text[start:end]
        for start, end in itertools.pairwise(starts)
        if (name := our_set(text[start : text.find("\n", start)]))
    }


def _headers(text: str) -> Iterator[int]:
    """Where the lines that create sets begin; a search for their word is quicker than any loop."""
    start = 0 if text.startswith(_CREATE) else text.find(f"\n{_CREATE}") + 1
    while text.startswith(_CREATE, start):
        yield start
        start = text.find(f"\n{_CREATE}", start) + 1
        if not start:
            return


def without_sets(text: str, known: Collection[str]) -> str:
    """``text`` of ``ipset save`` with our sets alone, and of these without ``known``."""
    return "".join(part for name, part in set_texts(text).items() if name not in known)


def take_prints(saved: Saved) -> Prints:
    """The digests of what is ours."""
    return Prints(
        {name: _digest(_lasting(name, part)) for name, part in set_texts(saved.ipset).items()},
        {
            family: _digest("\n".join(_our_lines(text)))
            for family, text in sorted(saved.tables.items())
        },
    )


def first_rule(table: str, hook: Hook) -> str:
    """The first rule of a built-in chain, as the tool prints it; empty if it has none."""
    start = f"-A {hook.value} "
    return next((line[len(start) :] for line in filter_lines(table) if line.startswith(start)), "")


def _lasting(name: str, text: str) -> str:
    """Of a set whose members come and go by themselves, only what it is."""
    role = set_role(name)
    return text.partition("\n")[0] if role is not None and role.is_transient else text


def _our_lines(text: str) -> Iterator[str]:
    """Our chains and their rules, and the rules of built-in chains that may lead to them."""
    positions = dict.fromkeys(_HOOKS, 0)
    for line in filter_lines(text):
        if line.startswith(":"):
            name = line[1:].partition(" ")[0]
            if OUR_CHAIN.match(name):
                yield name
        elif line.startswith("-A "):
            name = line[3:].partition(" ")[0]
            if name in positions:
                if "PW-" in line:
                    yield f"{positions[name]} {line}"
                positions[name] += 1
            elif OUR_CHAIN.match(name):
                yield line


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
