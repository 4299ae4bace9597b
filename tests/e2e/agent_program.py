"""An agent without an API server: a reconciler that is told what there is over a pipe.

    agent_program.py NODE MODE LOCK-FILE

Each line that it reads is a JSON list of objects: all that there are. The first opens the gate, the
others are compared with the one before and become events, one by one. Each line that it prints is
the JSON of something that it did: ``applied``, ``drifted``, ``cut``, ``failed``.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from podwall.agent.reconcile import ReconcileOptions, Reconciler
from podwall.agent.status import Applied, ObjectProblem
from podwall.cluster import events
from podwall.cluster.events import ClusterObject, Kind, ObjectKey
from podwall.cluster.state import key_of
from podwall.dataplane.command import SystemRunner
from podwall.dataplane.conntrack import CutReport
from podwall.dataplane.iptables.mode import Mode
from podwall.dataplane.kernel import open_kernel
from podwall.errors import KernelError
from podwall.model.decode import decode_namespace, decode_node, decode_pod, decode_policy
from podwall.model.objects import Namespace, Node, Pod
from podwall.model.policy import Policy
from podwall.model.settings import Settings

DECODERS: dict[str, Any] = {
    Kind.POD.value: decode_pod,
    Kind.NAMESPACE.value: decode_namespace,
    Kind.NODE.value: decode_node,
    Kind.POLICY.value: decode_policy,
}

TYPES = {Kind.POD: Pod, Kind.NAMESPACE: Namespace, Kind.NODE: Node, Kind.POLICY: Policy}


class Teller:
    """An observer that prints."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def _say(self, what: str, **more: object) -> None:
        with self._lock:
            print(json.dumps({"what": what, **more}), flush=True)

    def applied(self, applied: Applied) -> None:
        report = applied.report
        self._say("applied", cause=applied.cause.value, steps=report.steps, reason=applied.reason)

    def drifted(self, text: str, count: int) -> None:
        self._say("drifted", text=text, count=count)

    def cut(self, report: CutReport) -> None:
        self._say("cut", judged=report.judged, cut=report.cut)

    def failed(self, error: KernelError, retry_in: float) -> None:
        self._say("failed", error=str(error))

    def cut_failed(self, error: KernelError, retry_in: float) -> None:
        self._say("cut failed", error=str(error))

    def problem_changed(self, key: ObjectKey, problems: tuple[ObjectProblem, ...]) -> None:
        self._say("problem", key=str(key), problems=[each.text for each in problems])


def decode(line: str) -> dict[ObjectKey, ClusterObject]:
    values = (DECODERS[each["kind"]](each).value for each in json.loads(line))
    return {key_of(each): each for each in values}


def first(known: dict[ObjectKey, ClusterObject]) -> Iterator[events.Event]:
    yield from map(events.Applied, known.values())
    for kind, of in TYPES.items():
        keys = frozenset(key for key, each in known.items() if isinstance(each, of))
        yield events.Remaining(kind, keys)


def following(
    before: dict[ObjectKey, ClusterObject], after: dict[ObjectKey, ClusterObject]
) -> Iterator[events.Event]:
    for key in before.keys() - after.keys():
        yield events.Deleted(key)
    for key, each in after.items():
        if before.get(key) != each:
            yield events.Applied(each)


def main() -> None:
    node, mode, lock = sys.argv[1:]
    chosen, runner = None if mode == "auto" else Mode(mode), SystemRunner()
    reconciler = Reconciler(
        node,
        Settings(),
        lambda: open_kernel(runner, chosen),
        Teller(),
        ReconcileOptions(check_every=0.3, lock_file=Path(lock)),
    )
    reconciler.start()
    known: dict[ObjectKey, ClusterObject] | None = None
    for line in sys.stdin:
        before, known = known, decode(line)
        news = first(known) if before is None else following(before, known)
        for event in news:
            reconciler.take(event, time.monotonic())
    reconciler.stop(10)


if __name__ == "__main__":
    main()
