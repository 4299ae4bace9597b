"""labelSelector and fieldSelector, as query parameters write them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from podwall.lab.apiserver.resources import OBJECT_FIELDS, Resource
from podwall.lab.apiserver.status import ApiError, bad_request

Test: TypeAlias = Callable[[Mapping[str, str]], bool]

_KEY = r"(?:[A-Za-z0-9.-]+/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?)?"
_SET = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)")
_EQUAL = re.compile(rf"({_KEY})\s*(==|=|!=)\s*({_VALUE})")
_EXISTS = re.compile(rf"(!?)\s*({_KEY})")
_COMMA = re.compile(r",(?![^(]*\))")


def everything(_: Mapping[str, str]) -> bool:
    """Match all."""
    return True


def parse_labels(text: str) -> Test:
    """A test on labels.

    Raises:
        ApiError: the text is no label selector (400).
    """
    parts = [each.strip() for each in _COMMA.split(text)] if text.strip() else []
    tests = [_requirement(each, text) for each in parts]
    return _all_of(tests)


def parse_fields(text: str, resource: Resource) -> Test:
    """A test on the fields that ``resource`` makes selectable.

    Raises:
        ApiError: the text is no field selector, or names another field (400).
    """
    tests: list[Test] = []
    for part in filter(None, text.split(",")):
        found = re.fullmatch(r"\s*([A-Za-z.]+)\s*(==|=|!=)(.*)", part)
        if found is None:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        field, operator, value = found.groups()
        if field not in OBJECT_FIELDS and field not in resource.fields:
            raise _no_such_field(text, field, resource)
        tests.append(_equals(field, value, operator != "!="))
    return _all_of(tests)


def _no_such_field(text: str, field: str, resource: Resource) -> ApiError:
    return bad_request(
        f'Unable to find "{resource.group}/{resource.version}, Resource={resource.plural}" that '
        f'match label selector "", field selector "{text}": field label not supported: {field}'
    )


def _all_of(tests: list[Test]) -> Test:
    match tests:
        case []:
            return everything
        case [test]:
            return test
        case _:
            return lambda labels: all(test(labels) for test in tests)


def _requirement(text: str, whole: str) -> Test:
    if found := _SET.fullmatch(text):
        key, operator, listed = found.groups()
        values = frozenset(each.strip() for each in listed.split(","))
        if operator == "in":
            return lambda labels: labels.get(key) in values
        # A missing key meets notin, and None is no value.
        return lambda labels: labels.get(key) not in values
    if found := _EQUAL.fullmatch(text):
        key, operator, value = found.groups()
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _EXISTS.fullmatch(text):
        negated, key = found.groups()
        if negated:
            return lambda labels: key not in labels
        return lambda labels: key in labels
    raise bad_request(f"unable to parse requirement: found '{text}' in '{whole}'")


def _equals(field: str, value: str, wanted: bool) -> Test:
    # Fields that an object does not have count as empty, unlike labels.
    return lambda fields: (fields.get(field, "") == value) is wanted
