"""The fence before the kernel's tools: only harmless, bounded words get into a batch.

A restore batch is text, and names and comments in it go back to what users wrote. The compiler
already makes them safe; these checks do not rely on it. What does not fit is refused, never
repaired: two different names must not become one.
"""

from __future__ import annotations

import re

from podwall.errors import CompileError

CHAIN_LIMIT = 28
"""Longest chain name that both iptables modes take, in characters."""

SET_LIMIT = 31
"""Longest set name, in characters."""

COMMENT_LIMIT = 255
"""Longest comment that iptables takes, in characters."""

SPEC_LIMIT = 8192
"""Longest rule text that is handed back to be deleted; iptables-restore reads lines of 10240."""

OUR_CHAIN = re.compile(r"PW-[A-Za-z0-9._-]{1,25}\Z", re.ASCII)
"""Chains that podwall can have made; any other chain is another program's."""

OUR_SET = re.compile(r"PW[46]-[A-Za-z0-9._-]{1,27}\Z", re.ASCII)
"""Sets that podwall can have made, of IPv4 and of IPv6."""

_COMMENT = re.compile(r"[A-Za-z0-9 ._:/\[\]()+,=-]{1,255}\Z", re.ASCII)
_BARE = re.compile(r"[A-Za-z0-9_-]+\Z", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def chain_word(name: str) -> str:
    """``name`` if it can be the name of a chain of ours: no batch ever touches another chain.

    Raises:
        CompileError: it cannot.
    """
    if not OUR_CHAIN.match(name):
        raise CompileError(
            f"chain name {name!r} is not PW- and at most {CHAIN_LIMIT} of A-Z a-z 0-9 . _ - in all"
        )
    return name


def set_word(name: str) -> str:
    """``name`` if it can be the name of a set of ours: no batch ever touches another set.

    Raises:
        CompileError: it cannot.
    """
    if not OUR_SET.match(name):
        raise CompileError(
            f"set name {name!r} is not PW4- or PW6- and at most {SET_LIMIT} of "
            "A-Z a-z 0-9 . _ - in all"
        )
    return name


def comment_word(comment: str) -> str:
    """``comment`` as iptables-save prints it: quoted unless it is one plain word.

    Raises:
        CompileError: it is empty, too long, or has a character outside the safe ones.
    """
    if not _COMMENT.match(comment):
        raise CompileError(
            f"comment {comment!r} is not 1 to {COMMENT_LIMIT} of A-Z a-z 0-9 space ._:/[]()+,=-"
        )
    return comment if _BARE.match(comment) else f'"{comment}"'


def spec_words(spec: str) -> str:
    """``spec``, a rule as the tool printed it, if it is one line.

    Raises:
        CompileError: it has control characters, or is too long to be read back.
    """
    if not spec or len(spec) > SPEC_LIMIT or _CONTROL.search(spec):
        raise CompileError(f"rule text {spec[:80]!r} is empty, too long or not one plain line")
    return spec
