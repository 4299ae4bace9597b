"""Whatever happens to an agent and its kernel, the kernel ends at what the cluster asks for.

Batches of events come in, the agent is killed between any two lines that it sends and another one
takes over, somebody else tampers with tables and sets, locks are held, rules are refused. When all
of that is over the kernel holds exactly the compiled ruleset of the cluster as it is then. Until
it is, a failure is told: a keeper that says it is in sync has a kernel that is.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from podwall.agent.reconcile.keeper import Keeper
from podwall.cluster.events import Applied, ClusterObject, Deleted, Event, ObjectKey
from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.cluster.state import key_of
from podwall.dataplane.iptables.mode import Mode
from podwall.dataplane.memory.errors import Refused
from podwall.model.net import Family
from podwall.model.objects import Namespace, Node, Pod
from podwall.model.policy import Policy
from podwall.ruleset.compile import compile_node
from tests import strategies
from tests.unit.agent.reconcile.rig import Rig, listing

HERE = "n1"


class Killed(BaseException):
    """The agent ends here, whatever it was doing."""


def snapshot_of(objects: Mapping[ObjectKey, ClusterObject]) -> Snapshot:
    things = objects.values()
    return build_snapshot(
        pods=[each for each in things if isinstance(each, Pod)],
        namespaces=[each for each in things if isinstance(each, Namespace)],
        policies=[each for each in things if isinstance(each, Policy)],
        nodes=[each for each in things if isinstance(each, Node)],
    )


@st.composite
def things(draw: st.DrawFn) -> ClusterObject:
    pod = st.builds(
        lambda pod, here: msgspec.structs.replace(pod, node=HERE if here else pod.node),
        strategies.pods(),
        st.booleans(),
    )
    namespace = st.sampled_from(strategies.NAMESPACES).flatmap(strategies.namespaces)
    found: ClusterObject = draw(st.one_of(pod, pod, strategies.policies(), namespace))
    return found


class AgentMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.objects: dict[ObjectKey, ClusterObject] = {}

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            self.directory.cleanup()

    @initialize(mode=st.sampled_from(Mode))
    def an_agent_starts(self, mode: Mode) -> None:
        self.rig = Rig(Path(self.directory.name), mode, node=HERE)
        self.put(*strategies.NODES)
        self.rig.sync(snapshot_of(self.objects))

    def put(self, *objects: ClusterObject) -> None:
        self.objects.update((key_of(each), each) for each in objects)

    @property
    def keeper(self) -> Keeper:
        return self.rig.keeper

    def restart(self) -> None:
        self.rig.new_keeper()
        self.rig.sync(snapshot_of(self.objects))

    @rule(added=st.lists(things(), max_size=4), data=st.data(), moment=st.integers(-40, 40))
    def events_come(self, added: list[ClusterObject], data: st.DataObject, moment: int) -> None:
        """Some come and some go; perhaps the agent is killed while it writes that down."""
        known = sorted(self.objects, key=repr)
        gone = data.draw(st.lists(st.sampled_from(known), max_size=2)) if known else []
        events: list[Event] = [*map(Applied, added), *map(Deleted, gone)]
        self.put(*added)
        for key in gone:
            self.objects.pop(key, None)
        left = [moment]

        def tick(_program: str, _number: int, _line: str) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        if moment > 0:
            self.rig.kernel.interrupt = tick
        try:
            self.rig.give(*events)
        except Killed:
            self.rig.kernel.interrupt = lambda *_: None
            self.restart()
        self.rig.kernel.interrupt = lambda *_: None

    @rule(family=st.sampled_from(Family), mode=st.sampled_from(Mode))
    def somebody_rewrites_the_table(self, family: Family, mode: Mode) -> None:
        text = "*filter\n-A FORWARD -s 192.0.2.1/32 -j ACCEPT\nCOMMIT\n"
        tables = self.rig.kernel.tables[mode, family]
        tables.restore(text, True, self.rig.kernel.sets.by_name, lambda *_: None)

    @rule(data=st.data(), family=st.sampled_from(Family))
    def somebody_flushes_a_chain_of_ours(self, data: st.DataObject, family: Family) -> None:
        chains = compile_node(snapshot_of(self.objects), HERE).family(family).chains
        name = data.draw(st.sampled_from(sorted(chains)))
        self.tamper_with_table(family, f":{name} - [0:0]")

    @rule(family=st.sampled_from(Family))
    def somebody_comes_first(self, family: Family) -> None:
        self.tamper_with_table(family, "-I FORWARD 1 -s 192.0.2.9/32 -j ACCEPT")

    def tamper_with_table(self, family: Family, line: str) -> None:
        tables = self.rig.kernel.tables[self.rig.mode, family]
        tables.restore(
            f"*filter\n{line}\nCOMMIT\n", False, self.rig.kernel.sets.by_name, lambda *_: None
        )

    @precondition(lambda self: self.rig.kernel.sets.by_name)
    @rule(data=st.data(), verb=st.sampled_from(("flush", "destroy")))
    def somebody_empties_or_destroys_a_set(self, data: st.DataObject, verb: str) -> None:
        sets = self.rig.kernel.sets
        name = data.draw(st.sampled_from(sorted(sets.by_name)))
        if verb == "flush":
            sets.by_name[name].members.clear()
            return
        with contextlib.suppress(Refused):  # A rule names it.
            sets.restore(f"destroy {name}\n", lambda *_: None)

    @rule()
    def somebody_holds_the_lock_for_a_while(self) -> None:
        self.rig.kernel.locked = True

    @rule()
    def the_lock_is_free(self) -> None:
        self.rig.kernel.locked = False
        if self.keeper.retry_at is not None:
            self.rig.now = self.keeper.retry_at
            self.keeper.retry()

    @rule()
    def the_agent_restarts(self) -> None:
        self.restart()

    @rule()
    def the_agent_restarts_in_the_other_mode(self) -> None:
        self.rig.mode = self.rig.mode.other
        self.restart()

    @rule()
    def the_list_comes_anew(self) -> None:
        self.rig.give(*listing(snapshot_of(self.objects)))

    @rule()
    def time_goes_by(self) -> None:
        self.rig.now += 60
        if self.keeper.retry_at is None:
            self.rig.check()
        else:
            self.keeper.retry()
        if self.keeper.ledger.status.in_sync:
            self.hold()

    def settle(self) -> None:
        self.rig.kernel.locked = False
        if self.keeper.retry_at is not None:
            assert self.keeper.retry()
        for _ in range(2):
            self.rig.now += 60
            self.rig.check()
        self.hold()
        self.rig.writes()
        self.rig.check()
        assert self.rig.writes() == []
        self.restart()
        assert self.rig.writes() == []

    def hold(self) -> None:
        assert self.keeper.ledger.status.in_sync, self.keeper.ledger.status.error
        assert self.keeper.waiting == 0
        assert self.rig.holds(snapshot_of(self.objects))


TestKeeper = AgentMachine.TestCase
TestKeeper.settings = settings(
    max_examples=max(1, settings().max_examples // 2), stateful_step_count=12
)
