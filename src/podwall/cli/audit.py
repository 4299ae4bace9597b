"""``podwall audit``: which audited policies can be enforced, and what speaks against it.

Three witnesses: connections that were seen (files, a lab's nodes, this host), the log of an agent
that has watched for days, and, where there is neither, the policies alone, which tell what would
close but not whether anybody needs it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping

import msgspec
from rich.console import Console
from rich.text import Text

from podwall.api import Cluster
from podwall.cli import options
from podwall.cli.connections import (
    Watched,
    add_connections,
    check_connections,
    has_connections,
    watched,
)
from podwall.cli.learn import check_namespaces, shift_dict
from podwall.cli.output import Status, out, print_json, print_note, progress
from podwall.cli.source import add_source, check_source, cluster_of
from podwall.learn.auditing import (
    Evidence,
    Safety,
    WouldDeny,
    audit,
    count_gone,
    unsafe_first,
)
from podwall.learn.changes import Shift, compare, enforced
from podwall.learn.notes import counted

_STYLES = {Safety.SAFE: "green", Safety.UNSAFE: "bold red", Safety.UNKNOWN: "yellow"}
_MOST_FLOWS = 20
_UNITS = ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute"))


def add_audit(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall audit``."""
    add_source(parser)
    add_connections(parser)
    parser.add_argument(
        "-n",
        "--namespace",
        action="append",
        default=[],
        metavar="NS",
        help="only policies of this namespace; may be repeated",
    )
    options.add_output(parser, "text", "json")


class Testimony(msgspec.Struct, frozen=True):
    """The evidence, who gave it, and what is to be known about that.

    ``seconds`` is how long each policy was watched, where that is known, and ``closes`` what all of
    them would close, where that is all there is to say.
    """

    evidence: tuple[Evidence, ...]
    where: str
    seconds: Mapping[str, float]
    notes: tuple[str, ...] = ()
    closes: tuple[Shift, ...] | None = None


def run(args: argparse.Namespace) -> Status:
    """Say whether enforcing is safe; status 1 if any policy is not known to be."""
    check_source(args)
    check_connections(args)
    cluster = cluster_of(args)
    check_namespaces(args, cluster)
    found = _testimony(args, cluster)
    chosen = tuple(
        each
        for each in found.evidence
        if not args.namespace or each.policy.namespace in args.namespace
    )
    if args.output == "json":
        print_json(_to_dict(found, chosen))
    else:
        _show(out(), found, chosen)
    safe = all(each.safety is Safety.SAFE for each in chosen)
    return options.input_status(cluster, Status.OK if safe else Status.DIFFERENT)


def _testimony(args: argparse.Namespace, cluster: Cluster) -> Testimony:
    if args.live and not args.connections:
        # Who only reads files does not pay for the agent.
        from podwall.cli.audit_live import ask_agent  # noqa: PLC0415

        log = ask_agent(args.state_dir, cluster)
        seen = watched(args, cluster)
        evidence = audit(cluster.snapshot, seen.observations, cluster.settings, log.told)
        # Of what was seen and not denied, other things may have been denied that nobody heard of.
        evidence = tuple(
            each if each.policy in log.heard else msgspec.structs.replace(each, seen=0)
            for each in evidence
        )
        return Testimony(evidence, log.where, log.seconds, log.notes)
    if not has_connections(args):
        evidence = audit(cluster.snapshot, (), cluster.settings)
        return Testimony(evidence, "", {}, closes=_closes(cluster) if evidence else ())
    seen = watched(args, cluster)
    evidence = audit(cluster.snapshot, seen.observations, cluster.settings)
    seconds = {} if seen.seconds is None else {str(each.policy): seen.seconds for each in evidence}
    return Testimony(evidence, seen.where, seconds, _gone(cluster, seen) if evidence else ())


def _gone(cluster: Cluster, seen: Watched) -> tuple[str, ...]:
    """What was seen and cannot be judged: no log told at the time whose it was."""
    gone = count_gone(cluster.snapshot, seen.observations)
    if not gone:
        return ()
    return (f"not judged: {counted(gone, 'connection')} of pods that are no longer there",)


