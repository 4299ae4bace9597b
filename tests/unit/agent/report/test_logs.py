"""Log lines are one line each, bounded, whatever a record holds."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from podwall.agent.report.logs import MAX_MESSAGE, set_up_logging


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root, ours = logging.getLogger(), logging.getLogger("podwall")
    before = root.handlers[:], root.level, ours.level, logging.raiseExceptions
    yield io.StringIO()
    root.handlers[:], level, our_level, logging.raiseExceptions = before
    root.setLevel(level)
    ours.setLevel(our_level)


log = logging.getLogger("podwall.agent.test")


def test_a_text_line_has_time_level_logger_and_message(stream: io.StringIO) -> None:
    set_up_logging("text", "info", stream)
    log.info("applied in %d ms", 41)
    moment, _, rest = stream.getvalue().partition(" ")
    assert moment.endswith("Z")
    assert rest == "info agent.test: applied in 41 ms\n"


def test_a_json_line_has_the_fields_beside_the_message(stream: io.StringIO) -> None:
    set_up_logging("json", "info", stream)
    log.warning("x", extra={"fields": {"rules_added": 3, "message": "other", "who": "a\nb"}})
    line = json.loads(stream.getvalue())
    assert line["level"] == "warning"
    assert line["logger"] == "agent.test"
    assert line["message"] == "x"
    assert line["rules_added"] == 3
    assert line["who"] == r"a\nb"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_message_breaks_a_line_or_moves_a_cursor(log_format: str, stream: io.StringIO) -> None:
    set_up_logging(log_format, "info", stream)
    log.info("pod %s", "a\n2026 error forged: \x1b[2J\u202e\u2028")
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()
    assert "forged" in line


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_long_message_is_cut(log_format: str, stream: io.StringIO) -> None:
    set_up_logging(log_format, "info", stream)
    log.info("x" * 100_000)
    assert len(stream.getvalue()) < MAX_MESSAGE + 300
    assert "more characters" in stream.getvalue()


def test_a_traceback_cannot_forge_a_record(stream: io.StringIO) -> None:
    set_up_logging("text", "info", stream)
    try:
        raise ValueError("a\n2026 error forged: b")
    except ValueError:
        log.exception("it broke")
    lines = stream.getvalue().splitlines()
    assert len(lines) > 2
    assert all(each.startswith("    | ") for each in lines[1:])


def test_levels_below_the_chosen_one_are_left_out(stream: io.StringIO) -> None:
    set_up_logging("text", "warning", stream)
    log.info("no")
    log.warning("yes")
    logging.getLogger("asyncio").info("no")
    assert stream.getvalue().count("\n") == 1
