"""The configuration file: one flat mapping, in YAML (JSON is YAML) or, by its ending, in TOML."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path

from podwall.agent.config.fields import BY_NAME, Field
from podwall.errors import InputError
from podwall.model.decode import describe, shown

MAX_BYTES = 1 << 20
"""A larger file is no configuration."""


def read_config_file(path: str) -> dict[str, str]:
    """The settings in a file, as texts by name.

    Raises:
        InputError: the file cannot be read, or holds something other than settings.
    """
    data = _parse(path, _read(path))
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InputError(f"{path}: {describe(data)}, expected a mapping of settings")
    return {_name(path, key): _text(path, BY_NAME[str(key)], data[key]) for key in data}


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: it is larger than {MAX_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: it is not UTF-8 at byte {error.start}") from error


def _parse(path: str, text: str) -> object:
    if path.endswith(".toml"):
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{path}: it is not TOML: {error}") from error
    # Most agents have no file, and need not pay for the parser.
    from podwall.manifest.document import Unreadable  # noqa: PLC0415
    from podwall.manifest.yaml_text import read_yaml  # noqa: PLC0415

    documents = list(read_yaml(text))
    for each in documents:
        if isinstance(each, Unreadable):
            wanted = f", {each.expected}" if each.expected else ""
            raise InputError(f"{path}:{each.line}: {each.found}{wanted}")
        if each.repeated:
            again = each.repeated[0]
            raise InputError(f"{path}:{each.locate(again)}: {again[-1]} is there twice")
    if len(documents) > 1:
        raise InputError(f"{path}: it holds {len(documents)} documents, expected one")
    return documents[0].data if documents else None  # type: ignore[union-attr]


def _name(path: str, key: object) -> str:
    if isinstance(key, str) and key in BY_NAME:
        return key
    raise InputError(f"{path}: there is no setting {shown(str(key))}{nearest(str(key), BY_NAME)}")


def nearest(word: str, known: Iterable[str]) -> str:
    """A question that names the known word that is most like ``word``, if one is."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def _text(path: str, field: Field, value: object) -> str:
    if field.many and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ",".join(value)
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
        case None:
            return ""
        case _:
            raise InputError(f"{path}: {field.name}: {describe(value)}, expected one value")
