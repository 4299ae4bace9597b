"""What a YAML scalar without quotes means to Kubernetes.

Kubernetes reads YAML with sigs.k8s.io/yaml, which follows YAML 1.1 for booleans (``yes``, ``on``
and ``y`` are true) and for numbers with a leading 0 (octal), reads ``1e3`` as a number, and leaves
dates and ``1:30`` alone as text. podwall follows it to the letter: a file must not mean one thing
here and another in the cluster. Texts that this turns into something else are caught later, where a
label or a name is not a string.
"""

from __future__ import annotations

import re
from typing import TypeAlias

Scalar: TypeAlias = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {
    "": None,
    **dict.fromkeys(("~", "null", "Null", "NULL")),
    **dict.fromkeys(
        ["true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"], True
    ),
    **dict.fromkeys(
        ["false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"], False
    ),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_NUMBER_STARTS = frozenset("0123456789+-.")
_MAX_NUMBER = 400
_INTEGER = re.compile(
    r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))\Z", re.ASCII
)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z", re.ASCII)
_BASES = (16, 2, 8, 10)
_LARGEST = 2**64 - 1
_SMALLEST = -(2**63)


def plain_scalar(text: str) -> Scalar:
    """The value of a scalar that stands without quotes."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS or len(text) > _MAX_NUMBER:
        return text
    return _number(text)


def _number(text: str) -> Scalar:
    """A number if Kubernetes takes it for one; out of 64 bits it is a float, beyond that text."""
    plain = text if text[0] == "." else text.replace("_", "")
    match = _INTEGER.match(plain)
    if match:
        digits, base = next(
            (group, base)
            for group, base in zip(match.groups()[1:], _BASES, strict=True)
            if group is not None
        )
        value = int(digits, base) * (-1 if match[1] == "-" else 1)
        if _SMALLEST <= value <= _LARGEST:
            return value
    if _FLOAT.match(plain):
        number = float(plain)
        return text if number in (float("inf"), float("-inf")) else number
    return text


def key_text(value: Scalar) -> str | None:
    """A mapping key as JSON has it: numbers and booleans become text; null cannot be a key."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return f"{value:g}"
        case None:
            return None
