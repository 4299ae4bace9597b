"""One run of ``podwall drops``: from what is heard to what is printed, and how it ends."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from podwall.agent.control.answers import DropPairs
from podwall.agent.control.client import ask
from podwall.agent.control.words import AskPairs
from podwall.agent.status import DeniedStatus
from podwall.cli.drops_agent import Told
from podwall.cli.drops_model import Drop, Gap, Heard, Wanted
from podwall.cli.drops_show import (
    Count,
    Counted,
    Document,
    JsonLines,
    Lines,
    Pair,
    Pairs,
    Sink,
    print_summary,
)
from podwall.cli.output import Status, print_note
from podwall.errors import AgentError

INTERRUPTED = 130
"""The exit status after Ctrl-C."""

_AGENT_HINT = "turn it on with log-denied: true in its configuration, or PODWALL_LOG_DENIED=true"


def follow(
    args: argparse.Namespace,
    wanted: Wanted,
    heard: Iterator[Heard],
    title: str,
    nodes: Sequence[str] = (),
) -> int:
    """Print what comes, until there is enough of it, the time is over, or somebody stops it.

    ``nodes`` are those that are listened to, if there may be several.
    """
    sink = _sink(args, title, nodes)
    pairs, gaps = Pairs(workloads=args.by == "workload"), list[Gap]()
    status: int = Status.OK
    several = f" ({len(nodes)} nodes)" if len(nodes) > 1 else ""
    print_note(f"following {title}{several}; Ctrl-C ends it")
    try:
        for each in _until(args, wanted, heard):
            if isinstance(each, Gap):
                gaps.append(each)
                print_note(f"{each.count} are missing of {each.node}: {each.why}")
            else:
                pairs.add(each)
                sink.add(each)
    except KeyboardInterrupt:
        status = INTERRUPTED
    sink.finish(gaps)
    if not args.count:
        print_summary(pairs)
    return status


def _until(
    args: argparse.Namespace, wanted: Wanted, heard: Iterator[Heard]
) -> Iterator[Drop | Gap]:
    """What is wanted of what is heard, until the end that was asked for."""
    end = None if args.seconds is None else time.monotonic() + args.seconds
    left = args.most
    for each in heard:
        if isinstance(each, Gap):
            yield each
        elif each is not None and wanted(each):
            yield each
            left = None if left is None else left - 1
        if left == 0 or (end is not None and time.monotonic() >= end):
            return


def tell(args: argparse.Namespace, wanted: Wanted, told: Told, check: Callable[[], None]) -> Status:
    """Print what agents keep; ``check`` is asked whether the names are right if nothing is found.

    Raises:
        AgentError: nothing is kept, and nothing is logged.
    """
    found = [each for each in told.drops if wanted(each)]
    if not found and wanted.names:
        check()
    for head in told.heads:
        check_log(head.node, head.status, bool(told.drops))
        if head.overwritten and (args.since is None or args.count):
            print_note(f"{head.overwritten} older ones of node {head.node} are no longer kept")
    nodes = [each.node for each in told.heads]
    sink = _sink(args, ", ".join(f"node {each}" for each in nodes), nodes)
    for each in found[-args.most :] if args.most else found:
        sink.add(each)
    sink.finish(told.gaps)
    if not found and args.output == "text":
        print_note("nothing was denied" if not told.drops else "nothing of that kind was denied")
    return Status.OK


def tell_pairs(args: argparse.Namespace, wanted: Wanted, places: Iterable[str]) -> Status:
    """Print what agents counted since they started.

    Raises:
        AgentError: an agent cannot be asked; nothing was counted, and nothing is logged.
    """
    pairs = Pairs(workloads=False)
    nodes: list[str] = []
    for place in places:
        answer = ask(place, AskPairs(), DropPairs)
        nodes.append(answer.node)
        check_log(answer.node, answer.status, bool(answer.pairs))
        for each in answer.pairs:
            pair = Pair(
                kind=each.kind,
                source=each.source,
                target=each.target,
                service=each.service,
                direction=each.direction,
            )
            if wanted(_as_drop(pair, each.last)):
                pairs.put(pair, Count(each.count, each.first, each.last))
        if answer.forgotten:
            print_note(f"{answer.forgotten} of node {answer.node} are of pairs no longer known")
    Counted(", ".join(f"node {each}" for each in nodes), args.output, pairs).finish(())
    return Status.OK


def _as_drop(pair: Pair, when: float) -> Drop:
    """A pair as filters know it; addresses are not known of it."""
    return Drop(
        time=when,
        kind=pair.kind,
        source=pair.source,
        target=pair.target,
        service=pair.service,
        src=pair.source,
        dst=pair.target,
        direction=pair.direction,
    )


def check_log(node: str, status: DeniedStatus, kept: bool) -> None:
    """Say what keeps denials from being told.

    Raises:
        AgentError: nothing is kept, and nothing is logged.
    """
    if not status.wanted and not status.logging:
        if not kept:
            raise AgentError(f"the agent of node {node} does not log what is denied: {_AGENT_HINT}")
        print_note(f"the agent of node {node} no longer logs what is denied")
    elif status.wanted and not status.reading:
        why = status.error or "not yet"
        print_note(f"the agent of node {node} does not read the kernel's log: {why}")
    if status.lost or status.unnamed:
        print_note(
            f"node {node} lost some: {status.lost} were not read in time, {status.unnamed} were "
            "too many to be named"
        )


def _sink(args: argparse.Namespace, title: str, nodes: Sequence[str]) -> Sink:
    if args.count:
        return Counted(title, args.output, Pairs(workloads=args.by == "workload"))
    match args.output:
        case "json":
            return Document(title)
        case "jsonl":
            return JsonLines()
        case _:
            return Lines(max(map(len, nodes)) if len(nodes) > 1 else 0)
