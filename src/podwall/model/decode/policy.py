"""NetworkPolicies from plain data.

The rule for everything that is wrong here (S10): the policy stands. A subject that is half
understood selects more pods, directions that are not understood at all fall back to the API's
default (S6), rules, peers and ports that are not understood allow nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from podwall.model.decode import names
from podwall.model.decode.fields import Data, expected_string, mapping, warn_unknown
from podwall.model.decode.meta import decode_name, decode_namespace_of, metadata
from podwall.model.decode.problem import Decoded, Problems, Severity, describe, shown
from podwall.model.decode.rules import decode_rules
from podwall.model.decode.selectors import decode_selector
from podwall.model.policy import MODE_ANNOTATION, Direction, Mode, Policy, PolicyKey
from podwall.model.selector import EVERYTHING, Selector

_FIELDS = ("apiVersion", "kind", "metadata", "spec", "status")
_SPEC_FIELDS = ("podSelector", "policyTypes", "ingress", "egress")
_TYPES = {"Ingress": Direction.INGRESS, "Egress": Direction.EGRESS}
_TYPE_RULE = "expected Ingress or Egress"
_MODES = {each.value: each for each in Mode}
_MODE_RULE = "so the policy is enforced; expected enforce or audit"
_OUR_ANNOTATIONS = "podwall.dev/"


class _Spec(NamedTuple):
    """``spec`` as far as it is a mapping; ``lost`` says that it was something else."""

    data: Data
    lost: bool


def decode_policy(data: object, *, default_namespace: str = "default") -> Decoded[Policy | None]:
    """Read a ``networking.k8s.io/v1`` NetworkPolicy and fill in the API's defaults.

    The value is ``None`` only where no policy can be made of it: ``data`` is no mapping, or name or
    namespace are no text. ``Policy.problems`` repeats the errors as sentences.
    """
    problems = Problems()
    policy = _decode(data, default_namespace, problems)
    return Decoded(policy, problems.finish())


def _decode(data: object, default_namespace: str, problems: Problems) -> Policy | None:
    if type(data) is not dict:
        problems.error((), describe(data), "expected a NetworkPolicy")
        return None
    warn_unknown(data, _FIELDS, (), problems)
    meta = metadata(data, problems)
    name = decode_name(meta, problems)
    namespace = decode_namespace_of(meta, default_namespace, problems)
    if name is None or namespace is None:
        return None
    key = PolicyKey(namespace, name)
    mode = _decode_mode(meta, problems)
    spec = _decode_spec(data, problems)
    subject = _decode_subject(spec, problems)
    isolates = _decode_types(spec, problems)
    ingress = decode_rules(spec.data.get("ingress"), key, Direction.INGRESS, problems)
    egress = decode_rules(spec.data.get("egress"), key, Direction.EGRESS, problems)
    _warn_ignored(spec.data, isolates, problems)
    return Policy(
        key=key,
        subject=subject,
        isolates=isolates,
        ingress=ingress if Direction.INGRESS in isolates else (),
        egress=egress if Direction.EGRESS in isolates else (),
        problems=tuple(str(each) for each in problems.finish() if each.severity is Severity.ERROR),
        mode=mode,
    )


def _decode_mode(meta: Data, problems: Problems) -> Mode:
    """The mode that the policy's annotation says; what is no mode is enforced, and an error (S51).

    Of the annotations, which can be large, nothing else is looked at and nothing is kept.
    """
    annotations = mapping(meta, "annotations", ("metadata",), problems)
    for name in annotations:
        if name != MODE_ANNOTATION and str(name).startswith(_OUR_ANNOTATIONS):
            path = ("metadata", "annotations", str(name))
            problems.warn(path, "unknown annotation, it is ignored", f"expected {MODE_ANNOTATION}")
    found = annotations.get(MODE_ANNOTATION)
    if found is None:
        return Mode.ENFORCE
    if isinstance(found, str) and found in _MODES:
        return _MODES[found]
    what = f"{shown(found)} is no mode" if isinstance(found, str) else describe(found)
    problems.error(("metadata", "annotations", MODE_ANNOTATION), what, _MODE_RULE)
    return Mode.ENFORCE


def _decode_spec(data: Data, problems: Problems) -> _Spec:
    spec = data.get("spec")
    if type(spec) is dict:
        warn_unknown(spec, _SPEC_FIELDS, ("spec",), problems)
        return _Spec(spec, lost=False)
    if spec is None:
        meaning = "so the policy isolates every pod of its namespace for ingress"
        problems.warn(("spec",), "it is missing", meaning)
        return _Spec({}, lost=False)
    problems.error(("spec",), describe(spec), "expected a mapping")
    return _Spec({}, lost=True)


def _decode_subject(spec: _Spec, problems: Problems) -> Selector:
    found = spec.data.get("podSelector")
    if found is not None:
        return decode_selector(found, ("spec", "podSelector"), problems).selector
    if spec.data:
        meaning = "so the policy selects every pod of its namespace; write {} if that is meant"
        problems.warn(("spec", "podSelector"), "it is missing", meaning)
    return EVERYTHING


def _decode_types(spec: _Spec, problems: Problems) -> tuple[Direction, ...]:
    """The directions that the policy isolates.

    Unknown types are ignored with a warning (S8). If nothing else is there, the defaults of S6 hold
    and it is an error. Of a ``spec`` that is no mapping nothing is known, not even whether it has
    egress rules, so both directions are closed.
    """
    if spec.lost:
        return tuple(Direction)
    found = spec.data.get("policyTypes")
    if found is None or found == []:
        return _default_types(spec.data)
    path = ("spec", "policyTypes")
    if isinstance(found, str):
        problems.error(path, describe(found), "expected a list")
        found = [found]
    elif not isinstance(found, list):
        problems.error(path, describe(found), "expected a list of Ingress and Egress")
        return _default_types(spec.data)
    known = {_TYPES[each] for each in found if isinstance(each, str) and each in _TYPES}
    for index, each in enumerate(found):
        _check_type(each, index, problems)
    if known:
        return tuple(each for each in Direction if each in known)
    problems.error(path, "none of these types is known", _TYPE_RULE)
    return _default_types(spec.data)


def _check_type(found: object, index: int, problems: Problems) -> None:
    path = ("spec", "policyTypes", index)
    if not isinstance(found, str):
        problems.error(path, describe(found), expected_string(found))
    elif found not in _TYPES:
        meant = names.near_miss(found, tuple(_TYPES))
        hint = f"did you mean {meant}?" if meant else _TYPE_RULE
        problems.warn(path, f"{shown(found)} is unknown and is ignored", hint)


def _default_types(spec: Data) -> tuple[Direction, ...]:
    """Ingress always, Egress if ``egress`` has rules, or is something that could be rules (S6)."""
    if spec.get("egress") in (None, []):
        return (Direction.INGRESS,)
    return Direction.INGRESS, Direction.EGRESS


def _warn_ignored(spec: Data, isolates: tuple[Direction, ...], problems: Problems) -> None:
    for name, direction in _TYPES.items():
        if direction not in isolates and spec.get(direction.value):
            found = f"policyTypes does not list {name}"
            problems.warn(("spec", direction.value), found, "so this section is ignored")
