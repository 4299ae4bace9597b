"""Real tools that fail, hang, are missing or wait for a lock, and random texts through them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podwall.dataplane.apply import StepRefused, clean_up, enforce
from podwall.dataplane.command import SystemRunner
from podwall.dataplane.iptables import split
from podwall.dataplane.iptables.mode import Mode, detect_mode
from podwall.dataplane.kernel import open_kernel, open_kernels
from podwall.errors import CommandFailed, CommandTimeout, KernelError, LockTimeout, ToolMissing
from podwall.model.net import Family
from podwall.ruleset.compile import compile_node
from podwall.ruleset.diff import cleanup, diff
from podwall.ruleset.ir import (
    Chain,
    ChainRole,
    Drop,
    End,
    Hook,
    IPSet,
    MatchSet,
    Rule,
    SetRole,
    SetType,
)
from podwall.ruleset.plan import ChainStep, Observed, SetStep
from tests.e2e.kernel import PrivateKernel, private_kernel
from tests.unit.dataplane import strategies as own
from tests.unit.dataplane.bench import Bench
from tests.unit.dataplane.scenario import BAD, cluster

pytestmark = pytest.mark.kernel

V4, V6 = Family.V4, Family.V6
STEP = ChainStep(
    V4,
    replace=(Chain("PW-FORWARD", ChainRole.ROOT, (Rule(Drop()),)),),
    hook=((Hook.FORWARD, "PW-FORWARD"),),
)


@pytest.fixture
def kernel() -> Iterator[PrivateKernel]:
    with private_kernel() as private:
        yield private


@pytest.fixture(scope="module", params=Mode, ids=lambda mode: mode.value)
def shared(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """One kernel for many examples; each leaves it empty."""
    with private_kernel() as private:
        yield Bench(private.runner, request.param)


def wrap(directory: Path, program: str, script: str) -> dict[str, str]:
    """An environment in which ``program`` is a script; ``real`` in it is the real one."""
    path = directory / program
    path.write_text(f'#!/bin/sh\nreal() {{ PATH=${{PATH#*:}} {program} "$@"; }}\n{script}\n')
    path.chmod(0o755)
    return {"PATH": f"{directory}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"}


def hold_lock(kernel: PrivateKernel) -> subprocess.Popen[str]:
    holder = kernel.start("flock", "/run/xtables.lock", "sh", "-c", "echo held; exec cat")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_the_lock_held_by_another_is_waited_for_with_a_bound(kernel: PrivateKernel) -> None:
    dataplane = open_kernel(kernel.runner, Mode.LEGACY, lock_seconds=1)
    holder = hold_lock(kernel)
    with pytest.raises(LockTimeout, match="1 s"):
        dataplane.run(STEP)
    assert dataplane.observe().v4.chains == {}
    holder.communicate()
    dataplane.run(STEP)
    assert list(dataplane.observe().v4.chains) == ["PW-FORWARD"]


def test_in_nf_tables_mode_there_is_no_lock_to_wait_for(kernel: PrivateKernel) -> None:
    holder = hold_lock(kernel)
    dataplane = open_kernel(kernel.runner, Mode.NFT, lock_seconds=1)
    dataplane.run(STEP)
    assert list(dataplane.observe().v4.chains) == ["PW-FORWARD"]
    holder.communicate()


def test_a_lock_that_is_released_in_time_is_no_error(kernel: PrivateKernel) -> None:
    dataplane = open_kernel(kernel.runner, Mode.LEGACY, lock_seconds=30)
    holder = hold_lock(kernel)
    waiting = kernel.start("iptables-legacy", "-w", "30", "-N", "PW-other")
    assert holder.stdin is not None
    holder.stdin.close()
    dataplane.run(STEP)
    waiting.communicate()
    holder.wait()
    for stream in (holder.stdout, holder.stderr):
        assert stream is not None
        stream.close()
    assert "PW-FORWARD" in dataplane.observe().v4.chains


@pytest.mark.parametrize("mode", Mode)
def test_a_tool_that_hangs_is_killed_and_the_next_run_goes_on(
    kernel: PrivateKernel, mode: Mode, tmp_path: Path
) -> None:
    desired = compile_node(cluster(), "a")
    env = wrap(tmp_path, f"ip6tables-{mode.value}-restore", "sleep 600")
    hanging = open_kernel(kernel.with_environment(env), mode, timeout=1)
    with pytest.raises(CommandTimeout, match="ip6tables"):
        enforce(hanging, desired)
    working = open_kernel(kernel.runner, mode)
    assert working.observe().v4.chains
    assert not working.observe().v6.chains
    enforce(working, desired)
    assert not diff(working.observe(), desired)


@pytest.mark.parametrize("mode", Mode)
def test_wherever_a_tool_fails_the_next_run_gets_there(
    kernel: PrivateKernel, mode: Mode, tmp_path: Path
) -> None:
    desired = compile_node(cluster(), "a")
    changed = compile_node(cluster("10.0.1.20"), "a", refused=frozenset({BAD}))
    count = tmp_path / "count"
    # The tool dies before or after its work, at the n-th call of any of the three.
    script = f'n=$(($(cat {count}) - 1)); echo $n > {count}; [ $n = 0 ] && exit 9; real "$@"'
    script += "; s=$?; [ $n = 1 ] && kill -9 $$; exit $s"
    env: dict[str, str] = {}
    for program in ("ipset", f"iptables-{mode.value}-restore", f"ip6tables-{mode.value}-restore"):
        env = wrap(tmp_path, program, script)
    working = open_kernel(kernel.runner, mode)
    failing = open_kernel(kernel.with_environment(env), mode)
    failures = 0
    for moment in range(1, 10):
        enforce(working, desired)
        count.write_text(str(moment))
        try:
            enforce(failing, changed)
        except KernelError:
            failures += 1
        enforce(working, changed)
        assert not diff(working.observe(), changed)
    assert failures >= 4


def test_a_batch_sent_in_parts_is_finished_wherever_it_broke_off(
    kernel: PrivateKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split, "RULES_AT_ONCE", 3)
    desired = compile_node(cluster(), "a")
    count = tmp_path / "count"
    script = 'text=$(cat; echo .); text=${text%.}; [ $(printf %s "$text" | wc -l) -gt 24 ] && '
    script += '{ echo "sendmsg() failed: Message too long" >&2; exit 1; }; '
    script += f"n=$(($(cat {count}) - 1)); echo $n > {count}; [ $n -le 0 ] && exit 9; "
    script += 'printf %s "$text" | real "$@"'
    dataplane = open_kernel(
        kernel.with_environment(wrap(tmp_path, "iptables-nft-restore", script)), Mode.NFT
    )
    failures = 0
    for moment in (2, 3, 5, 100):
        count.write_text(str(moment))
        try:
            enforce(dataplane, desired)
        except KernelError:
            failures += 1
    assert failures == 3
    assert not diff(dataplane.observe(), desired)


def test_a_missing_tool_is_named_with_its_package(kernel: PrivateKernel, tmp_path: Path) -> None:
    runner = kernel.runner
    with pytest.raises(ToolMissing, match="package ipset"):
        runner.run(["ipset-that-is-not-there", "save"])


def test_a_tool_that_fails_while_reading_is_not_taken_for_an_empty_kernel(
    kernel: PrivateKernel, tmp_path: Path
) -> None:
    env = wrap(tmp_path, "iptables-nft-save", "echo broken >&2; exit 1")
    with pytest.raises(CommandFailed, match="broken"):
        open_kernel(kernel.with_environment(env), Mode.NFT).observe()


@pytest.mark.parametrize("mode", Mode)
def test_sets_with_spaces_in_their_names_stop_nothing_and_stay(
    kernel: PrivateKernel, mode: Mode
) -> None:
    bench = Bench(kernel.runner, mode)
    desired = compile_node(cluster(), "a")
    theirs = ("PW4-p-a b", "PW4-p-a hash:ip", "PW4-cut x", "PW4-cut 10.0.0.1,tcp:1,10.0.0.2")
    enforce(bench.dataplane, desired)
    for name in theirs:
        kernel.output("ipset", "create", name, "hash:ip")
        kernel.output("ipset", "add", name, "192.0.2.1")
    assert not diff(bench.dataplane.observe(), desired)
    assert bench.dataplane.repair() == 0
    enforce(bench.dataplane, compile_node(cluster("10.0.1.20"), "a"))
    enforce(bench.dataplane, desired)
    clear(bench)
    names = kernel.output("ipset", "list", "-n").splitlines()
    assert sorted(names) == sorted(theirs)


def test_where_proc_is_missing_ipv6_is_not_taken_for_missing(kernel: PrivateKernel) -> None:
    hidden = SystemRunner(
        (
            *kernel.prefix,
            "unshare",
            "--mount",
            "sh",
            "-c",
            'mount -t tmpfs none /proc; exec "$@"',
            "x",
        )
    )
    with pytest.raises(KernelError, match="whether this host has IPv6"):
        open_kernel(hidden, Mode.NFT)


@pytest.mark.parametrize("mode", Mode)
def test_s10_a_refused_policy_is_found_and_the_rest_is_enforced(
    kernel: PrivateKernel, mode: Mode, tmp_path: Path
) -> None:
    # A kernel that has no match of this kind: the tool learns it at COMMIT, and names no rule.
    script = 'text=$(cat; echo .); text=${text%.}; case $text in *"--dport 5432"*) '
    script += (
        'echo "iptables-restore: line $(printf %s "$text" | grep -c \'\') failed" >&2; exit 1;; '
    )
    script += 'esac; printf %s "$text" | real "$@"'
    env = wrap(tmp_path, f"iptables-{mode.value}-restore", script)
    dataplane = open_kernel(kernel.with_environment(env), mode)
    report = enforce(
        dataplane,
        compile_node(cluster(), "a"),
        lambda policies: compile_node(cluster(), "a", refused=policies),
    )
    assert [refusal.policies for refusal in report.refusals] == [(BAD,)]
    assert not diff(dataplane.observe(), compile_node(cluster(), "a", refused=frozenset({BAD})))
    with pytest.raises(StepRefused):
        enforce(dataplane, compile_node(cluster(), "a"))


@pytest.mark.parametrize("mode", Mode)
def test_enforce_and_clean_up_leave_others_as_they_were(kernel: PrivateKernel, mode: Mode) -> None:
    bench = Bench(kernel.runner, mode)
    for family in Family:
        bench.restore(family, ":THEIRS - [0:0]", "-A THEIRS -j DROP", "-A FORWARD -j THEIRS")
    bench.ipset("create THEIRS hash:ip", "add THEIRS 192.0.2.1")
    before = [bench.rules(family) for family in Family], bench.sets()
    desired = compile_node(cluster(), "a")
    enforce(bench.dataplane, desired)
    assert enforce(bench.dataplane, desired).steps == 0
    for family in Family:
        forward = [line for line in bench.rules(family) if line.startswith("-A FORWARD")]
        assert [line.rpartition(" ")[2] for line in forward] == ["PW-FORWARD", "THEIRS"]
    clear(bench)
    assert ([bench.rules(family) for family in Family], bench.sets()) == before


@pytest.mark.parametrize("mode", Mode)
def test_the_mode_that_holds_rules_is_found(kernel: PrivateKernel, mode: Mode) -> None:
    kernel.output(f"iptables-{mode.value}", "-A", "INPUT", "-j", "ACCEPT")
    assert detect_mode(kernel.runner) is mode
    kernel.output(f"iptables-{mode.other.value}", "-t", "mangle", "-N", "KUBE-IPTABLES-HINT")
    assert detect_mode(kernel.runner) is mode.other


@pytest.mark.parametrize("mode", Mode)
def test_rules_that_others_add_in_the_other_mode_do_not_move_ours(
    kernel: PrivateKernel, mode: Mode
) -> None:
    desired = compile_node(cluster(), "a")
    enforce(open_kernel(kernel.runner, mode), desired)
    theirs = [f"-A OUTPUT -p tcp -m tcp --dport {port} -j ACCEPT" for port in range(1, 81)]
    Bench(kernel.runner, mode.other).restore(V4, *theirs)
    dataplane = open_kernel(kernel.runner)
    assert (dataplane.mode, dataplane.strays) == (mode, ())
    enforce(open_kernel(kernel.runner, mode.other), desired)
    dataplane = open_kernel(kernel.runner, mode)
    assert dataplane.strays == tuple(sorted(desired.v4.chains.keys() | desired.v6.chains.keys()))
    clean_up(open_kernels(kernel.runner))
    for each in Mode:
        assert open_kernel(kernel.runner, each).observe() == Observed()
    assert Bench(kernel.runner, mode.other).rules(V4)[4:-1] == theirs


def clear(bench: Bench) -> None:
    for step in cleanup(bench.dataplane.observe()).steps:
        bench.dataplane.run(step)


def some_sets(family: Family) -> tuple[IPSet, ...]:
    prefix = f"PW{family.value}"
    kinds = (SetType.HASH_IP, SetType.HASH_NET, SetType.HASH_IP_PORT)
    return tuple(
        IPSet(f"{prefix}-p-{kind.name.lower()}", kind, family, SetRole.PEERS) for kind in kinds
    )


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), family=st.sampled_from(Family))
def test_any_rule_survives_the_real_tools_unchanged(
    shared: Bench, data: st.DataObject, family: Family
) -> None:
    sets = some_sets(family)
    matches = st.builds(
        MatchSet,
        st.sampled_from([each.name for each in sets]),
        st.lists(st.sampled_from(End), min_size=1, max_size=3).map(tuple),
        st.booleans(),
    )
    rules = data.draw(
        st.lists(own.rules(family, matches, st.just("PW-target")), min_size=1, max_size=20)
    )
    chains = (
        Chain("PW-probed", ChainRole.PROFILE, tuple(rules)),
        Chain("PW-target", ChainRole.DENY),
    )
    try:
        shared.dataplane.run(SetStep(create=sets))
        shared.dataplane.run(ChainStep(family, replace=chains))
        seen = shared.dataplane.observe().family(family).chains
        assert seen == {chain.name: chain.rules for chain in chains}
        saved = shared.rules(family)
        restore = [shared.programs.restore(family)]
        assert shared.runner.run(restore, input="\n".join([*saved, ""])).status == 0
        assert shared.rules(family) == saved
    finally:
        clear(shared)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sets=st.lists(own.ipsets(), max_size=8, unique_by=lambda each: each.name))
def test_any_set_survives_the_real_tool_unchanged(shared: Bench, sets: list[IPSet]) -> None:
    try:
        shared.dataplane.run(SetStep(create=tuple(sets)))
        observed = shared.dataplane.observe()
        found = {**observed.v4.sets, **observed.v6.sets}
        assert found == {each.name: each for each in sets}
    finally:
        clear(shared)
