"""Label selectors from plain data.

The decoder keeps the requirements that it understands and says whether those were all. What to do
with the rest depends on whose selector it is: a policy's subject does without them, for then it
isolates more pods, a peer does not exist, for then it allows fewer (S10).
"""

from __future__ import annotations

from typing import NamedTuple

from podwall.model.decode import names
from podwall.model.decode.fields import (
    Data,
    expected_string,
    mapping,
    mappings,
    sequence,
    warn_unknown,
)
from podwall.model.decode.meta import check_label
from podwall.model.decode.problem import Path, Problems, describe, shown
from podwall.model.selector import EVERYTHING, Operator, Requirement, Selector, selector

_FIELDS = ("matchLabels", "matchExpressions")
_EXPRESSION_FIELDS = ("key", "operator", "values")
_OPERATORS = {each.value: each for each in Operator}


class SelectorReading(NamedTuple):
    """The requirements that could be understood, and whether those were all."""

    selector: Selector
    complete: bool


def decode_selector(data: object, path: Path, problems: Problems) -> SelectorReading:
    """Read a label selector; anything but a mapping is an incomplete, empty one."""
    if type(data) is not dict:
        problems.error(path, describe(data), "expected a label selector, {} for everything")
        return SelectorReading(EVERYTHING, complete=False)
    errors_before = problems.found_errors
    _warn_unknown(data, path, problems)
    labels = mapping(data, "matchLabels", path, problems)
    understood = {
        key: value
        for key, value in labels.items()
        if check_label(key, value, (*path, "matchLabels"), problems)
    }
    requirements = [
        requirement
        for where, item in mappings(data, "matchExpressions", path, problems)
        if (requirement := _decode_expression(item, where, problems)) is not None
    ]
    complete = problems.found_errors == errors_before
    return SelectorReading(selector(understood, requirements), complete)


def _warn_unknown(data: Data, path: Path, problems: Problems) -> None:
    """Labels written straight into the selector are a classic; everything else is a typo."""
    for field, value in data.items():
        if field in _FIELDS:
            continue
        if isinstance(value, str) and names.near_miss(str(field), _FIELDS) is None:
            hint = "labels belong into matchLabels"
            problems.warn((*path, field), "unknown field, it is ignored", hint)
        else:
            warn_unknown({field: value}, _FIELDS, path, problems)


def _decode_expression(data: Data, path: Path, problems: Problems) -> Requirement | None:
    errors_before = problems.found_errors
    warn_unknown(data, _EXPRESSION_FIELDS, path, problems)
    key = _decode_key(data, path, problems)
    operator = _decode_operator(data, path, problems)
    values = _decode_values(data, path, problems)
    if operator in (Operator.IN, Operator.NOT_IN) and not data.get("values"):
        problems.error((*path, "values"), "there are none", f"{operator.value} needs at least one")
    if operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST) and data.get("values"):
        problems.error((*path, "values"), "there are some", f"{operator.value} takes none")
    if operator is None or problems.found_errors != errors_before:
        return None
    return Requirement(key, operator, values)


def _decode_key(data: Data, path: Path, problems: Problems) -> str:
    key = data.get("key")
    if not isinstance(key, str):
        found = "it is missing" if key is None else describe(key)
        problems.error((*path, "key"), found, "expected a label key")
        return ""
    if not names.is_label_key(key):
        problems.error((*path, "key"), f"{shown(key)} is not a label key", names.KEY_RULE)
    return key


def _decode_operator(data: Data, path: Path, problems: Problems) -> Operator | None:
    name = data.get("operator")
    operator = _OPERATORS.get(name) if isinstance(name, str) else None
    if operator is None:
        found = "it is missing" if name is None else describe(name)
        meant = names.near_miss(name, tuple(_OPERATORS)) if isinstance(name, str) else None
        hint = f"did you mean {meant}?" if meant else f"expected {', '.join(_OPERATORS)}"
        problems.error((*path, "operator"), found, hint)
    return operator


def _decode_values(data: Data, path: Path, problems: Problems) -> tuple[str, ...]:
    values: list[str] = []
    for index, value in enumerate(sequence(data, "values", path, problems)):
        where = (*path, "values", index)
        if not isinstance(value, str):
            problems.error(where, describe(value), expected_string(value))
        elif not names.is_label_value(value):
            problems.error(where, f"{shown(value)} is not a label value", names.VALUE_RULE)
        else:
            values.append(value)
    return tuple(values)
