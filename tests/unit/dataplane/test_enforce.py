"""Enforcing a ruleset: nothing to do the second time, and an end to whatever was cut off."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from unittest import mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.dataplane.apply import (
    ApplyReport,
    StepRefused,
    clean_up,
    count_changes,
    enforce,
    for_families,
    plan_cleanup,
)
from podwall.dataplane.blame import PROBE_CHAIN, refused_rules
from podwall.dataplane.command import DEFAULT_TIMEOUT, Completed
from podwall.dataplane.iptables import split
from podwall.dataplane.iptables.mode import Mode
from podwall.dataplane.kernel import open_kernels
from podwall.dataplane.memory import MemoryKernel, memory_dataplane
from podwall.errors import BatchRefused, LockTimeout
from podwall.model.net import Family
from podwall.model.policy import Mode as PolicyMode
from podwall.model.policy import PolicyKey
from podwall.ruleset.compile import compile_node
from podwall.ruleset.diff import diff
from podwall.ruleset.ir import Chain, ChainRole, Drop, Hook, Return, Rule, Ruleset
from podwall.ruleset.plan import ChainStep, Observed, SetStep, UnreadableRule
from tests import strategies
from tests.builders import labels, policy
from tests.unit.dataplane import strategies as own
from tests.unit.dataplane.scenario import BAD, cluster

V4, V6 = Family.V4, Family.V6
AUDIT = PolicyMode.AUDIT


class Killed(BaseException):
    """The process ends here, whatever it was doing."""


class Killer:
    """Ends the process at the given moment: a command or a line of a batch, counted from 0."""

    def __init__(self, moment: int) -> None:
        self.moment = moment

    def __call__(self, program: str, number: int, line: str) -> None:
        if self.moment == 0:
            raise Killed
        self.moment -= 1


def ruleset(snapshot: Snapshot) -> Ruleset:
    return compile_node(snapshot, "a")


def holds(kernel: MemoryKernel, mode: Mode, desired: Ruleset) -> bool:
    """Whether the kernel holds just what is desired, by its own account."""
    observed = memory_dataplane(kernel, mode).observe()
    for family in Family:
        wanted = desired.family(family)
        seen = observed.family(family)
        assert seen.chains == {name: each.rules for name, each in wanted.chains.items()}
        assert set(seen.sets) == set(wanted.sets)
        for name, ipset in wanted.sets.items():
            assert seen.sets[name].members == ipset.members
        assert {
            hook: [(each.index, each.chain, each.plain) for each in jumps]
            for hook, jumps in seen.hooks.items()
        } == {hook: [(0, chain, True)] for hook, chain in wanted.hooks.items()}
    return not diff(observed, desired)


@pytest.mark.parametrize("mode", Mode)
def test_the_second_time_there_is_nothing_to_do(mode: Mode) -> None:
    kernel = MemoryKernel()
    desired = ruleset(cluster())
    first = enforce(memory_dataplane(kernel, mode), desired)
    assert first.steps > 0
    assert holds(kernel, mode, desired)
    kernel.commands.clear()
    second = enforce(memory_dataplane(kernel, mode), desired)
    assert (second.steps, second.rules_added, second.members_added) == (0, 0, 0)
    assert not any("restore" in words[0] or "restore" in words for words in kernel.commands)


def test_the_report_counts_what_changed() -> None:
    kernel = MemoryKernel()
    dataplane = memory_dataplane(kernel)
    first = enforce(dataplane, ruleset(cluster()), clock=iter([1.0, 1.041]).__next__)
    wanted = ruleset(cluster())
    rules = sum(len(chain.rules) for half in wanted.families for chain in half.chains.values())
    jumps = sum(len(half.hooks) for half in wanted.families)
    members = sum(len(each.members) for half in wanted.families for each in half.sets.values())
    assert first.rules_added == rules + jumps
    assert (first.rules_removed, first.members_removed) == (0, 0)
    assert first.members_added == members
    assert str(first).startswith(f"applied in 41 ms: rules +{rules + jumps} -0, members +{members}")


def test_a_pod_that_comes_elsewhere_adds_a_member_and_no_rule() -> None:
    kernel = MemoryKernel()
    dataplane = memory_dataplane(kernel)
    enforce(dataplane, ruleset(cluster()))
    report = enforce(dataplane, ruleset(cluster("10.0.1.10")))
    assert (report.rules_added, report.rules_removed) == (0, 0)
    assert (report.members_added, report.members_removed) == (1, 0)
    report = enforce(dataplane, ruleset(cluster()))
    assert (report.members_added, report.members_removed) == (0, 1)


def test_a_report_without_steps_says_so() -> None:
    assert str(ApplyReport(seconds=0.003)) == "nothing to change (3 ms)"


@pytest.mark.parametrize("mode", Mode)
def test_killed_at_any_moment_the_next_run_gets_there(mode: Mode) -> None:
    before, after = ruleset(cluster("10.0.1.10")), ruleset(build_snapshot())
    moments = 0
    while True:
        kernel = MemoryKernel()
        enforce(memory_dataplane(kernel, mode), before)
        dataplane = memory_dataplane(kernel, mode)
        kernel.interrupt = Killer(moments)
        try:
            enforce(dataplane, after)
        except Killed:
            kernel.interrupt = Killer(-1)
            enforce(memory_dataplane(kernel, mode), after)
            assert holds(kernel, mode, after)
            moments += 1
        else:
            break
    assert moments > 20


@given(strategies.snapshots(), strategies.snapshots(), st.sampled_from(Mode), st.integers(0, 150))
def test_from_any_state_cut_off_anywhere_the_next_run_gets_there(
    before: Snapshot, after: Snapshot, mode: Mode, moment: int
) -> None:
    name = strategies.NODES[0].name
    kernel = MemoryKernel()
    enforce(memory_dataplane(kernel, mode), compile_node(before, name))
    dataplane = memory_dataplane(kernel, mode)
    desired = compile_node(after, name)
    kernel.interrupt = Killer(moment)
    try:
        enforce(dataplane, desired)
    except Killed:
        kernel.interrupt = Killer(-1)
        enforce(dataplane, desired)
    kernel.interrupt = Killer(-1)
    assert holds(kernel, mode, desired)


@pytest.mark.parametrize("mode", Mode)
def test_what_was_changed_by_hand_is_put_right(mode: Mode) -> None:
    kernel = MemoryKernel()
    dataplane = memory_dataplane(kernel, mode)
    desired = ruleset(cluster())
    enforce(dataplane, desired)
    [peers] = [name for name in desired.v4.sets if name.startswith("PW4-p-")]
    tampering = [
        "*filter",
        "-I PW-FORWARD 1 -j ACCEPT",
        "-I FORWARD 1 -s 192.0.2.1/32 -j ACCEPT",
        ":PW-left-behind - [0:0]",
        "-A PW-left-behind -j PW-left-behind",
        "COMMIT",
        "",
    ]
    kernel.run([f"iptables-{mode.value}-restore", "--noflush"], input="\n".join(tampering))
    kernel.run(
        ["ipset", "restore"],
        input=f"add {peers} 192.0.2.9\ncreate PW4-b-old hash:net\ncreate PW4-odd bitmap:port\n",
    )
    seen = dataplane.observe().v4.chains["PW-FORWARD"][0]
    assert seen == UnreadableRule("-j ACCEPT")
    enforce(dataplane, desired)
    assert holds(kernel, mode, desired)
    assert set(kernel.sets.by_name) == {*desired.v4.sets, *desired.v6.sets}


class Stubborn(MemoryKernel):
    """A kernel in which removing a member, or a set of another type, fails while ``stuck``."""

    stuck = True

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | bytes | None = None,  # noqa: A002
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Completed:
        first = str(input or "").split("\n")[0]
        if self.stuck and first.startswith(("del PW4-n-odd ", "destroy PW4-odd")):
            return Completed("", "ipset v7.17: Error in line 1: Kernel error received: odd\n", 1)
        return super().run(argv, input=input, timeout=timeout)


@pytest.mark.parametrize("mode", Mode)
def test_what_cannot_be_put_right_is_told_and_the_rest_is_enforced(
    mode: Mode, caplog: pytest.LogCaptureFixture
) -> None:
    kernel = Stubborn()
    dataplane = memory_dataplane(kernel, mode)
    desired = ruleset(cluster())
    odd = "create PW4-n-odd hash:ip,port\nadd PW4-n-odd 10.0.0.1,gre:0\n"
    odd += "create PW4-odd bitmap:port\ncreate PW4-even bitmap:port\n"
    kernel.run(["ipset", "restore"], input=odd)
    enforce(dataplane, desired)
    assert holds(kernel, mode, desired)
    assert set(kernel.sets.by_name) == {*desired.v4.sets, *desired.v6.sets, "PW4-odd"}
    assert "del PW4-n-odd 10.0.0.1,gre:0" in caplog.text
    assert "Kernel error received: odd" in caplog.text
    kernel.stuck = False
    enforce(dataplane, desired)
    assert set(kernel.sets.by_name) == {*desired.v4.sets, *desired.v6.sets}


@pytest.mark.parametrize("mode", Mode)
def test_a_set_that_rules_held_onto_is_removed_once_these_are_switched(mode: Mode) -> None:
    kernel = MemoryKernel()
    kernel.run(["ipset", "restore"], input="create PW4-odd bitmap:port\n")
    rules = [":PW-old - [0:0]", "-A PW-old -m set --match-set PW4-odd src -j DROP"]
    text = "\n".join(["*filter", *rules, "COMMIT", ""])
    kernel.run([f"iptables-{mode.value}-restore", "--noflush"], input=text)
    enforce(memory_dataplane(kernel, mode), ruleset(cluster()))
    assert holds(kernel, mode, ruleset(cluster()))
    assert "PW4-odd" not in kernel.sets.by_name


@pytest.mark.parametrize("mode", Mode)
def test_s10_the_policy_that_the_kernel_refuses_is_isolated_and_the_rest_enforced(
    mode: Mode, caplog: pytest.LogCaptureFixture
) -> None:
    kernel = MemoryKernel()
    desired = ruleset(cluster())
    for family in Family:
        kernel.tables[mode, family].refuses = lambda spec: "--dport 5432" in spec
    asked: list[frozenset[PolicyKey]] = []

    def compile_without(policies: frozenset[PolicyKey]) -> Ruleset:
        asked.append(policies)
        return compile_node(cluster(), "a", refused=policies)

    with caplog.at_level(logging.WARNING):
        report = enforce(memory_dataplane(kernel, mode), desired, compile_without)
    [refusal] = report.refusals
    assert refusal.policies == (BAD,)
    assert "refused" in refusal.cause
    assert asked == [frozenset({BAD})]
    assert holds(kernel, mode, compile_node(cluster(), "a", refused=frozenset({BAD})))
    assert "dev/bad" in caplog.text
    assert PROBE_CHAIN not in memory_dataplane(kernel, mode).observe().v4.chains


@pytest.mark.parametrize("mode", Mode)
def test_s51_a_kernel_that_cannot_log_audits_nothing_and_enforces_the_rest(mode: Mode) -> None:
    kernel = MemoryKernel()
    enforced = cluster()
    quiet = policy("dev/quiet", labels({"app": "db"}), egress=[], mode=AUDIT)
    audited = msgspec.structs.replace(enforced, policies={**enforced.policies, quiet.key: quiet})
    for family in Family:
        kernel.tables[mode, family].refuses = lambda spec: "NFLOG" in spec
    report = enforce(
        memory_dataplane(kernel, mode),
        ruleset(audited),
        lambda policies: compile_node(audited, "a", refused=policies),
    )
    assert [refusal.policies for refusal in report.refusals] == [(quiet.key,)]
    assert holds(kernel, mode, ruleset(enforced))


def test_s10_a_set_that_the_kernel_refuses_is_blamed_on_the_policies_that_need_it() -> None:
    kernel = MemoryKernel()
    desired = ruleset(cluster())
    [blocks] = [name for name in desired.v4.sets if name.startswith("PW4-b-")]

    def occupied(program: str, number: int, line: str) -> None:
        if line.startswith(f"create {blocks} "):
            kernel.sets.by_name[blocks] = taken
        elif number == 0:
            kernel.sets.by_name.pop(blocks, None)

    # Something takes the name between every look and every batch, so that a fresh look is no help.
    kernel.sets.restore(f"create {blocks} hash:ip\n", lambda _number, _line: None)
    taken = kernel.sets.by_name.pop(blocks)
    kernel.interrupt = occupied
    report = enforce(
        memory_dataplane(kernel),
        desired,
        lambda policies: compile_node(cluster(), "a", refused=policies),
    )
    assert [refusal.policies for refusal in report.refusals] == [(BAD,)]


def test_an_address_that_no_set_can_hold_is_no_member_and_costs_no_policy() -> None:
    kernel = MemoryKernel()
    snapshot = cluster("0.0.0.0")
    desired = ruleset(snapshot)
    report = enforce(memory_dataplane(kernel), desired, compile_nothing)
    assert report.refusals == ()
    assert holds(kernel, Mode.NFT, desired)


def test_a_change_behind_our_back_is_not_held_against_a_policy() -> None:
    kernel = MemoryKernel()
    desired = ruleset(cluster())
    [blocks] = [name for name in desired.v4.sets if name.startswith("PW4-b-")]
    chances = [True]

    def steal(program: str, number: int, line: str) -> None:
        if program == "iptables-nft-restore" and chances:
            chances.clear()
            del kernel.sets.by_name[blocks]

    kernel.interrupt = steal
    report = enforce(memory_dataplane(kernel), desired, compile_nothing)
    assert not chances
    assert report.refusals == ()
    assert holds(kernel, Mode.NFT, desired)


def compile_nothing(policies: frozenset[PolicyKey]) -> Ruleset:
    raise AssertionError(f"no policy is at fault, but {policies} shall go")


@pytest.mark.parametrize("mode", Mode)
def test_what_is_no_policys_fault_is_raised_with_its_step(mode: Mode) -> None:
    kernel = MemoryKernel()
    for family in Family:
        kernel.tables[mode, family].refuses = lambda spec: "--ctstate" in spec
    with pytest.raises(StepRefused) as refused:
        enforce(memory_dataplane(kernel, mode), ruleset(cluster()), compile_nothing)
    assert refused.value.step.family is V4  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", Mode)
def test_all_guilty_rules_are_found_among_many(mode: Mode) -> None:
    kernel = MemoryKernel()
    kernel.tables[mode, V4].refuses = lambda spec: "guilty" in spec
    rules = [Rule(Drop() if index % 2 else Return(), (), f"rule {index}") for index in range(100)]
    guilty = [Rule(Drop(), (), "guilty 1"), Rule(Drop(), (), "guilty 2")]
    suspects = [*rules[:20], guilty[0], *rules[20:], guilty[1]]
    dataplane = memory_dataplane(kernel, mode)
    kernel.commands.clear()
    assert refused_rules(dataplane, V4, suspects) == guilty
    assert len(kernel.commands) < 60
    assert dataplane.observe().v4.chains == {}


def test_a_batch_that_is_too_long_is_filled_in_parts_and_switched_as_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(split, "RULES_AT_ONCE", 3)
    kernel = MemoryKernel()
    before, after = ruleset(cluster()), compile_node(cluster(), "a", refused=frozenset({BAD}))
    kernel.longest = 24
    enforce(memory_dataplane(kernel), before)
    assert holds(kernel, Mode.NFT, before)
    assert caplog.text.count("too long") == 2
    kernel.longest = sys.maxsize
    enforce(memory_dataplane(kernel), after)
    kernel.longest = 20
    enforce(memory_dataplane(kernel), before)
    assert holds(kernel, Mode.NFT, before)


def test_a_batch_that_is_too_long_and_all_in_force_is_refused_as_a_whole() -> None:
    kernel = MemoryKernel()
    dataplane = memory_dataplane(kernel)
    chain = Chain("PW-FORWARD", ChainRole.ROOT, (Rule(Drop()),))
    dataplane.run(ChainStep(V4, replace=(chain,), hook=((Hook.FORWARD, "PW-FORWARD"),)))
    kernel.longest = 4
    longer = Chain("PW-FORWARD", ChainRole.ROOT, (Rule(Return()), Rule(Drop())))
    with pytest.raises(BatchRefused, match="too long"):
        dataplane.run(ChainStep(V4, replace=(longer,)))
    assert dataplane.observe().v4.chains == {"PW-FORWARD": (Rule(Drop()),)}


def test_a_long_batch_that_was_killed_between_its_parts_is_finished_by_the_next_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(split, "RULES_AT_ONCE", 3)
    desired = ruleset(cluster())
    moments = 0
    while True:
        kernel = MemoryKernel()
        kernel.longest = 24
        kernel.interrupt = Killer(moments)
        try:
            enforce(memory_dataplane(kernel), desired)
        except Killed:
            kernel.interrupt = Killer(-1)
            enforce(memory_dataplane(kernel), desired)
            assert holds(kernel, Mode.NFT, desired)
            moments += 1
        else:
            break
    assert moments > 60


SAVED = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:KUBE-X - [0:0]
:PW-a - [0:0]
:PW-b - [0:0]
:PW-c - [0:0]
:PW-d - [0:0]
:PW-left - [0:0]
:PW-leftover - [0:0]
-A INPUT -m comment --comment "a -j PW-left" -j KUBE-X
-A FORWARD -m comment --comment podwall -j PW-a
-A KUBE-X -g PW-d
-A PW-a -s 10.0.0.2/32 -g PW-b
-A PW-b -p tcp -m statistic --mode random -j PW-c
-A PW-left -j PW-leftover
COMMIT
"""


