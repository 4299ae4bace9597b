"""What the tools say when they refuse: texts of iptables 1.8.9 in both modes and ipset 7.17."""

from __future__ import annotations

import pytest

from podwall.dataplane.command import Completed
from podwall.dataplane.refusal import batch_error, refused_line
from podwall.errors import BatchRefused, LockTimeout

BATCH = "*filter\n:PW-x - [0:0]\n-A PW-x -j DROP\n-A PW-x -j NOPE\n-X PW-y\nCOMMIT\n"


@pytest.mark.parametrize(
    ("stderr", "line"),
    [
        (
            "iptables-restore v1.8.9 (legacy): Set NOPE doesn't exist.\n\n"
            "Error occurred at line: 3\nTry `iptables-restore -h' or 'iptables-restore --help'\n",
            3,
        ),
        (
            "iptables-restore v1.8.9 (legacy): Couldn't load target `NOPE':No such file or "
            "directory\n\nError occurred at line: 4\n",
            4,
        ),
        ("iptables-restore: line 5 failed\n", 5),
        ("iptables-restore: line 6 failed\n", None),
        (
            "iptables-nft-restore v1.8.9 (nf_tables): Chain 'PW-none' does not exist\n"
            "Error occurred at line: 6\n",
            None,
        ),
        ("iptables-nft-restore: line 2 failed: No chain/target/match by that name.\n", 2),
        (
            "iptables-nft-restore v1.8.9 (nf_tables): \n"
            "line 3: RULE_APPEND failed (Invalid argument): rule in chain PW-x\n",
            3,
        ),
        (
            "iptables-nft-restore v1.8.9 (nf_tables): \n"
            "line 5: CHAIN_DEL failed (Device or resource busy): chain PW-y\n",
            5,
        ),
        ("ipset v7.17: Error in line 2: Hash is full, cannot add more elements\n", 2),
        ("iptables-restore: COMMIT expected at line 7\n", None),
        ("iptables-restore v1.8.9 (legacy): no command specified\n", None),
        (
            "sendmsg() failed: Message too long\niptables-nft-restore: line 4 failed: Message too "
            "long.\n",
            None,
        ),
        ("Error occurred at line: 999\n", None),
        ("", None),
    ],
)
def test_the_refused_line_is_found(stderr: str, line: int | None) -> None:
    assert refused_line(stderr, BATCH) == line


def test_a_comment_in_the_batch_is_not_mistaken_for_a_line_number() -> None:
    said = (
        'iptables-restore v1.8.9 (legacy): unknown option "line 2 failed"\n'
        "Error occurred at line: 4\n"
    )
    assert refused_line(said, BATCH) == 4


def test_a_refusal_shows_the_lines_around() -> None:
    error = batch_error(["iptables-restore"], Completed("", "line 4 failed", 1), BATCH, 5)
    assert isinstance(error, BatchRefused)
    assert "refused line 4 of 6: line 4 failed" in str(error)
    assert ">    4 -A PW-x -j NOPE" in str(error)


def test_the_lock_is_told_from_other_failures_by_what_is_said_not_by_the_status() -> None:
    locked = (
        "Can't lock /run/xtables.lock: Resource temporarily unavailable\n"
        "Another app is currently holding the xtables lock. Stopped waiting after 5s.\n"
    )
    error = batch_error(["iptables-restore"], Completed("", locked, 4), BATCH, 5)
    assert isinstance(error, LockTimeout)
    assert error.seconds == 5
    assert isinstance(batch_error(["x"], Completed("", "line 3: oops", 4), BATCH, 5), BatchRefused)
    denied = "Fatal: can't open lock file /run/xtables.lock: Permission denied\n"
    assert isinstance(batch_error(["x"], Completed("", denied, 4), BATCH, 5), BatchRefused)