def _closes(cluster: Cluster) -> tuple[Shift, ...]:
    with progress("comparing") as tell:
        after = enforced(cluster.snapshot)
        return compare(cluster.snapshot, after, cluster.settings, tell).closes


def _show(console: Console, found: Testimony, chosen: tuple[Evidence, ...]) -> None:
    for note in found.notes:
        print_note(note)
    if not chosen:
        console.print("No policy is audited: the annotation podwall.dev/mode: audit makes one.")
        return
    for index, each in enumerate(unsafe_first(chosen)):
        if index:
            console.print()
        _show_policy(console, each, found)
    if found.closes is not None:
        _show_closes(console, found.closes)


def _show_closes(console: Console, closes: tuple[Shift, ...]) -> None:
    """What enforcing all audited policies closes between pods and nodes, used or not."""
    console.print()
    if not closes:
        console.print("Enforced, all of them together close nothing between pods and nodes.")
        return
    console.print("Enforced, all of them together close, whether anybody needs it or not:")
    for each in closes[:_MOST_FLOWS]:
        rest = "all of it" if each.whole else str(each.reach)
        console.print(Text(f"  {each.source} → {each.target}: {rest}"))
    if len(closes) > _MOST_FLOWS:
        console.print(Text(f"  and {len(closes) - _MOST_FLOWS} pairs more (-o json has all)"))


def _show_policy(console: Console, each: Evidence, found: Testimony) -> None:
    safety = each.safety
    console.print(Text.assemble(f"{each.policy}: ", (safety.value, _STYLES[safety])))
    console.print(Text(f"  {_why(each, found)}"))
    for flow in each.denied[:_MOST_FLOWS]:
        console.print(Text(f"    {_flow_text(flow)}"))
    if len(each.denied) > _MOST_FLOWS:
        console.print(Text(f"    and {len(each.denied) - _MOST_FLOWS} more"))
    if each.together:
        names = ", ".join(map(str, each.together))
        console.print(Text(f"  together with {names}, about the same pods: enforce all or none"))


def _why(each: Evidence, found: Testimony) -> str:
    pods = counted(len(each.pods), "pod")
    seconds = found.seconds.get(str(each.policy))
    during = f" in {duration_text(seconds)}" if seconds else ""
    seen = counted(each.seen, "connection")
    if not each.pods:
        return "it selects no pod, so there is nothing that it could deny"
    if each.denied:
        return f"it would deny to {pods}, beside {seen} that it would allow{during}:"
    if each.seen:
        return f"{seen} of its {pods} were seen{during}, and all of them would stay allowed"
    if not found.where:
        return f"no connections of its {pods} are known: name some by --connections"
    return f"nothing was seen of its {pods}{during} that it would be asked about"


def _flow_text(flow: WouldDeny) -> str:
    text = f"{flow.source} → {flow.target} {flow.service}, {flow.direction.value}, "
    text += counted(flow.count, "time")
    if flow.last is not None:
        text += f", last {duration_text(max(0.0, time.time() - flow.last))} ago"
    return text


def duration_text(seconds: float) -> str:
    """``3 days``, ``1 hour``, ``40 seconds``: the largest unit of which there is at least one."""
    for size, word in _UNITS:
        if seconds >= size:
            return counted(int(seconds // size), word)
    return counted(int(seconds), "second")


def _to_dict(found: Testimony, chosen: tuple[Evidence, ...]) -> dict[str, object]:
    return {
        "where": found.where,
        "notes": list(found.notes),
        "closes": None if found.closes is None else list(map(shift_dict, found.closes)),
        "policies": [
            {
                "policy": str(each.policy),
                "safety": each.safety.name.lower(),
                "pods": list(map(str, each.pods)),
                "together": list(map(str, each.together)),
                "watched_seconds": found.seconds.get(str(each.policy)),
                "seen": each.seen,
                "denied": [_flow_dict(flow) for flow in each.denied],
            }
            for each in chosen
        ],
    }


def _flow_dict(flow: WouldDeny) -> dict[str, object]:
    return {
        "source": flow.source,
        "target": flow.target,
        "service": flow.service,
        "direction": flow.direction.value,
        "count": flow.count,
        "example": list(flow.example),
        "first": flow.first,
        "last": flow.last,
    }
