"""Whatever of ours somebody changes in the kernel is noticed, told and repaired; theirs stays."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from podwall.agent.reconcile import ReconcileOptions, Reconciler
from podwall.dataplane.iptables.mode import Mode
from podwall.dataplane.kernel import open_kernel
from podwall.model.net import Family
from podwall.model.settings import Settings
from podwall.ruleset.compile import compile_node
from tests.e2e.kernel import PrivateKernel, private_kernel
from tests.unit.agent.reconcile.rig import NODE, Notebook, listing
from tests.unit.dataplane.bench import Bench
from tests.unit.dataplane.scenario import cluster

pytestmark = pytest.mark.kernel

V4, V6 = Family.V4, Family.V6
PATIENCE = 30.0


class Watched(Notebook):
    """A notebook that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()

    def drifted(self, text: str, count: int) -> None:
        with self.changed:
            super().drifted(text, count)
            self.changed.notify()


class Node:
    """A reconciler at work on a private kernel, and somebody else who works there too."""

    def __init__(self, kernel: PrivateKernel, mode: Mode, directory: Path) -> None:
        self.bench = Bench(kernel.runner, mode)
        self.seen = Watched()
        self.reconciler = Reconciler(
            NODE,
            Settings(),
            lambda: open_kernel(kernel.runner, mode),
            self.seen,
            ReconcileOptions(check_every=0.2, check_share=1, lock_file=directory / "lock"),
        )
        for event in listing(cluster()):
            self.reconciler.take(event, 0.0)
        self.ruleset = compile_node(cluster(), NODE)
        self.peers = next(name for name in self.ruleset.v4.sets if "-p-" in name)
        self.blocks = next(name for name in self.ruleset.v4.sets if "-b-" in name)

    def state(self) -> list[str]:
        """Everything in the filter tables and sets, whoever made it."""
        return [
            *(line for family in Family for line in self.bench.rules(family)),
            *self.bench.sets(),
        ]

    def iptables(self, *words: str, family: Family = V4) -> None:
        stem = "iptables" if family is V4 else "ip6tables"
        done = self.bench.runner.run([f"{stem}-{self.bench.mode.value}", *words])
        assert done.status == 0, done.stderr

    def drift(self, number: int) -> str:
        """Wait until so many drifts were repaired; what was said of the last."""
        with self.seen.changed:
            assert self.seen.changed.wait_for(lambda: len(self.seen.drifts) >= number, PATIENCE)
            assert len(self.seen.drifts) == number, self.seen.drifts
            return self.seen.drifts[-1][0]


@pytest.fixture(params=Mode, ids=lambda mode: mode.value)
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    with private_kernel() as kernel:
        made = Node(kernel, request.param, tmp_path)
        made.bench.restore(V4, ":OTHERS - [0:0]", "-A OTHERS -s 192.0.2.1/32 -j DROP")
        made.bench.restore(V4, "-A FORWARD -j OTHERS", "-A INPUT -j OTHERS")
        made.bench.ipset("create others hash:ip", "add others 192.0.2.5")
        made.reconciler.start()
        try:
            yield made
        finally:
            assert made.reconciler.stop(PATIENCE)


def _flush_everything(node: Node) -> None:
    for family in Family:
        node.iptables("-F", family=family)
        node.iptables("-X", family=family)
    assert not node.bench.ipset("destroy").status
    # Whoever flushes everything takes the others' rules with ours; they come back as well.
    node.bench.restore(V4, ":OTHERS - [0:0]", "-A OTHERS -s 192.0.2.1/32 -j DROP")
    node.bench.restore(V4, "-A FORWARD -j OTHERS", "-A INPUT -j OTHERS")
    node.bench.ipset("create others hash:ip", "add others 192.0.2.5")


def _delete_a_set(node: Node) -> None:
    # The rules that name it have to go first, as the kernel sees to it.
    profile = next(
        name for name, chain in node.ruleset.v4.chains.items() if node.peers in str(chain.rules)
    )
    node.iptables("-F", profile)
    assert not node.bench.ipset(f"destroy {node.peers}").status


def _rewrite_the_table(node: Node) -> None:
    """As a tool does that thinks the table is its own."""
    kept = [line for line in node.bench.rules(V4) if "PW-" not in line]
    text = "\n".join([*kept, ""])
    program = node.bench.programs.restore(V4)
    done = node.bench.runner.run([program], input=text)
    assert done.status == 0, done.stderr


