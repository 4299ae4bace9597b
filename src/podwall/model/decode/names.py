"""Which texts Kubernetes takes as names, label keys, label values and port names.

The rules are those of apimachinery's validation; the caches make the check of a label that
thousands of pods carry nearly free.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import re

from podwall.model.decode.problem import escaped

_DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?\Z", re.ASCII)
_DNS_SUBDOMAIN = re.compile(
    r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*\Z", re.ASCII
)
_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?\Z", re.ASCII)
_PORT_NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9])*\Z", re.ASCII)

MAX_NAME = 253
MAX_LABEL = 63
MAX_PORT_NAME = 15

NAME_RULE = "expected lower-case letters, digits, '-' and '.', at most 253 characters"
NAMESPACE_RULE = "expected lower-case letters, digits and '-', at most 63 characters"
KEY_RULE = (
    "expected letters, digits, '-', '_' and '.', at most 63 characters, "
    "with an optional DNS name and '/' before it"
)
VALUE_RULE = "expected letters, digits, '-', '_' and '.', at most 63 characters"
PORT_NAME_RULE = (
    "expected at most 15 lower-case letters, digits and single '-' inside, with at least one letter"
)


def is_name(text: str) -> bool:
    """Whether ``text`` is a DNS-1123 subdomain, as most object names must be."""
    return len(text) <= MAX_NAME and _DNS_SUBDOMAIN.match(text) is not None


def is_namespace_name(text: str) -> bool:
    """Whether ``text`` is a DNS-1123 label, as namespace names must be."""
    return len(text) <= MAX_LABEL and _DNS_LABEL.match(text) is not None


def is_label_key(text: str) -> bool:
    """Whether ``text`` is a qualified name: ``app`` or ``example.org/app``."""
    return len(text) <= MAX_NAME + 1 + MAX_LABEL and _is_label_key(text)


@functools.lru_cache(maxsize=16384)
def _is_label_key(text: str) -> bool:
    prefix, slash, name = text.rpartition("/")
    if slash and not is_name(prefix):
        return False
    return len(name) <= MAX_LABEL and _QUALIFIED.match(name) is not None


def is_label_value(text: str) -> bool:
    """Whether ``text`` can be the value of a label; the empty text can."""
    return len(text) <= MAX_LABEL and _is_label_value(text)


@functools.lru_cache(maxsize=16384)
def _is_label_value(text: str) -> bool:
    return not text or _QUALIFIED.match(text) is not None


def is_port_name(text: str) -> bool:
    """Whether ``text`` is an IANA service name (RFC 6335), as port names must be."""
    return (
        len(text) <= MAX_PORT_NAME
        and _PORT_NAME.match(text) is not None
        and any("a" <= character <= "z" for character in text)
    )


def printable_name(text: str) -> str:
    """A name that is safe to print and to keep: valid names unchanged, others escaped and cut.

    Different texts give different names, for a cut one ends in a hash of the whole.
    """
    safe = escaped(text)
    if len(safe) <= MAX_NAME:
        return safe
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{safe[:200]}…{digest}"


def near_miss(word: str, candidates: tuple[str, ...], cutoff: float = 0.7) -> str | None:
    """The candidate that ``word`` was probably meant to be, if any."""
    return _near_miss(word, candidates, cutoff) if len(word) <= MAX_LABEL else None


@functools.lru_cache(maxsize=4096)
def _near_miss(word: str, candidates: tuple[str, ...], cutoff: float) -> str | None:
    folded = word.casefold().replace("_", "").replace("-", "")
    for candidate in candidates:
        if candidate.casefold() == folded:
            return candidate
    matches = difflib.get_close_matches(word, candidates, n=1, cutoff=cutoff)
    return matches[0] if matches else None
