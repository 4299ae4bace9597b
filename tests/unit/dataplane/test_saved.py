"""Telling cheaply whether the kernel looks as it did."""

from __future__ import annotations

import pytest

from podwall.dataplane.counters import parse_counters
from podwall.dataplane.iptables.mode import Mode
from podwall.dataplane.memory import MemoryKernel, memory_dataplane
from podwall.dataplane.saved import Saved, first_rule, set_texts, take_prints, without_sets
from podwall.model.net import Family
from podwall.ruleset.compile import compile_node
from podwall.ruleset.diff import diff
from podwall.ruleset.ir import Drop, Hook
from podwall.ruleset.plan import Observed
from tests.unit.dataplane.scenario import cluster

SETS = """\
create KUBE-X hash:ip family inet hashsize 1024 maxelem 65536
add KUBE-X 10.0.0.1
create PW4-p-a-x hash:ip family inet hashsize 64 maxelem 1048576
add PW4-p-a-x 10.0.0.1
add PW4-p-a-x 10.0.0.2
create PW4-p-a-x b hash:ip family inet
add PW4-p-a-x b 10.0.0.3
create PW4-cut hash:ip,port,ip family inet hashsize 64 maxelem 1048576 timeout 86400
add PW4-cut 10.0.0.1,tcp:80,10.0.0.2 timeout 77
"""
TABLE = """\
*filter
:INPUT ACCEPT [5:500]
:FORWARD ACCEPT [7:700]
:KUBE-FORWARD - [0:0]
:PW-FORWARD - [0:0]
-A INPUT -j KUBE-FORWARD
-A FORWARD -m comment --comment podwall -j PW-FORWARD
-A FORWARD -j KUBE-FORWARD
-A PW-FORWARD -j DROP
COMMIT
"""


def prints(sets: str = SETS, table: str = TABLE) -> object:
    return take_prints(Saved(sets, {Family.V4: table}))


def test_only_sets_of_ours_are_told_apart() -> None:
    assert list(set_texts(SETS)) == ["PW4-p-a-x", "PW4-cut"]
    assert set_texts(SETS)["PW4-p-a-x"].count("\n") == 3
    assert "".join(set_texts("")) == ""


def test_what_is_known_is_left_out() -> None:
    left = without_sets(SETS, {"PW4-p-a-x"})
    assert left.startswith("create PW4-cut")
    assert "10.0.0.3" not in left


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("timeout 77", "timeout 76"),
        ("add PW4-cut 10.0.0.1,tcp:80,10.0.0.2 timeout 77\n", ""),
        ("add KUBE-X 10.0.0.1\n", ""),
        ("add PW4-p-a-x b 10.0.0.3", "add PW4-p-a-x b 10.0.0.4"),
    ],
)
def test_what_changes_by_itself_or_is_not_ours_changes_no_print(before: str, after: str) -> None:
    assert before in SETS
    assert prints(SETS.replace(before, after)) == prints()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("add PW4-p-a-x 10.0.0.2\n", ""),
        ("add PW4-p-a-x 10.0.0.2", "add PW4-p-a-x 10.0.0.3"),
        ("create PW4-p-a-x hash:ip", "create PW4-p-a-x hash:net"),
        ("timeout 86400", "timeout 1"),
        ("create PW4-cut", "create PW4-cit"),
    ],
)
def test_any_change_of_a_set_of_ours_changes_a_print(before: str, after: str) -> None:
    assert before in SETS
    assert prints(SETS.replace(before, after, 1)) != prints()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[7:700]", "[8:800]"),
        ("-A INPUT -j KUBE-FORWARD\n", ""),
        ("-A FORWARD -j KUBE-FORWARD\n", "-A FORWARD -j KUBE-FORWARD\n-A FORWARD -j ACCEPT\n"),
        ("*filter", "*mangle\n:PW-x - [0:0]\n-A FORWARD -j PW-x\nCOMMIT\n*filter"),
        ("-A PW-FORWARD", "[1:2] -A PW-FORWARD"),
    ],
)
def test_counters_and_rules_of_others_behind_ours_change_no_print(before: str, after: str) -> None:
    assert before in TABLE
    assert prints(table=TABLE.replace(before, after)) == prints()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("-A PW-FORWARD -j DROP\n", ""),
        (":PW-FORWARD - [0:0]\n", ":PW-FORWARD - [0:0]\n:PW-x - [0:0]\n"),
        ("-A FORWARD -m", "-A FORWARD -j ACCEPT\n-A FORWARD -m"),
        ("-A FORWARD -m comment --comment podwall -j PW-FORWARD\n", ""),
        ("-A FORWARD -j KUBE-FORWARD\n", "-A FORWARD -j PW-FORWARD\n"),
    ],
)
def test_any_change_of_a_rule_of_ours_changes_a_print(before: str, after: str) -> None:
    assert before in TABLE
    assert prints(table=TABLE.replace(before, after)) != prints()


def test_the_first_rule_of_a_hook_is_told() -> None:
    assert first_rule(TABLE, Hook.INPUT) == "-j KUBE-FORWARD"
    assert first_rule(TABLE, Hook.OUTPUT) == ""


@pytest.mark.parametrize("mode", Mode)
def test_a_set_that_is_known_is_not_read_and_makes_no_difference(mode: Mode) -> None:
    kernel = MemoryKernel()
    desired = compile_node(cluster(), "a")
    dataplane = memory_dataplane(kernel, mode)
    for step in diff(Observed(), desired).steps:
        dataplane.run(step)
    known = dict(desired.v4.sets)
    saved = dataplane.read()
    changed = Saved(saved.ipset.replace("10.0.1.9", "10.0.1.10"), saved.tables)
    assert not diff(dataplane.interpret(saved, known), desired)
    assert not diff(dataplane.interpret(changed, known), desired)
    assert diff(dataplane.interpret(changed), desired)


def test_counters_of_our_rules_are_read_with_their_rules() -> None:
    text = TABLE.replace("-A ", "[12:3456] -A ")
    [counted] = parse_counters(text, Family.V4)["PW-FORWARD"]
    assert (counted.packets, counted.bytes) == (12, 3456)
    assert counted.rule.target == Drop()  # type: ignore[union-attr]
    assert list(parse_counters(text, Family.V4)) == ["PW-FORWARD"]
    dataplane = memory_dataplane(MemoryKernel())
    assert dataplane.counters(Family.V4) == {}