DAMAGES: dict[str, tuple[Callable[[Node], object], str]] = {
    "everything is flushed": (_flush_everything, "chains are gone"),
    "a set is deleted": (_delete_a_set, "is gone"),
    "a member is deleted": (
        lambda node: node.bench.ipset(f"del {node.peers} 10.0.1.9"),
        "lost 10.0.1.9",
    ),
    "a member is added": (
        lambda node: node.bench.ipset(f"add {node.peers} 203.0.113.9"),
        "held 203.0.113.9",
    ),
    "a hole is filled": (
        lambda node: node.bench.ipset(f"del {node.blocks} 192.0.2.7"),
        "lost 192.0.2.7 nomatch",
    ),
    "a rule comes before our jump": (
        lambda node: node.iptables("-I", "FORWARD", "-s", "198.51.100.0/24", "-j", "ACCEPT"),
        "1 rule stands before the jump from FORWARD to PW-FORWARD (IPv4), the first is: "
        "-s 198.51.100.0/24 -j ACCEPT",
    ),
    "our jump is deleted": (
        lambda node: node.iptables(
            *("-D", "INPUT", "-m", "comment", "--comment", "podwall", "-j", "PW-INPUT"), family=V6
        ),
        "the jump from INPUT to PW-INPUT is gone (IPv6)",
    ),
    "a chain is emptied": (
        lambda node: node.iptables("-F", "PW-deny"),
        "chain PW-deny is empty (IPv4)",
    ),
    "a rule is put into our chain": (
        lambda node: node.iptables("-I", "PW-deny", "-j", "RETURN", family=V6),
        "chain PW-deny was changed (IPv6): 0 of its",
    ),
    "a chain of ours appears": (
        lambda node: node.iptables("-N", "PW-foreign"),
        "chains are not wanted (IPv4): PW-foreign",
    ),
    "a set of ours appears": (
        lambda node: node.bench.ipset("create PW4-p-foreign-x hash:ip"),
        "set PW4-p-foreign-x is not wanted",
    ),
    "a set of ours of a strange type appears": (
        lambda node: node.bench.ipset("create PW6-p-odd-x bitmap:port range 0-9"),
        "podwall never made this: destroy PW6-p-odd-x",
    ),
    "a strange member is added": (
        lambda node: node.bench.ipset(f"add {node.blocks} 203.0.113.0/24"),
        "held 203.0.113.0/24",
    ),
    "the table is rewritten": (_rewrite_the_table, "chains are gone (IPv4)"),
}


def test_what_somebody_changes_is_named_counted_and_repaired(node: Node) -> None:
    with _synced(node):
        before = sorted(node.state())
        assert any("OTHERS" in line for line in before)
        for number, (name, (damage, words)) in enumerate(DAMAGES.items(), start=1):
            damage(node)
            text = node.drift(number)
            assert words in text, f"{name}: {text}"
            after = sorted(node.state())
            foreign = [line for line in after if "198.51.100.0/24" in line]
            assert [line for line in after if line not in foreign] == before, name
            assert len(foreign) == (number > list(DAMAGES).index("a rule comes before our jump"))
        # The others' rules stand in the order in which they stood, behind our jump.
        forward = [line for line in node.bench.rules(V4) if line.startswith("-A FORWARD")]
        assert forward == [
            "-A FORWARD -m comment --comment podwall -j PW-FORWARD",
            "-A FORWARD -s 198.51.100.0/24 -j ACCEPT",
            "-A FORWARD -j OTHERS",
        ]
    status = node.reconciler.status()
    assert status.drift_repairs == len(DAMAGES)
    assert status.in_sync
    assert node.seen.failures == []


def test_the_same_change_again_is_repaired_again_and_counted_in_a_row(node: Node) -> None:
    with _synced(node):
        for number in range(1, 4):
            node.iptables("-I", "FORWARD", "-j", "ACCEPT")
            node.drift(number)
            node.iptables("-D", "FORWARD", "-j", "ACCEPT")
    assert [count for _, count in node.seen.drifts] == [1, 2, 3]


@contextlib.contextmanager
def _synced(node: Node) -> Iterator[None]:
    """Wait for the first apply, so that all that comes is a change."""
    node.reconciler.ask(lambda picture: picture.live).result(PATIENCE)
    assert node.reconciler.status().in_sync, node.reconciler.status().error
    yield
