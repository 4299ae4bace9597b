"""What an agent says of itself: plain frozen values, for the socket, the logs and the metrics.

Times are seconds since the epoch; durations are seconds. Each value is encoded to JSON as it stands
here, so a field that is renamed changes what ``podwall status -o json`` prints.
"""

from __future__ import annotations

import enum

import msgspec

from podwall.dataplane.apply import ApplyReport


class Cause(enum.Enum):
    """Why something was written to the kernel."""

    SYNC = "sync"  # the first full picture after a start
    EVENT = "event"  # the cluster changed
    DRIFT = "drift"  # somebody else changed what is ours
    RETRY = "retry"  # what failed before is tried again


class Applied(msgspec.Struct, frozen=True):
    """One apply: why, what it changed, and how long its events had been waiting when it was done.

    ``reason`` is for people, such as ``pod dev/web-0 and 3 more``. ``latencies`` has one entry for
    each event that changed the kernel, from the arrival of its bytes to the end of the apply.
    """

    at: float
    cause: Cause
    reason: str
    report: ApplyReport
    latencies: tuple[float, ...] = ()


class WatchStatus(msgspec.Struct, frozen=True):
    """One watch: whether its kind was ever listed to the end, and whether news arrive now.

    ``since`` is when ``connected`` last changed, ``restarts`` counts every new connection after the
    first, ``error`` is the last failure, empty once the watch works again.
    """

    kind: str
    listed: bool
    connected: bool
    since: float
    objects: int = 0
    restarts: int = 0
    relists: int = 0
    error: str = ""


class ObjectProblem(msgspec.Struct, frozen=True):
    """An object that is not enforced as it was written: which, why, and since when."""

    kind: str
    name: str
    text: str
    since: float


class Enforced(msgspec.Struct, frozen=True):
    """What this node's kernel shall hold, in numbers; both families together.

    ``audited_policies`` are those that would isolate a pod here if they were enforced.
    """

    pods: int = 0
    isolated_pods: int = 0
    policies: int = 0
    profiles: int = 0
    chains: int = 0
    rules: int = 0
    sets: int = 0
    members: int = 0
    audited_policies: int = 0


class KernelStatus(msgspec.Struct, frozen=True):
    """The kernel side: ``in_sync`` is whether it holds what the last known cluster asks for.

    ``cut_error`` is why connections that are not allowed any more may go on, empty if none do.
    """

    in_sync: bool
    since: float
    mode: str = ""
    families: tuple[int, ...] = ()
    error: str = ""
    notes: tuple[str, ...] = ()
    applies: int = 0
    drift_repairs: int = 0
    connections_cut: int = 0
    cut_error: str = ""
    last_check: float = 0.0
    last_apply: Applied | None = None


class DeniedStatus(msgspec.Struct, frozen=True):
    """The log of denied packets, which the kernel keeps and this agent reads.

    ``logging`` is whether denied packets are logged (``log-denied``); what audited policies would
    deny is logged in any case. ``wanted`` is whether there is anything to read, ``reading`` whether
    it is read; if it is wanted and not read, ``error`` says why. ``since`` is when ``reading`` last
    changed. ``denied`` and ``audited`` count flows since the start: one that goes on counts once in
    some seconds. ``lost`` packets were logged and thrown away before they were read, ``unnamed``
    ones were too many to be named, or came before the cluster was known.
    """

    logging: bool = False
    group: int = 0
    wanted: bool = False
    reading: bool = False
    error: str = ""
    since: float = 0.0
    denied: int = 0
    audited: int = 0
    lost: int = 0
    unnamed: int = 0


class AgentStatus(msgspec.Struct, frozen=True):
    """Everything ``podwall status`` prints.

    ``waiting`` are events taken in but not enforced yet. ``objects`` counts what is known of the
    cluster by kind, ``listening`` is where HTTP is served. ``ready`` is whether traffic is judged
    by an up-to-date picture: the kernel is in sync and all watches are connected; ``why_not`` says
    in words what is missing.
    """

    version: str
    node: str
    started: float
    ready: bool
    why_not: tuple[str, ...]
    watches: tuple[WatchStatus, ...]
    kernel: KernelStatus
    enforced: Enforced
    problems: tuple[ObjectProblem, ...] = ()
    waiting: int = 0
    objects: dict[str, int] = {}
    listening: tuple[str, ...] = ()
    denied: DeniedStatus = DeniedStatus()
