"""Expectations from plain data, with everything that is wrong with them.

A field that is not known is an error, not a warning as in manifests: a promise with a misspelt
``port`` would be another promise, and nobody would notice for as long as it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from podwall.errors import InputError
from podwall.explain.ends import DEFAULT_NAMESPACE, Service, parse_service
from podwall.model.decode import Decoded, Path, Problems, describe, printable_name
from podwall.model.decode.fields import Data, mapping, mappings, text
from podwall.model.flow import Verdict
from podwall.promises.ends import read_end
from podwall.promises.known import refuse_unknown
from podwall.promises.model import Place, Promise

API_VERSION = "podwall.dev/v1"
KIND = "Expectations"

MAX_NAME = 200
"""So many characters of a promise's name are kept."""

_FIELDS = ("apiVersion", "kind", "metadata", "expectations")
_META_FIELDS = ("name", "namespace", "labels", "annotations")
_PROMISE_FIELDS = ("name", "from", "to", "port", "ports", "expect")
_VERDICTS = {each.value: each for each in Verdict}


def decode_expectations(
    data: Data, file: str, locate: Callable[[Path], int]
) -> Decoded[tuple[Promise, ...]]:
    """Read an object of kind ``Expectations``; what is wrong with a promise leaves it out.

    ``locate`` gives the line of a path in ``file``. Names of pods without a namespace are in
    ``metadata.namespace``, else in ``default``.
    """
    problems = Problems()
    refuse_unknown(data, _FIELDS, (), problems)
    if data.get("apiVersion") != API_VERSION:
        found = "it is missing" if data.get("apiVersion") is None else describe(data["apiVersion"])
        problems.error(("apiVersion",), found, f"expected {API_VERSION}")
    meta = mapping(data, "metadata", (), problems)
    refuse_unknown(meta, _META_FIELDS, ("metadata",), problems)
    namespace = text(meta, "namespace", ("metadata",), problems) or DEFAULT_NAMESPACE
    items = mappings(data, "expectations", (), problems)
    if not items and not problems.found_errors:
        problems.error(("expectations",), "there are none", "expected a list of promises")
    promises: list[Promise] = []
    for path, item in items:
        promise = _promise(item, path, namespace, Place(file, locate(path)), problems)
        if promise is not None:
            promises.append(promise)
    return Decoded(tuple(promises), problems.finish())


def read_question(source: str, target: str, ports: Sequence[str | int], expect: Verdict) -> Promise:
    """A promise from the short forms of its ends, called by what it says.

    Raises:
        InputError: an end or a port is not understood.
    """
    problems = Problems()
    data: Data = {"from": source, "to": target, "expect": expect.value}
    if ports:
        data["ports"] = list(ports)
    promise = _promise(data, (), DEFAULT_NAMESPACE, Place("", 0), problems)
    if promise is None:
        raise InputError("; ".join(map(str, problems.finish())))
    return promise


def _promise(
    data: Data, path: Path, namespace: str, place: Place, problems: Problems
) -> Promise | None:
    before = problems.found_errors
    refuse_unknown(data, _PROMISE_FIELDS, path, problems)
    name = printable_name(text(data, "name", path, problems))[:MAX_NAME]
    source = read_end(data.get("from"), (*path, "from"), namespace, problems)
    target = read_end(data.get("to"), (*path, "to"), namespace, problems)
    services = _services(data, path, problems)
    expect = _expect(data, path, problems)
    if source is None or target is None or expect is None or problems.found_errors != before:
        return None
    promise = Promise(name, source, target, expect, services, place)
    return promise if name else _named(promise)


def _named(promise: Promise) -> Promise:
    """A promise without a name is called by what it says."""
    name = f"{promise.question} is {promise.expect.value}"
    return msgspec.structs.replace(promise, name=name[:MAX_NAME])


def _expect(data: Data, path: Path, problems: Problems) -> Verdict | None:
    value = data.get("expect")
    verdict = _VERDICTS.get(value) if isinstance(value, str) else None
    if verdict is None:
        found = "it is missing" if value is None else describe(value)
        problems.error((*path, "expect"), found, f"expected {' or '.join(_VERDICTS)}")
    return verdict


def _services(data: Data, path: Path, problems: Problems) -> tuple[Service, ...]:
    """The ports, each once; none at all means all of them."""
    if data.get("port") is not None and data.get("ports") is not None:
        problems.error((*path, "ports"), "there is a port as well", "expected one of the two")
        return ()
    if data.get("port") is not None:
        found = _service(data["port"], (*path, "port"), problems)
        return (found,) if found else ()
    many = data.get("ports")
    if many is None:
        return ()
    if not isinstance(many, list) or not many:
        what = "there are none" if many == [] else describe(many)
        problems.error((*path, "ports"), what, "expected a list of ports, as in [6379/tcp, icmp]")
        return ()
    read = [_service(each, (*path, "ports", i), problems) for i, each in enumerate(many)]
    return tuple(dict.fromkeys(each for each in read if each is not None))


def _service(value: Any, path: Path, problems: Problems) -> Service | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        problems.error(path, describe(value), "expected a port, as in 6379/tcp, 53/udp or icmp")
        return None
    try:
        return parse_service(str(value)[:40])
    except InputError:
        problems.error(
            path, describe(value), "expected a port from 1 to 65535, as in 6379/tcp, or icmp"
        )
        return None
