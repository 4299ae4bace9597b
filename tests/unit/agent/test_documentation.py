"""docs/agent.md lists every setting with its default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from podwall.agent.config.fields import FIELDS, Field

TEXT = (Path(__file__).parents[3] / "docs" / "agent.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([a-z-]+)` \| (?:`([^`]*)`)? ?\| (.*) \|$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_setting_is_documented_as_it_is(field: Field) -> None:
    found = {name: (default, text) for name, default, text in ROWS}
    assert found[field.name] == (field.default, field.help[0].upper() + field.help[1:])


def test_no_setting_is_documented_that_there_is_not() -> None:
    assert [name for name, _, _ in ROWS] == [field.name for field in FIELDS]
