"""A keeper on a fake kernel, with a clock that only moves when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from podwall.agent.reconcile.drift import look
from podwall.agent.reconcile.inbox import Arrival
from podwall.agent.reconcile.keeper import Keeper
from podwall.agent.reconcile.options import ReconcileOptions
from podwall.agent.status import Applied, ObjectProblem
from podwall.cluster import events
from podwall.cluster.events import ClusterObject, Event, Kind, ObjectKey, Remaining
from podwall.cluster.snapshot import Snapshot
from podwall.cluster.state import key_of
from podwall.dataplane.command import DEFAULT_TIMEOUT, Completed
from podwall.dataplane.conntrack import CutReport
from podwall.dataplane.iptables.mode import Mode
from podwall.dataplane.kernel import KernelDataPlane
from podwall.dataplane.memory import MemoryKernel, memory_dataplane
from podwall.errors import KernelError
from podwall.model.net import Address
from podwall.model.objects import Namespace, Node, Pod
from podwall.model.policy import Policy
from podwall.model.settings import Settings
from podwall.ruleset.compile import compile_node
from podwall.ruleset.ir import Ruleset

NODE = "a"


class Notebook:
    """An observer that writes everything down."""

    def __init__(self) -> None:
        self.applies: list[Applied] = []
        self.drifts: list[tuple[str, int]] = []
        self.cuts: list[CutReport] = []
        self.failures: list[tuple[KernelError, float]] = []
        self.cut_failures: list[tuple[KernelError, float]] = []
        self.changes: list[tuple[ObjectKey, tuple[ObjectProblem, ...]]] = []

    def applied(self, applied: Applied) -> None:
        self.applies.append(applied)

    def drifted(self, text: str, count: int) -> None:
        self.drifts.append((text, count))

    def cut(self, report: CutReport) -> None:
        self.cuts.append(report)

    def failed(self, error: KernelError, retry_in: float) -> None:
        self.failures.append((error, retry_in))

    def cut_failed(self, error: KernelError, retry_in: float) -> None:
        self.cut_failures.append((error, retry_in))

    def problem_changed(self, key: ObjectKey, problems: tuple[ObjectProblem, ...]) -> None:
        self.changes.append((key, problems))


def applied(thing: ClusterObject) -> Event:
    return events.Applied(thing)


def objects(snapshot: Snapshot) -> list[ClusterObject]:
    """Everything in a cluster."""
    return [
        *snapshot.namespaces.values(),
        *snapshot.nodes.values(),
        *snapshot.pods.values(),
        *snapshot.policies.values(),
    ]


def listing(snapshot: Snapshot) -> list[Event]:
    """The first lists of all kinds, each to its end."""
    everything = objects(snapshot)
    types = {
        Kind.POD: Pod,
        Kind.NAMESPACE: Namespace,
        Kind.NODE: Node,
        Kind.POLICY: Policy,
    }
    return [
        *map(applied, everything),
        *(
            Remaining(kind, frozenset(key_of(each) for each in everything if isinstance(each, of)))
            for kind, of in types.items()
        ),
    ]


class SharedKernel(MemoryKernel):
    """A kernel that several threads may use at once, as they may a real one."""

    def __init__(self, plain: Mode) -> None:
        super().__init__(plain)
        self._lock = threading.Lock()

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | bytes | None = None,  # noqa: A002
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Completed:
        with self._lock:
            return super().run(argv, input=input, timeout=timeout)


class Rig:
    """What a test holds in its hands."""

    def __init__(
        self,
        directory: Path,
        mode: Mode = Mode.NFT,
        settings: Settings = Settings(),
        node: str = NODE,
    ):
        self.kernel = SharedKernel(mode)
        self.mode = mode
        self.node = node
        self.settings = settings
        self.seen = Notebook()
        self.now = 1000.0
        self.asked: list[frozenset[Address] | None] = []
        self.options = ReconcileOptions(lock_file=directory / "lock", lock_seconds=0)
        self.keeper = self.new_keeper()

    def new_keeper(self) -> Keeper:
        """Another one, as after a restart."""
        keeper = Keeper(
            self.node,
            self.settings,
            self.open,
            self.seen,
            self.options,
            lambda: self.now,
            lambda: 1e9 + self.now,
        )
        keeper.judge = self.asked.append
        self.keeper = keeper
        return keeper

    def open(self) -> KernelDataPlane:
        return memory_dataplane(self.kernel, self.mode)

    def give(self, *given: Event | ClusterObject, received: float | None = None) -> bool:
        """Hand events over in one batch, as if they had arrived at ``received``, or just now."""
        at = self.now if received is None else received
        batch = [Arrival(_event(each), at) for each in given]
        return self.keeper.take(batch)

    def sync(self, snapshot: Snapshot) -> None:
        """Let the keeper know a whole cluster."""
        self.give(*listing(snapshot))

    def check(self) -> None:
        """Look at the kernel now, and act on what is seen."""
        assert self.keeper.dataplane is not None
        self.keeper.checked(look(self.keeper.dataplane), self.now)

    def writes(self) -> list[tuple[str, ...]]:
        """The commands so far that wrote something; then they are forgotten."""
        found = [
            words
            for words in self.kernel.commands
            if words[0].endswith("-restore") or words[1:2] == ("restore",) or "delete" in words
        ]
        self.kernel.commands.clear()
        return found

    def holds(self, snapshot: Snapshot) -> bool:
        """Whether the kernel holds what a cluster asks for, and nothing else of ours."""
        return self.holds_rules(compile_node(snapshot, self.node, self.settings))

    def holds_rules(self, desired: Ruleset) -> bool:
        observed = memory_dataplane(self.kernel, self.mode).observe()
        for wanted in desired.families:
            half = observed.family(wanted.family)
            assert half.chains == {name: each.rules for name, each in wanted.chains.items()}
            assert {name: each.members for name, each in half.sets.items()} == {
                name: each.members for name, each in wanted.sets.items()
            }
            assert {hook: [each.chain for each in jumps] for hook, jumps in half.hooks.items()} == {
                hook: [chain] for hook, chain in wanted.hooks.items()
            }
        return True


def _event(given: Event | ClusterObject) -> Event:
    if isinstance(given, Pod | Namespace | Node | Policy):
        return events.Applied(given)
    return given
