"""The thread that reads the log: when it reads, what it leaves out, and what it survives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from podwall.agent.denied import watch
from podwall.agent.denied.auditing import AuditLedger
from podwall.agent.denied.record import Named, Record
from podwall.agent.denied.watch import DeniedPackets, Surroundings
from podwall.agent.status import DeniedStatus
from podwall.errors import KernelError
from podwall.model.policy import Policy, PolicyKey
from podwall.ruleset.ir import LogKind
from tests.builders import policy
from tests.unit.agent.denied.making import Group, named

A = policy("dev/a")


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class World:
    """The thread and all that it has to do with; naming takes no time unless a test says so."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.group = Group()
        self.wanted = True
        self.work = 0.0
        self.cost = 0.0
        self.audited: dict[PolicyKey, Policy] | None = {A.key: A}
        self.told: list[str] = []
        self.batches: list[int] = []
        self.defect: Exception | None = None
        self.record = Record(AuditLedger(directory / "audit.json", time.time))
        self.thread = DeniedPackets(
            DeniedStatus(logging=True, group=7),
            Surroundings(
                self.group.open,
                lambda: self.wanted,
                self._name,
                lambda: self.audited,
                lambda found: self.told.extend(each.source for each in found),
            ),
            self.record,
            work=lambda: self.work,
        )

    def _name(self, packets: Sequence[str]) -> tuple[Sequence[Named], int]:
        if self.defect is not None:
            raise self.defect
        self.work += self.cost * len(packets)
        self.batches.append(len(packets))
        kinds = (LogKind.AUDIT if each.startswith("audit") else LogKind.DENY for each in packets)
        found = [
            named(each, kind=kind, policies=("dev/a",))
            for each, kind in zip(packets, kinds, strict=True)
            if not each.startswith("nameless")
        ]
        return found, len(packets) - len(found)


@contextmanager
def world(directory: Path) -> Iterator[World]:
    found = World(directory)
    found.thread.start()
    try:
        yield found
    finally:
        found.thread.stop(20)
        assert not found.thread.alive
        found.group.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(watch, "RETRY_FIRST", 0.01)
    monkeypatch.setattr(watch, "RETRY_LONGEST", 0.02)


def test_what_the_kernel_logs_is_named_kept_and_told(tmp_path: Path) -> None:
    with world(tmp_path) as found:
        found.group.put("a", "b", "audit c")
        until(lambda: len(found.told) == 3)
        assert found.told == ["a", "b", "audit c"]
        status = found.thread.status()
        assert (status.reading, status.wanted, status.error) == (True, True, "")
        assert (status.denied, status.audited, status.unnamed) == (2, 1, 0)
        assert len(found.record.ring) == 3


def test_nothing_is_read_while_nobody_wants_it(tmp_path: Path) -> None:
    with world(tmp_path) as found:
        until(lambda: found.thread.status().reading)
        found.wanted = False
        until(lambda: not found.thread.status().reading)
        assert not found.thread.status().wanted
        found.wanted = True
        until(lambda: found.group.opened == 2)


def test_a_group_that_another_program_has_is_said_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with world(tmp_path) as found:
        found.group.failure = KernelError("another program reads group 7")
        found.wanted = False
        until(lambda: not found.thread.status().reading)
        found.wanted = True
        until(lambda: found.thread.status().error)
        time.sleep(0.1)
        status = found.thread.status()
        assert (status.wanted, status.reading) == (True, False)
        assert status.error == "another program reads group 7"
        assert caplog.text.count("another program reads group 7") == 1
        found.group.failure = None
        until(lambda: found.thread.status().reading)
        assert found.thread.status().error == ""


def test_what_the_kernel_threw_away_is_counted_across_openings(tmp_path: Path) -> None:
    with world(tmp_path) as found:
        until(lambda: found.thread.status().reading)
        found.group.lost = 3
        assert found.thread.status().lost == 3
        found.wanted = False
        until(lambda: not found.thread.status().reading)
        assert found.thread.status().lost == 3


def test_what_cannot_be_named_is_counted(tmp_path: Path) -> None:
    with world(tmp_path) as found:
        found.group.put("a", "nameless", "b")
        until(lambda: len(found.told) == 2)
        assert found.thread.status().unnamed == 1


def test_a_flood_is_read_and_left_out_where_naming_has_had_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MOST_WAITING", 100)
    with world(tmp_path) as found:
        # The first batch takes more processor time than there is for an hour.
        found.cost = 1000.0
        for number in range(50):
            found.group.put(*(f"{number}.{each}" for each in range(20)))
        until(lambda: found.thread.status().unnamed >= 1000 - 100 - watch.BATCH - 20)
        assert len(found.batches) == 1
        assert found.thread.alive


def test_naming_goes_on_in_bounded_batches(tmp_path: Path) -> None:
    with world(tmp_path) as found:
        found.group.put(*map(str, range(500)))
        until(lambda: len(found.told) == 500)
        assert max(found.batches) == watch.BATCH
        assert found.told == list(map(str, range(500)))


@pytest.mark.parametrize("failure", [KernelError("gone"), OSError("gone"), ZeroDivisionError("x")])
def test_no_failure_ends_the_thread(tmp_path: Path, failure: Exception) -> None:
    with world(tmp_path) as found:
        found.group.on_read = failure
        found.group.put("lost")
        until(lambda: found.group.opened == 2)
        found.defect = failure
        found.group.put("unnamed")
        until(lambda: found.group.opened >= 3)
        found.defect = None
        found.group.put("a")
        until(lambda: "a" in found.told)


def test_the_ledger_follows_the_policies_and_is_written_now_and_then_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "KEEP_EVERY", 0.01)
    with world(tmp_path) as found:
        until((tmp_path / "audit.json").exists)
        assert found.record.audits
        found.group.put("audit a")
        until(lambda: found.thread.status().audited)
        found.audited = None
    again = Record(AuditLedger(tmp_path / "audit.json", time.time))
    again.load()
    ((_, (audited,), _),) = [again.audited()]
    assert [each.source for each in audited.flows] == ["audit a"]


def test_a_policy_is_known_before_anything_is_counted_for_it(tmp_path: Path) -> None:
    with world(tmp_path) as found:
        found.group.put("audit a")
        until(lambda: found.thread.status().audited)
        assert found.record.audits
        found.record.follow({A.key: A})
        ((_, (audited,), _),) = [found.record.audited()]
        assert [each.source for each in audited.flows] == ["audit a"]


def test_a_thread_that_was_never_started_can_be_stopped(tmp_path: Path) -> None:
    found = World(tmp_path)
    found.thread.stop(1)
    found.group.close()
