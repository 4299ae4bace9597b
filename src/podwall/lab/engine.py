"""What the lab asks of the engine: program a node, and say what should happen.

The lab builds and probes; enforcing and judging are somebody else's, and the two share nothing but
the snapshot: :func:`kernel_engine` programs through the compiler and the data path, and expects
what the oracle says. Both functions are handed in together, so that the lab can be tried with a
hand-written rule or with none.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.dataplane.apply import enforce
from podwall.dataplane.command import SystemRunner
from podwall.dataplane.conntrack import cut_forbidden
from podwall.dataplane.enforced import host_addresses, judged_addresses, node_allows
from podwall.dataplane.iptables.mode import Mode
from podwall.dataplane.kernel import open_kernel
from podwall.errors import KernelError
from podwall.model.flow import Flow, Verdict
from podwall.model.settings import Settings
from podwall.policy.evaluate import evaluate
from podwall.ruleset.compile import compile_node

Program = Callable[[Snapshot, str, tuple[str, ...]], None]
"""Make a node enforce: snapshot, node name, and the words before each command that run it there."""

Allows = Callable[[Snapshot, Flow], bool]
"""Whether a new connection should get through."""


class Engine(msgspec.Struct, frozen=True):
    """How nodes are programmed, and what is expected of them then.

    ``settings`` are those by which both read what the specification leaves open.
    """

    program: Program
    allows: Allows
    settings: Settings = Settings()


def open_engine() -> Engine:
    """No enforcement: nothing is programmed, everything is expected to get through."""
    return Engine(program=lambda _snapshot, _node, _prefix: None, allows=lambda *_: True)


def agents_engine(settings: Settings = Settings()) -> Engine:
    """Somebody else programs the nodes, agents for instance; the oracle says what to expect."""

    def allows(snapshot: Snapshot, flow: Flow) -> bool:
        return evaluate(snapshot, flow, settings).verdict is Verdict.ALLOWED

    return Engine(lambda _snapshot, _node, _prefix: None, allows, settings)


def kernel_engine(settings: Settings = Settings(), mode: Mode | None = None) -> Engine:
    """The real one: iptables and ipset on each node, the oracle for what to expect.

    ``mode`` is that of iptables; None takes what this machine uses.
    """

    def program(snapshot: Snapshot, node: str, prefix: tuple[str, ...]) -> None:
        runner = SystemRunner(prefix)
        dataplane = open_kernel(runner, mode)
        ruleset = compile_node(snapshot, node, settings)
        report = enforce(
            dataplane,
            ruleset,
            lambda refused: compile_node(snapshot, node, settings, refused),
        )
        for refusal in report.refusals:
            names = ", ".join(map(str, refusal.policies))
            raise KernelError(f"the kernel refuses rules of {names}: {refusal.cause}")
        if settings.cut_connections:
            cut_forbidden(
                dataplane,
                is_allowed=node_allows(ruleset, host_addresses(runner)),
                concerns=judged_addresses(ruleset),
            )

    return Engine(program, agents_engine(settings).allows, settings)
