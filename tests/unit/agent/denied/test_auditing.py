"""What audited policies would have denied: how long it is kept, and when it is forgotten."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import msgspec
import pytest

from podwall.agent.denied.auditing import AuditedKey, AuditLedger
from podwall.agent.lock import LEDGER_NAME
from podwall.model.policy import Policy, PolicyKey
from tests.builders import allow, policy

A, B = "dev/a", "dev/b"


def audited(*policies: Policy) -> dict[PolicyKey, Policy]:
    return {each.key: each for each in policies}


def key(*policies: str, source: str = "dev/web") -> AuditedKey:
    return AuditedKey(policies, source, "dev/db", "80/tcp", "ingress")


class Book:
    """A ledger in a directory, with a clock that only moves when it is told to."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / LEDGER_NAME
        self.now = 100.0
        self.ledger = self.reopen()

    def reopen(self, most: int = 100) -> AuditLedger:
        """As the next agent does."""
        self.ledger = AuditLedger(self.path, lambda: self.now, most)
        self.ledger.load()
        return self.ledger

    @property
    def counts(self) -> dict[AuditedKey, int]:
        return {key: each.count for key, each in self.ledger.flows.items()}


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


def test_what_was_counted_outlives_the_agent(book: Book) -> None:
    book.ledger.follow(audited(policy(A)))
    book.ledger.add(key(A), 101.0)
    book.ledger.add(key(A), 150.0)
    book.ledger.save()
    book.now = 500.0
    book.reopen()
    assert book.ledger.since == 100.0
    book.ledger.follow(audited(policy(A)))
    ((found, count),) = book.ledger.flows.items()
    assert (found, count.count, count.first, count.last) == (key(A), 2, 101.0, 150.0)
    assert book.ledger.policies[A].since == 100.0


def test_the_file_is_for_its_owner_and_written_only_when_something_changed(book: Book) -> None:
    book.ledger.save()
    assert not book.path.exists()
    book.ledger.add(key(A), 1.0)
    book.ledger.save()
    assert stat.S_IMODE(book.path.stat().st_mode) == 0o600
    first = book.path.stat().st_ino
    book.ledger.save()
    assert book.path.stat().st_ino == first
    assert list(book.path.parent.iterdir()) == [book.path]


def test_a_changed_policy_is_counted_anew_and_others_go_on(book: Book) -> None:
    book.ledger.follow(audited(policy(A), policy(B)))
    for each in (key(A), key(B)):
        book.ledger.add(each, 101.0)
    book.now = 200.0
    book.ledger.follow(audited(policy(A, ingress=[allow()]), policy(B)))
    assert book.counts == {key(B): 1}
    assert (book.ledger.policies[A].since, book.ledger.policies[B].since) == (200.0, 100.0)


def test_of_whom_flows_were_counted_together_with_a_policy_that_changed_is_known_since_then(
    book: Book,
) -> None:
    book.ledger.follow(audited(policy(A), policy(B)))
    book.ledger.add(key(A, B), 101.0)
    book.now = 200.0
    # B alone would deny the same, but nothing says so any more: it was not silent since 100.
    book.ledger.follow(audited(policy(B)))
    assert (book.counts, book.ledger.policies[B].since) == ({}, 200.0)


def test_what_was_too_much_to_keep_is_over_when_no_policy_of_then_is_left(book: Book) -> None:
    book.reopen(most=1)
    book.ledger.follow(audited(policy(A), policy(B)))
    book.ledger.add(key(A), 101.0)
    book.ledger.add(key(B), 102.0)
    book.ledger.follow(audited(policy(B)))
    assert book.ledger.flows.forgotten == 1
    book.ledger.follow(audited(policy(B, ingress=[allow()])))
    assert book.ledger.flows.forgotten == 0


def test_a_policy_that_is_enforced_or_gone_is_forgotten(book: Book) -> None:
    book.ledger.follow(audited(policy(A), policy(B)))
    for each in (key(A), key(B), key(A, B)):
        book.ledger.add(each, 101.0)
    book.ledger.follow(audited(policy(B)))
    assert book.counts == {key(B): 1}
    assert set(book.ledger.policies) == {B}


def test_a_policy_that_changed_while_no_agent_ran_is_counted_anew(book: Book) -> None:
    book.ledger.follow(audited(policy(A)))
    book.ledger.add(key(A), 101.0)
    book.ledger.save()
    book.reopen()
    assert book.counts == {key(A): 1}
    book.ledger.follow(audited(policy(A, ingress=[allow()])))
    assert book.counts == {}


def test_an_equal_policy_that_was_read_again_is_the_same(book: Book) -> None:
    book.ledger.follow(audited(policy(A)))
    book.ledger.add(key(A), 101.0)
    book.ledger.follow(audited(policy(A)))
    assert book.counts == {key(A): 1}


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"format": 7}', b"[" * 5000, b"\xff\xfe", b"{}" * 100]
)
def test_a_file_that_cannot_be_understood_is_said_and_replaced(
    book: Book, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    book.path.write_bytes(text)
    book.reopen()
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    assert str(book.path) in caplog.text
    book.ledger.add(key(A), 1.0)
    book.ledger.save()
    assert book.reopen().policies == {}
    assert book.counts == {key(A): 1}


def test_a_file_of_a_later_version_is_not_guessed_at(
    book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    book.ledger.add(key(A), 1.0)
    book.ledger.save()
    kept = json.loads(book.path.read_bytes())
    book.path.write_bytes(msgspec.json.encode({**kept, "format": 2}))
    book.reopen()
    assert book.counts == {}
    assert "its format is 2, expected 1" in caplog.text


def test_a_disk_that_is_full_is_said_once_and_tried_again(
    book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    book.ledger.add(key(A), 1.0)
    # A directory in its place: it can be neither written nor replaced.
    (book.path / "x").mkdir(parents=True)
    book.ledger.save()
    book.ledger.save()
    assert len(caplog.records) == 1
    (book.path / "x").rmdir()
    book.path.rmdir()
    book.ledger.save()
    assert book.reopen().since == 100.0
    assert book.counts == {key(A): 1}


def test_the_file_stays_small_whatever_was_seen(book: Book) -> None:
    book.reopen(most=10)
    for number in range(50):
        book.ledger.add(key(A, source=f"10.0.0.{number}"), float(number))
    book.ledger.save()
    assert len(json.loads(book.path.read_bytes())["flows"]) == 10
    book.reopen(most=10)
    assert book.ledger.flows.forgotten == 40
