"""Log lines: one for each record, as text or as JSON, whatever a record holds.

Names, labels and the words of other programs end up in messages, so control characters are escaped
and long messages cut before they reach a terminal or a log collector. A record that carries
``fields`` (``extra={"fields": {…}}``) has them beside its message in JSON; in text the message says
it all.
"""

from __future__ import annotations

import datetime
import logging
import sys
from typing import TextIO

import msgspec

MAX_MESSAGE = 4000
"""So many characters of a message are written."""

MAX_TRACE = 16_000
"""So many characters of a traceback, its end, are written; only defects have one."""

_ROOT = "podwall"


def set_up_logging(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Send the records of podwall, and warnings of its libraries, to ``stream`` (standard error).

    ``log_format`` is ``text`` or ``json``, ``level`` one of ``debug``, ``info``, ``warning`` and
    ``error``.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(_ROOT).setLevel(level.upper())
    # A log that nobody reads any more must not end what protects pods.
    logging.raiseExceptions = False


def one_line(text: str, limit: int = MAX_MESSAGE) -> str:
    """``text`` on one line: what is not printable is escaped, what is beyond ``limit`` is cut."""
    cut = text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more characters)"
    if cut.isprintable():
        return cut
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in cut
    )


class TextFormatter(logging.Formatter):
    """``2026-07-01T12:00:00.123Z info agent.reconcile: message``."""

    def format(self, record: logging.LogRecord) -> str:
        """See :meth:`logging.Formatter.format`."""
        head = f"{_time(record)} {record.levelname.lower()} {_logger(record)}"
        lines = [f"{head}: {one_line(record.getMessage())}"]
        lines += (f"    | {one_line(line)}" for line in _trace(self, record).splitlines())
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """One object: ``time``, ``level``, ``logger``, ``message`` and the fields of the record."""

    def format(self, record: logging.LogRecord) -> str:
        """See :meth:`logging.Formatter.format`."""
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": _logger(record),
            "message": one_line(record.getMessage()),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            line.update((key, _bounded(value)) for key, value in fields.items() if key not in line)
        if trace := _trace(self, record):
            line["traceback"] = trace
        return msgspec.json.encode(line, enc_hook=str).decode()


def _time(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _logger(record: logging.LogRecord) -> str:
    return record.name.removeprefix(f"{_ROOT}.")


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if not record.exc_info:
        return ""
    return formatter.formatException(record.exc_info)[-MAX_TRACE:]


def _bounded(value: object) -> object:
    return one_line(value) if isinstance(value, str) else value
