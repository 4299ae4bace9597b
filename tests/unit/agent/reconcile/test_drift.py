"""What somebody changed is noticed by the next look, named, and repaired."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from podwall.agent.reconcile.drift import look, worth_telling
from podwall.agent.status import Cause
from podwall.dataplane.iptables.mode import Mode
from podwall.errors import CommandFailed
from podwall.model.net import Family
from tests.builders import pod
from tests.unit.agent.reconcile.rig import Rig
from tests.unit.dataplane.scenario import cluster


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(tmp_path)
    made.sync(cluster())
    made.check()
    made.writes()
    return made


def ipset(rig: Rig, *lines: str) -> None:
    rig.kernel.sets.restore("".join(f"{line}\n" for line in lines), lambda *_: None)


def iptables(rig: Rig, *lines: str, flush: bool = False) -> None:
    text = "".join(f"{line}\n" for line in ("*filter", *lines, "COMMIT"))
    tables = rig.kernel.tables[rig.mode, Family.V4]
    tables.restore(text, flush, rig.kernel.sets.by_name, lambda *_: None)


def peers(rig: Rig) -> str:
    return next(name for name in rig.kernel.sets.by_name if name.startswith("PW4-p-"))


DAMAGES: dict[str, tuple[Callable[[Rig], None], str]] = {
    "a member less": (lambda rig: ipset(rig, f"del {peers(rig)} 10.0.1.9"), "lost 10.0.1.9"),
    "a member more": (lambda rig: ipset(rig, f"add {peers(rig)} 10.9.9.9"), "held 10.9.9.9"),
    "a rule first": (
        lambda rig: iptables(rig, "-I FORWARD 1 -s 10.9.0.0/16 -j ACCEPT"),
        "1 rule stands before the jump from FORWARD to PW-FORWARD (IPv4), the first is: "
        "-s 10.9.0.0/16 -j ACCEPT",
    ),
    "an empty chain": (lambda rig: iptables(rig, ":PW-deny - [0:0]"), "chain PW-deny is empty"),
    "a new table": (lambda rig: iptables(rig, flush=True), "chains are gone (IPv4): "),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_somebody_changed_is_named_and_repaired(rig: Rig, name: str) -> None:
    damage, words = DAMAGES[name]
    damage(rig)
    rig.check()
    [(text, count)] = rig.seen.drifts
    assert words in text
    assert count == 1
    assert rig.holds(cluster())
    repair = rig.seen.applies[-1]
    assert repair.cause is Cause.DRIFT
    assert words in repair.reason
    assert rig.keeper.ledger.status.drift_repairs == 1
    assert rig.keeper.ledger.status.in_sync
    rig.writes()
    rig.check()
    assert rig.writes() == []
    assert len(rig.seen.drifts) == 1


def test_connections_that_came_in_meanwhile_are_judged_again(rig: Rig) -> None:
    rig.asked.clear()
    iptables(rig, ":PW-deny - [0:0]")
    rig.check()
    assert rig.asked == [None]


def test_a_look_at_a_kernel_that_is_right_writes_and_compares_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwanted(*_: object) -> None:
        pytest.fail("it was read in full")

    monkeypatch.setattr("podwall.dataplane.ipset.parse.parse_save", unwanted)
    monkeypatch.setattr("podwall.dataplane.iptables.parse.parse_save", unwanted)
    rig.now += 5
    rig.check()
    assert rig.writes() == []
    assert rig.keeper.ledger.status.last_check == 1e9 + rig.now


def test_what_podwall_wrote_itself_is_no_drift(rig: Rig) -> None:
    rig.give(pod("dev/more", "10.0.1.10", node="b", app="client"))
    rig.check()
    rig.give(pod("dev/here", "10.0.0.9", node="a", app="db"))
    rig.check()
    assert rig.seen.drifts == []


def test_a_write_of_ours_that_somebody_undoes_is_drift(rig: Rig) -> None:
    rig.give(pod("dev/more", "10.0.1.10", node="b", app="client"))
    ipset(rig, f"del {peers(rig)} 10.0.1.10")
    rig.check()
    [(text, _)] = rig.seen.drifts
    assert "lost 10.0.1.10" in text


def test_the_next_look_comes_sooner_after_a_drift_and_later_where_it_takes_long(rig: Rig) -> None:
    iptables(rig, ":PW-deny - [0:0]")
    rig.check()
    assert rig.keeper.check_at == rig.now + 1
    rig.check()
    assert rig.keeper.check_at == rig.now + rig.options.check_every
    began, rig.now = rig.now, rig.now + 2
    assert rig.keeper.dataplane is not None
    rig.keeper.checked(look(rig.keeper.dataplane), began)
    assert rig.keeper.check_at == rig.now + 2 / rig.options.check_share


def test_the_same_rival_again_and_again_is_counted_in_a_row(rig: Rig) -> None:
    for _ in range(5):
        iptables(rig, "-I FORWARD 1 -j ACCEPT")
        rig.check()
        iptables(rig, "-D FORWARD -j ACCEPT")
    iptables(rig, ":PW-deny - [0:0]")
    rig.check()
    assert [count for _, count in rig.seen.drifts] == [1, 2, 3, 4, 5, 1]
    assert rig.keeper.ledger.status.drift_repairs == 6


def test_what_happens_again_and_again_is_worth_telling_less_and_less_often() -> None:
    assert [each for each in range(1, 40) if worth_telling(each)] == [1, 2, 4, 8, 16, 32]


def test_a_drift_that_cannot_be_repaired_is_no_repair(rig: Rig) -> None:
    iptables(rig, ":PW-deny - [0:0]")
    rig.kernel.interrupt = fail_restore
    rig.check()
    assert rig.seen.drifts == []
    assert not rig.keeper.ledger.status.in_sync
    rig.kernel.interrupt = lambda *_: None
    assert rig.keeper.retry()
    assert rig.holds(cluster())


def fail_restore(program: str, number: int, line: str) -> None:
    if program.endswith("-restore"):
        raise CommandFailed([program], 1, "out of order")


@pytest.mark.parametrize("mode", Mode)
def test_after_a_flush_of_everything_the_mode_is_found_out_anew(tmp_path: Path, mode: Mode) -> None:
    rig = Rig(tmp_path, mode)
    rig.sync(cluster())
    for family in Family:
        for each in Mode:
            rig.kernel.tables[each, family].restore(
                "*filter\nCOMMIT\n", True, rig.kernel.sets.by_name, lambda *_: None
            )
    rig.mode = mode.other
    rig.check()
    assert rig.keeper.ledger.status.mode == mode.other.value
    assert rig.holds(cluster())


def test_what_others_print_cannot_break_a_line(rig: Rig) -> None:
    iptables(rig, '-I FORWARD 1 -m comment --comment "a\x1b[31m b" -j ACCEPT')
    rig.check()
    [(text, _)] = rig.seen.drifts
    assert text.isprintable()
