"""The ends of a promise, from what people write.

The short form is one text: ``shop/web-0`` (a pod), ``shop/deployment/web`` (all pods of a
workload), ``namespace/shop``, ``node/worker-1``, ``10.0.0.0/8``, ``172.17.0.9`` or ``any``. The
long form is a mapping with one of these words as its field, or with label selectors.
"""

from __future__ import annotations

from collections.abc import Callable

from podwall.errors import AddressError
from podwall.model.decode import Path, Problems, decode_selector, describe, printable_name, shown
from podwall.model.decode.fields import Data, text
from podwall.model.net import host_cidr, parse_address, parse_cidr
from podwall.model.objects import PodKey
from podwall.model.selector import EVERYTHING, Selector
from podwall.promises.known import refuse_unknown
from podwall.promises.model import Anyone, Block, LabelledPods, OneNode, OnePod, Who, Workload

FORMS = (
    "a pod (shop/web-0), a workload (shop/deployment/web), namespace/NAME, node/NAME, "
    "an address, a block or any"
)
"""What an end can be, for messages."""

_KINDS = (
    "deployment",
    "replicaset",
    "statefulset",
    "daemonset",
    "job",
    "cronjob",
    "replicationcontroller",
)
_SELECTING = ("namespace", "namespaceSelector", "podSelector")
_LONG_FORMS = ("pod", "workload", "node", "address", "cidr", "any")
_FIELDS = (*_LONG_FORMS, *_SELECTING)


def read_end(value: object, path: Path, namespace: str, problems: Problems) -> Who | None:
    """One end in either form; ``namespace`` is that of names without one."""
    match value:
        case str():
            return _read_text(value, path, namespace, problems)
        case dict():
            return _read_mapping(value, path, namespace, problems)
        case None:
            problems.error(path, "it is missing", f"expected {FORMS}")
        case _:
            problems.error(path, describe(value), f"expected {FORMS}")
    return None


def _read_text(value: str, path: Path, namespace: str, problems: Problems) -> Who | None:
    if value == "any":
        return Anyone()
    try:
        return _block(value)
    except AddressError as error:
        if value.rpartition("/")[2].isdecimal() and (":" in value or "." in value):
            problems.error(path, printable_name(str(error)), f"expected {FORMS}")
            return None
    parts = value.split("/")
    if not all(parts) or len(parts) > 3:
        problems.error(path, f"{shown(value)} is no end", f"expected {FORMS}")
        return None
    match parts:
        case ["namespace", name]:
            return LabelledPods(printable_name(name), EVERYTHING)
        case ["node", name]:
            return OneNode(printable_name(name))
        case ["pod", *rest]:
            return _pod(rest, namespace)
        case [kind, name] if kind.lower() in _KINDS:
            return _workload(namespace, kind, name)
        case [where, kind, name]:
            return _workload(where, kind, name)
        case _:
            return _pod(parts, namespace)


def _read_mapping(data: Data, path: Path, namespace: str, problems: Problems) -> Who | None:
    before = problems.found_errors
    refuse_unknown(data, _FIELDS, path, problems)
    given = [each for each in _FIELDS if data.get(each) is not None]
    form = next((each for each in given if each in _LONG_FORMS), None)
    too_many = [each for each in given if each != form and not _goes_with(form, each)]
    if problems.found_errors != before:
        return None
    if not given:
        problems.error(path, "it is empty", f"expected one of {', '.join(_FIELDS)}")
        return None
    if form is not None and too_many:
        problems.error((*path, too_many[0]), f"it does not go with {form}", "expected one of them")
        return None
    if form is None:
        return _selection(data, path, problems)
    return _long_form(data, form, path, namespace, problems)


def _goes_with(form: str | None, field: str) -> bool:
    return form is None or (form in ("pod", "workload") and field == "namespace")


def _long_form(data: Data, form: str, path: Path, namespace: str, problems: Problems) -> Who | None:
    if form == "any":
        if data["any"] is True:
            return Anyone()
        problems.error((*path, "any"), describe(data["any"]), "expected true")
        return None
    value = text(data, form, path, problems)
    where = text(data, "namespace", path, problems) or namespace
    readers: dict[str, Callable[[], Who | None]] = {
        "pod": lambda: _pod(value.split("/"), where),
        "workload": lambda: _workload_of(value, where),
        "node": lambda: OneNode(printable_name(value)) if value else None,
        "address": lambda: Block(host_cidr(parse_address(value))),
        "cidr": lambda: Block(parse_cidr(value)),
    }
    wanted = {
        "pod": "NAME or NAMESPACE/NAME",
        "workload": "KIND/NAME or NAMESPACE/KIND/NAME",
        "node": "a node's name",
        "address": "an IP address",
        "cidr": "a block as in 10.0.0.0/8",
    }
    if type(data[form]) is not str:
        return None
    try:
        found = readers[form]()
    except AddressError as error:
        problems.error((*path, form), printable_name(str(error)), f"expected {wanted[form]}")
        return None
    if found is None:
        problems.error((*path, form), describe(value), f"expected {wanted[form]}")
    return found


def _selection(data: Data, path: Path, problems: Problems) -> Who | None:
    """Pods by label; ``namespace`` is the short way to select one by its name."""
    before = problems.found_errors
    if data.get("namespace") is not None and data.get("namespaceSelector") is not None:
        found = "there is a namespace as well"
        problems.error((*path, "namespaceSelector"), found, "expected one of the two")
        return None
    namespaces: Selector | str = EVERYTHING
    if data.get("namespace") is not None:
        namespaces = printable_name(text(data, "namespace", path, problems))
    elif data.get("namespaceSelector") is not None:
        namespaces = _selector(data, "namespaceSelector", path, problems)
    pods = EVERYTHING
    if data.get("podSelector") is not None:
        pods = _selector(data, "podSelector", path, problems)
    return LabelledPods(namespaces, pods) if problems.found_errors == before else None


def _selector(data: Data, field: str, path: Path, problems: Problems) -> Selector:
    """A selector; unlike in a policy, what is only a warning there is an error here."""
    own = Problems()
    reading = decode_selector(data[field], (*path, field), own)
    for each in own.finish():
        problems.error(each.path, each.found.removesuffix(", it is ignored"), each.expected)
    return reading.selector


def _pod(parts: list[str], namespace: str) -> OnePod | None:
    match list(map(printable_name, parts)):
        case [name] if name:
            return OnePod(PodKey(namespace, name))
        case [where, name] if where and name:
            return OnePod(PodKey(where, name))
    return None


def _workload_of(value: str, namespace: str) -> Workload | None:
    match value.split("/"):
        case [kind, name] if kind and name:
            return _workload(namespace, kind, name)
        case [where, kind, name] if where and kind and name:
            return _workload(where, kind, name)
    return None


def _workload(namespace: str, kind: str, name: str) -> Workload:
    return Workload(*map(printable_name, (namespace, kind.lower(), name)))


def _block(value: str) -> Block:
    if "/" in value:
        return Block(parse_cidr(value))
    return Block(host_cidr(parse_address(value)))
