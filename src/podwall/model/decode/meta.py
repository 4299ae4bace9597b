"""``metadata``: name, namespace and labels."""

from __future__ import annotations

from podwall.model.decode import names
from podwall.model.decode.fields import Data, expected_string, mapping, warn_typos
from podwall.model.decode.problem import Path, Problems, describe, shown

_READ = (
    "name",
    "namespace",
    "labels",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "ownerReferences",
    "annotations",
    "generateName",
    "generation",
    "managedFields",
    "finalizers",
    "resourceVersion",
    "selfLink",
    "deletionGracePeriodSeconds",
)


def metadata(data: Data, problems: Problems) -> Data:
    """The ``metadata`` mapping of an object, its fields checked for typos."""
    meta = mapping(data, "metadata", (), problems)
    warn_typos(meta, _READ, ("metadata",), problems)
    return meta


def decode_name(meta: Data, problems: Problems) -> str | None:
    """``metadata.name``, or ``None`` where there is none to speak of.

    A name that Kubernetes would refuse is an error and is kept in a printable form, so that the
    object still has its effect.
    """
    return _name(meta, "name", names.is_name(_as_text(meta.get("name"))), problems)


def decode_namespace_name(meta: Data, problems: Problems) -> str | None:
    """``metadata.name`` of a Namespace, which follows the stricter rule for DNS labels."""
    return _name(meta, "name", names.is_namespace_name(_as_text(meta.get("name"))), problems)


def decode_namespace_of(meta: Data, default: str, problems: Problems) -> str | None:
    """``metadata.namespace``; ``default`` where it is absent or empty."""
    value = meta.get("namespace")
    if value is None or value == "":
        return default
    return _name(meta, "namespace", names.is_namespace_name(_as_text(value)), problems)


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _name(meta: Data, field: str, valid: bool, problems: Problems) -> str | None:
    value = meta.get(field)
    if valid and isinstance(value, str):
        return value
    path: Path = ("metadata", field)
    if not isinstance(value, str):
        found = "it is missing" if value is None else describe(value)
        expected = "expected a name" if value is None else expected_string(value)
        problems.error(path, found, expected)
        return None
    if not value:
        problems.error(path, "it is empty", "expected a name")
        return None
    rule = names.NAMESPACE_RULE if field == "namespace" else names.NAME_RULE
    problems.error(path, f"{shown(value)} is not a valid name", rule)
    return names.printable_name(value)


def decode_labels(data: Data, field: str, path: Path, problems: Problems) -> dict[str, str]:
    """A mapping of labels; what an API server would refuse is an error, and is kept as text.

    A label that was left out would let the object through every ``DoesNotExist`` and ``NotIn``, and
    past the policies that select it by that label.
    """
    found = data.get(field)
    if type(found) is not dict:
        mapping(data, field, path, problems)
        return {}
    labels = {
        key: value
        for key, value in found.items()
        if type(value) is str
        and type(key) is str
        and names.is_label_value(value)
        and names.is_label_key(key)
    }
    if len(labels) != len(found):
        for key, value in found.items():
            if key not in labels:
                check_label(key, value, (*path, field), problems)
                labels.setdefault(_label_text(key), _label_text(value))
    return labels


def _label_text(value: object) -> str:
    """What a label's key or value that is none is kept as, bounded and printable."""
    match value:
        case str():
            return names.printable_name(value)
        case bool():
            return "true" if value else "false"
        case int():
            # Python refuses to write thousands of decimal digits.
            return names.printable_name(f"{value}" if abs(value) < 10**20 else f"{value:#x}")
        case float():
            return f"{value:.15g}"
        case _:
            return ""


def check_label(key: object, value: object, path: Path, problems: Problems) -> bool:
    """Whether a label could be on an object; if not, say why."""
    if not isinstance(key, str):
        problems.error(path, f"a key: {describe(key)}", "expected a string")
        return False
    path = (*path, key)
    if not names.is_label_key(key):
        problems.error(path, f"{shown(key)} is not a label key", names.KEY_RULE)
        return False
    if not isinstance(value, str):
        problems.error(path, describe(value), expected_string(value))
        return False
    if not names.is_label_value(value):
        problems.error(path, f"{shown(value)} is not a label value", names.VALUE_RULE)
        return False
    return True