def test_in_force_is_what_a_hook_leads_to_on_any_way() -> None:
    reached = split.chains_in_force(SAVED)
    assert {name for name in reached if name.startswith("PW-")} == {"PW-a", "PW-b", "PW-c", "PW-d"}


@given(st.data(), st.integers(1, 10))
def test_parts_of_a_step_never_touch_what_is_in_force_before_the_last(
    data: st.DataObject, limit: int
) -> None:
    chains = data.draw(st.lists(own.chains(V4), max_size=8, unique_by=lambda each: each.name))
    in_force = {each.name for each in chains if data.draw(st.booleans())}
    step = ChainStep(V4, tuple(chains), hook=((Hook.INPUT, "PW-x"),), delete=("PW-y",))
    with mock.patch.object(split, "RULES_AT_ONCE", limit):
        *early, last = split.split_step(step, in_force)
    assert (last.hook, last.delete) == (step.hook, step.delete)
    for part in early:
        assert not in_force & {each.name for each in part.replace}
        assert (part.unhook, part.hook, part.delete) == ((), (), ())
    result: dict[str, Chain] = {}
    for part in (*early, last):
        result.update((each.name, each) for each in part.replace)
    assert result == {each.name: each for each in chains}


def test_cleaning_up_both_modes_removes_the_rules_of_both_before_the_sets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kernel = MemoryKernel()
    for mode in Mode:
        enforce(memory_dataplane(kernel, mode), ruleset(cluster()))
    # The note that there are chains in the other mode is expected.
    caplog.clear()
    dataplanes = open_kernels(kernel)
    plans = plan_cleanup(dataplanes)
    assert [plan.steps[-1].__class__ for _, plan in plans] == [ChainStep, SetStep]
    report = clean_up(dataplanes, clock=iter([1.0, 1.5]).__next__)
    assert (report.rules_added, report.seconds) == (0, 0.5)
    assert report.rules_removed == sum(
        count_changes(plan, seen).rules_removed for seen, plan in plans
    )
    assert report.members_removed == sum(
        len(each.members) for half in ruleset(cluster()).families for each in half.sets.values()
    )
    assert not kernel.sets.by_name
    for dataplane in dataplanes:
        assert dataplane.observe() == Observed()
    assert caplog.text == ""
    assert clean_up(dataplanes).steps == 0


def test_the_lock_held_by_another_is_reported_and_the_next_run_goes_on() -> None:
    kernel = MemoryKernel()
    desired = ruleset(cluster())
    dataplane = memory_dataplane(kernel, Mode.LEGACY)
    kernel.locked = True
    with pytest.raises(LockTimeout, match="10 s"):
        enforce(dataplane, desired)
    kernel.locked = False
    enforce(dataplane, desired)
    assert holds(kernel, Mode.LEGACY, desired)


def test_without_ipv6_its_half_is_left_out_and_the_second_run_has_nothing_to_do() -> None:
    kernel = MemoryKernel()
    kernel.has_ipv6 = False
    dataplane = memory_dataplane(kernel)
    desired = ruleset(cluster())
    enforce(dataplane, desired)
    assert enforce(dataplane, desired).steps == 0
    assert holds(kernel, Mode.NFT, for_families(desired, [V4]))
