"""The gate, incremental applies, and the way back after what goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from podwall.agent.reconcile.inbox import Arrival
from podwall.agent.reconcile.overdue import KEPT, Overdue
from podwall.agent.reconcile.problems import MOST
from podwall.agent.status import Cause
from podwall.cluster.events import Deleted, Kind, NamespaceKey, NodeKey, Remaining
from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.dataplane.hostlock import host_lock
from podwall.dataplane.iptables.mode import Mode
from podwall.errors import KernelError, LockTimeout, ToolMissing
from podwall.model.net import Family
from podwall.model.policy import PolicyKey
from podwall.model.settings import Settings
from tests.builders import addr, allow, node, pod, pod_key, policy, port
from tests.unit.agent.reconcile.rig import Rig, applied, listing, objects
from tests.unit.dataplane.scenario import BAD, GOOD, cluster


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def with_objects(snapshot: Snapshot, *more: object) -> Snapshot:
    """The cluster with objects added or replaced."""
    everything = [*objects(snapshot), *more]
    kinds: dict[str, list[object]] = {}
    for each in everything:
        kinds.setdefault(type(each).__name__, []).append(each)
    return build_snapshot(
        kinds.get("Pod", ()),  # type: ignore[arg-type]
        kinds.get("Namespace", ()),  # type: ignore[arg-type]
        kinds.get("Policy", ()),  # type: ignore[arg-type]
        kinds.get("Node", ()),  # type: ignore[arg-type]
    )


def test_nothing_is_written_before_every_kind_was_listed_to_its_end(rig: Rig) -> None:
    *first, last = listing(cluster())
    rig.give(*first)
    assert rig.keeper.live is None
    assert rig.kernel.commands == []
    assert not rig.keeper.ledger.status.in_sync
    rig.give(last)
    assert rig.holds(cluster())
    assert rig.keeper.ledger.status.in_sync
    [sync] = rig.seen.applies
    assert (sync.cause, sync.latencies) == (Cause.SYNC, ())


def test_the_same_kind_twice_does_not_open_the_gate(rig: Rig) -> None:
    rig.give(*(Remaining(Kind.POD) for _ in Kind))
    assert rig.keeper.live is None


def test_before_the_gate_opens_what_an_earlier_life_left_stays_in_force(rig: Rig) -> None:
    rig.sync(cluster())
    rig.new_keeper()
    rig.kernel.commands.clear()
    rig.give(Remaining(Kind.POD), Remaining(Kind.POLICY), Remaining(Kind.NAMESPACE))
    assert rig.holds(cluster())
    assert rig.writes() == []


def test_a_restart_with_nothing_changed_writes_nothing(rig: Rig) -> None:
    rig.sync(cluster())
    rig.writes()
    rig.new_keeper()
    rig.sync(cluster())
    rig.check()
    assert rig.writes() == []
    assert rig.keeper.ledger.status.in_sync
    assert rig.seen.applies[-1].report.steps == 0
    assert rig.keeper.ledger.status.applies == 0


def test_an_event_that_concerns_nobody_here_touches_nothing(rig: Rig) -> None:
    rig.sync(cluster())
    rig.kernel.commands.clear()
    rig.give(pod("other/x", "10.0.7.7", node="b", app="none"))
    assert rig.kernel.commands == []
    assert len(rig.seen.applies) == 1


def test_a_peer_that_comes_is_one_batch_and_reads_nothing(rig: Rig) -> None:
    rig.sync(cluster())
    rig.kernel.commands.clear()
    rig.now += 5
    rig.give(pod("dev/more", "10.0.1.10", node="b", app="client"), received=rig.now - 0.25)
    assert rig.kernel.commands == [("ipset", "restore")]
    change = rig.seen.applies[-1]
    assert (change.cause, change.reason, change.latencies) == (
        Cause.EVENT,
        "pod dev/more",
        (0.25,),
    )
    assert (change.report.members_added, change.report.rules_added) == (1, 0)
    assert rig.holds(with_objects(cluster(), pod("dev/more", "10.0.1.10", node="b", app="client")))


def test_only_events_that_changed_the_kernel_have_a_latency(rig: Rig) -> None:
    rig.sync(cluster())
    rig.give(
        pod("other/x", "10.0.7.7", node="b"),
        pod("dev/more", "10.0.1.10", node="b", app="client"),
        pod("dev/client", "10.0.1.9", node="b", app="client"),
        Deleted(pod_key("dev/nobody")),
    )
    assert len(rig.seen.applies[-1].latencies) == 1
    assert rig.seen.applies[-1].reason == "pod dev/more"


def test_a_batch_names_its_first_event_and_counts_the_others(rig: Rig) -> None:
    rig.sync(cluster())
    rig.give(
        pod("dev/m1", "10.0.1.10", node="b", app="client"),
        pod("dev/m2", "10.0.1.11", node="b", app="client"),
        Deleted(pod_key("dev/client")),
    )
    assert rig.seen.applies[-1].reason == "pod dev/m1 and 2 more"
    assert len(rig.seen.applies[-1].latencies) == 3


def test_connections_are_judged_by_the_addresses_that_a_change_is_about(rig: Rig) -> None:
    rig.sync(cluster())
    assert rig.asked == [None]
    rig.give(pod("dev/client", "10.0.1.9", node="b", app="stranger"))
    judged = rig.asked[-1]
    assert judged is None or addr("10.0.1.9") in judged


@pytest.mark.parametrize("mode", Mode)
def test_what_the_kernel_does_not_hold_any_more_is_found_by_a_failing_step(
    tmp_path: Path, mode: Mode
) -> None:
    rig = Rig(tmp_path, mode)
    rig.sync(cluster())
    [peers] = [name for name in rig.kernel.sets.by_name if name.startswith("PW4-p-")]
    for family in Family:
        tables = rig.kernel.tables[mode, family]
        tables.restore("*filter\nCOMMIT\n", True, rig.kernel.sets.by_name, lambda *_: None)
    del rig.kernel.sets.by_name[peers]
    more = pod("dev/more", "10.0.1.10", node="b", app="client")
    rig.give(more)
    assert rig.holds(with_objects(cluster(), more))
    assert rig.seen.failures == []
    [(text, count)] = rig.seen.drifts
    assert "refused" in text
    assert count == 1


def test_a_policy_that_the_kernel_refuses_isolates_and_the_others_go_on(rig: Rig) -> None:
    for family in Family:
        rig.kernel.tables[rig.mode, family].refuses = lambda spec: "dev/bad" in spec
    rig.sync(cluster())
    assert rig.keeper.live is not None
    assert rig.keeper.live.refused == {BAD}
    assert rig.keeper.ledger.status.in_sync
    [problem] = rig.keeper.problems.all()
    assert (problem.kind, problem.name) == ("NetworkPolicy", "dev/bad")
    assert "the kernel refuses" in problem.text
    assert "dev/good" not in problem.text, "other users' rules are nobody's business"
    assert rig.seen.changes == [(BAD, (problem,))]
    more = pod("dev/more", "10.0.1.10", node="b", app="client")
    rig.give(more)
    rig.check()
    assert rig.seen.drifts == []
    assert rig.keeper.problems.all() == (problem,)


def test_a_refused_policy_is_tried_again_when_it_changes(rig: Rig) -> None:
    for family in Family:
        rig.kernel.tables[rig.mode, family].refuses = lambda spec: "5432" in spec
    rig.sync(cluster())
    assert [each.name for each in rig.keeper.problems.all()] == ["dev/bad"]
    better = policy("dev/bad", {"app": "db"}, ingress=[allow(ports=[port(5433)])])
    rig.give(better)
    assert rig.keeper.problems.all() == ()
    assert rig.seen.changes[-1] == (BAD, ())
    assert rig.holds(with_objects(cluster(), better))


def test_a_refused_policy_is_tried_again_after_a_while_and_enforced_if_the_reason_passed(
    rig: Rig,
) -> None:
    for family in Family:
        rig.kernel.tables[rig.mode, family].refuses = lambda spec: "dev/bad" in spec
    rig.sync(cluster())
    for family in Family:
        rig.kernel.tables[rig.mode, family].refuses = lambda _spec: False
    rig.now += 599
    rig.check()
    assert [each.name for each in rig.keeper.problems.all()] == ["dev/bad"]
    rig.now += 1
    rig.check()
    assert rig.keeper.problems.all() == ()
    assert rig.seen.changes[-1] == (BAD, ())
    assert rig.holds(cluster())


def test_a_policy_that_is_refused_again_stays_isolated_and_nobody_is_told_anew(rig: Rig) -> None:
    for family in Family:
        rig.kernel.tables[rig.mode, family].refuses = lambda spec: "dev/bad" in spec
    rig.sync(cluster())
    told = list(rig.seen.changes)
    for _ in range(2):
        rig.now += 600
        rig.check()
        assert rig.keeper.live is not None
        assert rig.keeper.live.refused == {BAD}
    assert rig.seen.changes == told
    assert rig.keeper.ledger.status.in_sync
    assert rig.seen.drifts == []


def test_a_policy_that_becomes_bad_costs_nobody_else_anything(rig: Rig) -> None:
    rig.sync(cluster())
    for family in Family:
        rig.kernel.tables[rig.mode, family].refuses = lambda spec: "666" in spec
    worse = policy("dev/bad", {"app": "db"}, ingress=[allow(ports=[port(666)])])
    more = pod("dev/more", "10.0.1.10", node="b", app="client")
    rig.give(worse, more)
    assert [each.name for each in rig.keeper.problems.all()] == ["dev/bad"]
    assert rig.keeper.ledger.status.in_sync
    assert rig.seen.drifts == []
    isolated = policy("dev/bad", {"app": "db"}, ingress=[])
    assert rig.holds(with_objects(cluster(), isolated, more))
    rig.give(Deleted(BAD))
    assert rig.keeper.problems.all() == ()


def test_a_lock_that_is_not_got_is_told_and_tried_again_with_what_came_since(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, Mode.LEGACY)
    rig.sync(cluster())
    rig.kernel.locked = True
    here = pod("dev/new", "10.0.0.9", node="a", app="web")
    rig.give(here, received=rig.now - 1)
    [(error, pause)] = rig.seen.failures
    assert isinstance(error, LockTimeout)
    assert rig.keeper.retry_at == rig.now + pause
    assert not rig.keeper.ledger.status.in_sync
    assert "xtables lock" in rig.keeper.ledger.status.error
    more = pod("dev/more", "10.0.1.10", node="b", app="client")
    rig.give(more)
    assert rig.keeper.waiting == 2
    rig.kernel.locked = False
    rig.now += pause
    assert rig.keeper.retry()
    assert rig.keeper.retry_at is None
    assert rig.keeper.waiting == 0
    assert rig.holds(with_objects(cluster(), here, more))
    assert rig.keeper.ledger.status.in_sync
    assert rig.keeper.ledger.status.error == ""
    assert rig.seen.applies[-1].cause is Cause.RETRY
    assert rig.seen.applies[-1].latencies == (1 + pause, pause)


def test_what_fails_again_and_again_is_tried_less_and_less_often(rig: Rig) -> None:
    rig.kernel.missing.add("ipset")
    rig.sync(cluster())
    for _ in range(10):
        assert not rig.keeper.retry()
    pauses = [pause for _, pause in rig.seen.failures]
    assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
    assert max(pauses) == pauses[-1] == rig.options.retry_longest
    assert all(isinstance(error, ToolMissing) for error, _ in rig.seen.failures)
    rig.kernel.missing.clear()
    assert rig.keeper.retry()
    assert rig.holds(cluster())
    assert rig.seen.applies[-1].cause is Cause.SYNC
    rig.kernel.missing.add("ipset")
    rig.give(pod("dev/more", "10.0.1.10", node="b", app="client"))
    assert rig.seen.failures[-1][1] == 0.5


def test_a_policy_that_is_edited_and_still_bad_is_in_error_all_the_time(rig: Rig) -> None:
    for family in Family:
        rig.kernel.tables[rig.mode, family].refuses = lambda spec: "dev/bad" in spec
    rig.sync(cluster())
    rig.give(policy("dev/bad", {"app": "db"}, ingress=[allow(ports=[port(5433)])]))
    assert all(problems for _, problems in rig.seen.changes)
    assert rig.keeper.problems.all()


def test_a_tool_that_goes_makes_the_host_be_looked_at_anew(rig: Rig) -> None:
    rig.sync(cluster())
    rig.kernel.missing |= {"iptables-nft-restore", "iptables-nft"}
    rig.give(pod("dev/here", "10.0.0.9", node="a", app="db"))
    rig.kernel.plain = rig.mode = Mode.LEGACY
    assert rig.keeper.retry()
    assert rig.keeper.ledger.status.mode == "legacy"


def test_what_waits_for_hours_is_counted_and_not_kept() -> None:
    overdue = Overdue()
    overdue.add(float(number) for number in range(KEPT + 5))
    overdue.add([1.0])
    assert overdue.count == KEPT + 6
    waited = overdue.settle(KEPT)
    assert (len(waited), max(waited), min(waited)) == (KEPT, KEPT, 1)
    assert (overdue.count, overdue.settle(0)) == (0, ())


def test_another_podwall_at_work_is_waited_for(rig: Rig) -> None:
    rig.sync(cluster())
    more = pod("dev/more", "10.0.1.10", node="b", app="client")
    with host_lock(0, rig.options.lock_file):
        rig.give(more)
        assert "another podwall" in rig.keeper.ledger.status.error
    assert rig.keeper.retry()
    assert rig.holds(with_objects(cluster(), more))


def test_tools_that_are_missing_at_the_start_are_told_before_the_gate_opens(rig: Rig) -> None:
    def broken() -> None:
        raise ToolMissing("iptables", "iptables")

    rig.keeper._open_dataplane = broken  # type: ignore[assignment]
    rig.keeper.open()
    assert "iptables is not installed" in rig.keeper.ledger.status.error
    rig.keeper._open_dataplane = rig.open
    rig.sync(cluster())
    assert rig.keeper.retry()
    assert rig.holds(cluster())


def test_s48_a_node_without_pod_range_is_noted_until_it_has_one(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    bare = with_objects(cluster(), node("a", "172.16.0.1"))
    rig.sync(bare)
    [note] = rig.keeper.ledger.status.notes
    assert "node a has no pod range" in note
    rig.give(node("a", "172.16.0.1", pod_cidrs=["10.0.0.0/24"]))
    assert rig.keeper.ledger.status.notes == ()
    rig.give(Deleted(NodeKey("a")))
    assert "knows no node 'a'" in rig.keeper.ledger.status.notes[0]
    assert caplog.text.count("knows no node 'a'") == 1


def test_s48_switched_off_no_pod_range_is_needed(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings=Settings(close_unknown_pods=False))
    rig.sync(with_objects(cluster(), node("a", "172.16.0.1")))
    assert rig.keeper.ledger.status.notes == ()


def test_a_list_that_comes_anew_removes_what_it_does_not_name(rig: Rig) -> None:
    rig.sync(cluster())
    rig.give(*listing(build_snapshot(nodes=cluster().nodes.values())))
    assert rig.holds(build_snapshot(nodes=cluster().nodes.values()))
    assert rig.keeper.live is not None


@pytest.mark.parametrize("mode", Mode)
def test_rules_in_the_other_mode_go_when_the_new_ones_are_in_force(
    tmp_path: Path, mode: Mode
) -> None:
    rig = Rig(tmp_path, mode.other)
    rig.sync(cluster("10.0.1.77"))
    rig.mode = mode
    rig.new_keeper()
    rig.sync(cluster())
    assert rig.holds(cluster())
    assert rig.keeper.ledger.status.mode == mode.value
    assert rig.keeper.ledger.status.notes == ()
    rig.mode = mode.other
    assert rig.open().observe().v4.chains == {}
    assert rig.open().observe().v6.hooks == {}
    rig.mode = mode
    rig.writes()
    rig.check()
    assert rig.writes() == []


def test_rules_in_the_other_mode_that_cannot_go_yet_go_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path, Mode.LEGACY)
    rig.sync(cluster())
    rig.kernel.locked = True
    rig.mode = Mode.NFT
    rig.new_keeper()
    rig.sync(cluster())
    assert rig.holds(cluster())
    assert "could not be removed" in caplog.text
    assert "in iptables' legacy mode too" in rig.keeper.ledger.status.notes[0]
    rig.kernel.locked = False
    rig.now += 60
    rig.check()
    assert rig.keeper.ledger.status.notes == ()
    rig.mode = Mode.LEGACY
    assert rig.open().observe().v4.chains == {}


def test_a_defect_loses_no_other_event_and_is_told(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig.sync(cluster())
    more = pod("dev/more", "10.0.1.10", node="b", app="client")
    rig.keeper.rebuild([Arrival(applied(more), rig.now)], RuntimeError("surprise"))
    assert "surprise" in rig.keeper.ledger.status.error
    assert rig.keeper.retry()
    assert rig.holds(with_objects(cluster(), more))
    assert "a defect of podwall" in caplog.text


def test_numbers_are_counted_when_there_is_time(rig: Rig) -> None:
    rig.sync(cluster())
    assert not rig.keeper.counted
    rig.keeper.count()
    enforced = rig.keeper.ledger.enforced
    assert (enforced.pods, enforced.isolated_pods, enforced.policies) == (2, 2, 2)
    assert rig.keeper.ledger.objects == {"Pod": 3, "Namespace": 1, "Node": 2, "NetworkPolicy": 2}


def test_problems_of_the_decoder_go_with_the_object(rig: Rig) -> None:
    rig.keeper.problems.complain(PolicyKey("dev", "odd"), ("spec: 5 is a number",))
    rig.keeper.problems.complain(NamespaceKey("odd"), ("metadata: nothing",))
    assert [each.name for each in rig.keeper.problems.all()] == ["odd", "dev/odd"]
    rig.keeper.problems.forget(Deleted(PolicyKey("dev", "odd")))
    rig.keeper.problems.forget(Remaining(Kind.NAMESPACE))
    assert rig.keeper.problems.all() == ()
    assert [problems for _, problems in rig.seen.changes[-2:]] == [(), ()]


def test_a_problem_that_stays_keeps_its_time_and_is_told_once(rig: Rig) -> None:
    key = PolicyKey("dev", "odd")
    rig.keeper.problems.complain(key, ("one",))
    rig.now += 60
    rig.keeper.problems.complain(key, ("one",))
    rig.keeper.problems.complain(key, ("one", "two"))
    assert [each.since for each in rig.keeper.problems.all()] == [1e9 + 1000, 1e9 + 1060]
    assert len(rig.seen.changes) == 2


def test_an_error_that_is_no_defect_is_tried_again(rig: Rig) -> None:
    rig.sync(cluster())
    rig.keeper.fail(KernelError("ipset did not end"))
    assert rig.keeper.ledger.status.error == "ipset did not end"
    assert rig.keeper.check_at is None
    assert rig.keeper.retry()
    assert rig.keeper.check_at is not None


def test_a_set_that_somebody_else_held_back_comes_anew_without_its_old_members(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podwall.dataplane.kernel.RETRY_PAUSES", ())
    rig.sync(cluster())
    [peers] = [name for name in rig.kernel.sets.by_name if name.startswith("PW4-p-")]
    theirs = f"*filter\n:OTHERS - [0:0]\n-A OTHERS -m set --match-set {peers} src\nCOMMIT\n"
    rig.kernel.tables[rig.mode, Family.V4].restore(
        theirs, False, rig.kernel.sets.by_name, lambda *_: None
    )
    good = cluster().policies[GOOD]
    rig.give(Deleted(GOOD))
    assert rig.kernel.sets.by_name[peers].members
    rig.give(Deleted(pod_key("dev/client")))
    rig.give(good)
    assert not rig.kernel.sets.by_name[peers].members


def test_a_defect_while_the_last_list_is_taken_in_keeps_the_gate_closed_for_a_while_only(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    *first, last = listing(cluster())
    rig.give(*first)
    rig.keeper.rebuild([Arrival(last, rig.now)], RuntimeError("surprise"))
    assert rig.keeper.retry()
    assert rig.holds(cluster())
    assert rig.seen.applies[-1].cause is Cause.SYNC


def test_after_a_defect_nobody_follows_the_cluster_twice(rig: Rig) -> None:
    rig.sync(cluster())
    [peer] = rig.keeper.live.state.peers_of(addr("10.0.1.9"))  # type: ignore[union-attr]
    for _ in range(3):
        rig.keeper.rebuild([], RuntimeError("surprise"))
        assert rig.keeper.retry()
    live = rig.keeper.live
    assert live is not None
    live.apply([Deleted(GOOD)])
    with pytest.raises(KeyError):
        live.state.members(peer)


def test_a_defect_that_stays_is_tried_again_and_takes_no_thread_along(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.sync(cluster())

    def broken(*_: object) -> None:
        raise RuntimeError("surprise")

    with monkeypatch.context() as patch:
        patch.setattr("podwall.agent.reconcile.keeper.LiveNode", broken)
        rig.keeper.rebuild([], RuntimeError("surprise"))
        with pytest.raises(RuntimeError):
            rig.keeper.retry()
        rig.keeper.fail(RuntimeError("surprise"))
        rig.give(Deleted(GOOD))
        assert not rig.keeper.ledger.status.in_sync
    assert rig.keeper.retry()
    assert rig.holds(
        with_objects(
            build_snapshot(cluster().pods.values()),
            *(each for each in objects(cluster()) if each != cluster().policies[GOOD]),
        )
    )


def test_of_an_object_with_many_problems_the_first_are_kept(rig: Rig) -> None:
    rig.keeper.problems.complain(PolicyKey("dev", "odd"), [f"problem {n}" for n in range(101)])
    texts = [each.text for each in rig.keeper.problems.all()]
    assert texts == [*(f"problem {n}" for n in range(MOST)), "91 more problems"]
