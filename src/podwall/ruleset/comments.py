"""Comments of kernel rules: what a person sees in ``iptables -L``, and the way back to a policy.

A comment holds only characters that need no quoting beyond the quotes that iptables-save writes
itself, and at most 255 of them, whatever the names of the policies are.
"""

from __future__ import annotations

import re

from podwall.model.policy import RuleId
from podwall.ruleset.names import digest

LIMIT = 255
"""Longest comment that iptables takes, in characters."""

_SAFE = re.compile(r"[A-Za-z0-9 ._:/\[\]()+,=-]*\Z", re.ASCII)
_UNSAFE = re.compile(r"[^A-Za-z0-9 ._:/\[\]()+,=-]+", re.ASCII)


def safe_comment(text: str) -> str:
    """``text`` itself if it can stand in a comment; else what is safe of it, and a hash of all."""
    if len(text) <= LIMIT and _SAFE.match(text):
        return text
    mark = f" ({digest(text)})"
    return _UNSAFE.sub("-", text[:LIMIT])[: LIMIT - len(mark)] + mark


def rule_comment(rule: RuleId) -> str:
    """The comment of all kernel rules that come from one policy rule."""
    return safe_comment(str(rule))
