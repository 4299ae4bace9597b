"""How the status of an agent looks on a terminal."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from podwall.agent.status import AgentStatus, Applied, DeniedStatus, KernelStatus

MOST_PROBLEMS = 20
"""So many problems are shown; the rest is counted."""

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def show_status(console: Console, status: AgentStatus, now: float) -> None:
    """Print a status as it is at the time ``now``, in seconds since the epoch."""
    ready = ("ready", "green") if status.ready else ("NOT READY", "bold red")
    console.print(Text.assemble(f"podwall {status.version} on node {status.node}: ", ready))
    for each in status.why_not:
        console.print(Text(f"  {each}", style="bold red"))
    for name, text in _facts(status, now):
        console.print(Text.assemble(f"  {name:<12}", text))
    _show_watches(console, status, now)
    _show_problems(console, status, now)


def _facts(status: AgentStatus, now: float) -> Iterator[tuple[str, Text]]:
    kernel, enforced = status.kernel, status.enforced
    yield "running", Text(_since(status.started, now))
    yield "kernel", _kernel(kernel, now)
    if kernel.last_check:
        yield "last look", Text(f"{age(now - kernel.last_check)} ago")
    if kernel.last_apply is not None:
        yield "last apply", Text(_apply(kernel.last_apply, now))
    yield (
        "since start",
        Text(
            f"{_count(kernel.applies, 'apply', 'applies')}, "
            f"{_count(kernel.drift_repairs, 'drift repair')}, "
            f"{_count(kernel.connections_cut, 'connection')} cut"
        ),
    )
    yield (
        "here",
        Text(
            f"{_count(enforced.pods, 'pod')}, {enforced.isolated_pods} isolated by "
            f"{_count(enforced.policies, 'policy', 'policies')}"
            + (f", {enforced.audited_policies} more audited" if enforced.audited_policies else "")
        ),
    )
    yield "denied", _denied(status.denied)
    yield (
        "rules",
        Text(
            f"{enforced.rules} in {_count(enforced.chains, 'chain')}, "
            f"{_count(enforced.profiles, 'profile')}, "
            f"{_count(enforced.sets, 'set')} with {_count(enforced.members, 'member')}"
        ),
    )
    if status.waiting:
        yield "waiting", Text(f"{_count(status.waiting, 'event')} not enforced yet", style="yellow")
    if kernel.cut_error:
        text = f"connections that a change forbids may go on: {kernel.cut_error}"
        yield "cutting", Text(text, style="red")
    for note in kernel.notes:
        yield "note", Text(note, style="yellow")
    if status.listening:
        yield "http", Text(", ".join(status.listening))


def _kernel(kernel: KernelStatus, now: float) -> Text:
    families = " and ".join(f"IPv{each}" for each in kernel.families)
    what = ", ".join(filter(None, (kernel.mode and f"iptables {kernel.mode}", families)))
    text = Text.assemble(
        ("in sync", "green") if kernel.in_sync else ("NOT IN SYNC", "bold red"),
        f" since {_since(kernel.since, now)}" if kernel.since else "",
        f"; {what}" if what else "",
    )
    if kernel.error:
        text.append(f"\n{'':14}{kernel.error}", "bold red")
    return text


def _denied(denied: DeniedStatus) -> Text:
    if not denied.wanted and not denied.logging:
        return Text("not logged (log-denied is off)")
    text = Text(f"logged, {_count(denied.denied, 'flow')}" if denied.logging else "not logged")
    if denied.audited or not denied.logging:
        text.append(f"; audited policies would deny {_count(denied.audited, 'flow')}")
    if denied.lost:
        text.append(f"; {_count(denied.lost, 'packet')} lost", "yellow")
    if denied.unnamed:
        text.append(f"; {_count(denied.unnamed, 'packet')} without a name", "yellow")
    if denied.error:
        text.append(f"\n{'':14}NOT READ: {denied.error}", "bold red")
    return text


def _apply(applied: Applied, now: float) -> str:
    reason = f"{applied.cause.value}: {applied.reason}" if applied.reason else applied.cause.value
    return f"{age(now - applied.at)} ago, {applied.report} ({reason})"


def _show_watches(console: Console, status: AgentStatus, now: float) -> None:
    console.print("\nWatches")
    for each in status.watches:
        state = ("connected", "green") if each.connected else ("DISCONNECTED", "bold red")
        console.print(
            Text.assemble(
                f"  {each.kind:<14}{each.objects:>7} known, ",
                state,
                f" for {age(now - each.since)}, {_count(each.restarts, 'restart')}, "
                f"{_count(each.relists, 'relist')}",
                (f": {each.error}" if each.error else "", "red"),
            )
        )


def _show_problems(console: Console, status: AgentStatus, now: float) -> None:
    if not status.problems:
        if status.ready:
            console.print("\nEverything is enforced as it is written.")
        return
    console.print(Text("\nNot enforced as written", style="bold red"))
    for each in status.problems[:MOST_PROBLEMS]:
        console.print(Text(f"  {each.kind} {each.name}: {each.text} (for {age(now - each.since)})"))
    if len(status.problems) > MOST_PROBLEMS:
        console.print(f"  and {len(status.problems) - MOST_PROBLEMS} more; -o json has them all")


def _since(at: float, now: float) -> str:
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC ({age(now - at)})"


def age(seconds: float) -> str:
    """A duration in its two largest units: ``3 h 12 min``."""
    left = max(0, int(seconds))
    parts = []
    for size, unit in _UNITS:
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def _count(number: int, word: str, many: str = "") -> str:
    return f"{number} {word if number == 1 else many or f'{word}s'}"
