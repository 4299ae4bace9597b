"""What the tools say when they refuse a batch: which line, or that another holds the lock."""

from __future__ import annotations

import re
from collections.abc import Sequence

from podwall.dataplane.command import Completed
from podwall.errors import BatchRefused, CommandFailed, LockTimeout

_LINE = (
    re.compile(r"Error occurred at line: (\d+)"),  # both modes, what the parser refuses
    re.compile(r"(?m)^line (\d+): \w+ failed"),  # nf_tables, what the kernel refuses
    re.compile(r"line (\d+) failed"),  # legacy, also for COMMIT, which stands for any line
    re.compile(r"COMMIT expected at line (\d+)"),
    re.compile(r"Error in line (\d+):"),  # ipset
)
_LOCKED = ("holding the xtables lock", "Stopped waiting after")
TOO_LONG = "Message too long"
"""What nf_tables mode says about a batch that does not fit into one message."""

NO_SUCH_SET = "The set with the given name does not exist"
"""Part of what ipset says about a set that is not there."""

IN_USE = "in use by a kernel component"
"""Part of what ipset says about a set that a rule still names."""


def refused_line(stderr: str, text: str) -> int | None:
    """The line, from 1, that a tool blames; ``None`` if none, or the batch as a whole."""
    if TOO_LONG in stderr:
        return None
    for pattern in _LINE:
        if found := pattern.search(stderr):
            line = int(found[1])
            lines = text.split("\n")
            if not 0 < line <= len(lines) or lines[line - 1] in ("COMMIT", ""):
                return None
            return line
    return None


def batch_error(
    argv: Sequence[str], completed: Completed, text: str, lock_seconds: float
) -> CommandFailed | LockTimeout:
    """The error that a restore program's failure stands for.

    An exit status is not enough: 4 is a lock that was not got in legacy mode, and any refusal of
    the kernel in nf_tables mode.
    """
    if any(words in completed.stderr for words in _LOCKED):
        return LockTimeout(lock_seconds)
    return BatchRefused(
        argv, completed.status, completed.stderr, refused_line(completed.stderr, text), text
    )
