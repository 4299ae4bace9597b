"""Names that look like those a cluster generates, but are the same in every run."""

from __future__ import annotations

import hashlib

# The letters that Kubernetes generates names from: no vowels and no look-alikes, so no words.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_MAX_STEM = 58
_SUFFIX = 5


def generated_suffix(origin: str, length: int = _SUFFIX) -> str:
    """``length`` characters of Kubernetes' alphabet that depend on ``origin`` alone."""
    number = int.from_bytes(hashlib.sha256(origin.encode("utf-8", "surrogatepass")).digest())
    letters: list[str] = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[digit])
    return "".join(letters)


def generated_name(stem: str, origin: str) -> str:
    """``stem`` (which ends in ``-``) and a suffix, at most 63 characters as in a cluster."""
    return stem[:_MAX_STEM] + generated_suffix(origin)
