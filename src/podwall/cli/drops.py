"""``podwall drops``: denied packets by name, from this host's kernel, its agent or a lab."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import socket
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from podwall.agent.control.words import socket_path
from podwall.agent.lock import running_agent
from podwall.api import Cluster
from podwall.cli import options, source
from podwall.cli.connections import duration
from podwall.cli.drops_agent import follow_agents, heads_of, kept_by
from podwall.cli.drops_kernel import Fixed, KernelLog, Watched, logged_kinds, open_logs
from podwall.cli.drops_model import Wanted, check_names, check_port
from podwall.cli.drops_session import check_log, follow, tell, tell_pairs
from podwall.cli.output import print_note
from podwall.cluster.snapshot import Snapshot
from podwall.dataplane.command import SystemRunner
from podwall.dataplane.kernel import open_kernel
from podwall.dataplane.nflog import NflogReader
from podwall.dataplane.nflog.reader import connect
from podwall.errors import InputError, KernelError, LabError
from podwall.ruleset.ir import LogKind

if TYPE_CHECKING:
    from podwall.lab.client import Lab

_HOST_HINT = "'podwall apply FILES --log-denied' has it tell of denied packets"
_LAB_HINT = "'podwall lab up FILES --log-denied' starts one that does"


def add_drops(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall drops``."""
    source.add_source(parser, live_help="ask the agent of this host (default if there is one)")
    parser.description = textwrap.fill(
        "Print denied packets by name as the kernel tells of them: one of each flow every ten "
        "seconds. With FILEs, which are those that were applied here, and with --lab it tells what "
        "happens from now on; an agent also remembers the last 10,000 denials.",
        width=79,
    )
    _add_time(parser)
    _add_filters(parser)
    parser.add_argument(
        "--count", action="store_true", help="how often which pairs, in place of each denial"
    )
    parser.add_argument(
        "--by",
        choices=("workload", "pod"),
        default="workload",
        help="what --count sums up; by pod an agent counts since it started (%(default)s)",
    )
    options.add_output(parser, "text", "json", "jsonl")
    group = parser.add_argument_group("this host", "with FILEs only")
    group.add_argument(
        "--node-name",
        default=socket.gethostname(),
        metavar="NODE",
        help="which node of the manifests this host is (default: its host name, %(default)s)",
    )
    group.add_argument(
        "--place", action="store_true", help="give pods addresses as apply --place does"
    )
    options.add_mode(parser)


def _add_time(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("when")
    group.add_argument(
        "-f",
        "--follow",
        action="store_true",
        help="go on with what happens (always with FILEs and --lab)",
    )
    group.add_argument(
        "--since",
        type=duration,
        metavar="TIME",
        help="with an agent: only the last so long, as in 30s, 10m or 2h",
    )
    group.add_argument("--for", dest="seconds", type=duration, metavar="TIME", help="end after")
    group.add_argument(
        "-n",
        dest="most",
        type=_count,
        metavar="N",
        help="end after so many denials; of the past, the last so many",
    )


def _add_filters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "which", "ends are ns/pod, ns/kind/name, node/name, ns/*, an address or a block of them"
    )
    group.add_argument("--from", dest="source", default="", metavar="END", help="where from")
    group.add_argument("--to", dest="target", default="", metavar="END", help="where to")
    group.add_argument(
        "--namespace", default="", metavar="NS", help="from or to pods of a namespace"
    )
    group.add_argument(
        "--port", default="", metavar="PORT", help="6379, 6379/tcp, icmp: what was asked for"
    )
    group.add_argument("--direction", choices=("ingress", "egress"), default="")
    group.add_argument(
        "--kind",
        choices=("deny", "audit"),
        default="",
        help="denied, or what audited policies would deny",
    )


def _count(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text[:10]) < 10**9):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Print denied packets; status 130 if Ctrl-C ended it."""
    if not source.has_source(args):
        args.live = _find_agent(args.state_dir)
    source.check_source(args)
    if args.port:
        check_port(args.port)
    wanted = _wanted(args)
    if args.lab is not None:
        return _of_lab(args, wanted)
    if args.live:
        place = args.state_dir
        return _of_agents(args, wanted, [place], lambda: Cluster.of_agent(place).snapshot, "")
    _check_remembers(args)
    return _of_host(args, wanted)


def _find_agent(state_dir: str) -> bool:
    """Whether an agent is there to be asked, as nobody was named.

    Raises:
        InputError: there is none.
    """
    if socket_path(state_dir).exists() or running_agent(Path(state_dir)) is not None:
        return True
    raise InputError(
        "no agent runs on this host: name the manifests that were applied here, or --lab"
    )


def _wanted(args: argparse.Namespace) -> Wanted:
    return Wanted(
        source=args.source,
        target=args.target,
        namespace=args.namespace,
        port=args.port,
        direction=args.direction,
        kind=args.kind,
        since=None if args.since is None else time.time() - args.since,
    )


def _of_host(args: argparse.Namespace, wanted: Wanted) -> int:
    cluster = source.cluster_of(args, fallback_node=args.node_name, place_pods=args.place)
    check_names(wanted, cluster.snapshot)
    if os.geteuid() != 0:
        raise InputError("reading the kernel's log needs root; try with sudo")
    logged = logged_kinds(open_kernel(SystemRunner(), options.mode_of(args)))
    if not logged or (wanted.kind and LogKind(wanted.kind) not in logged):
        besides = " but what audited policies would deny" if LogKind.AUDIT in logged else ""
        raise KernelError(f"this host's kernel logs nothing{besides}: {_HOST_HINT}")
    if LogKind.DENY not in logged:
        print_note(f"only what audited policies would deny is logged: {_HOST_HINT}")
    makers = [functools.partial(NflogReader, group) for group in sorted(set(logged.values()))]
    opened = open_logs({args.node_name: makers})
    with KernelLog(opened, Fixed(cluster.snapshot), cluster.settings) as log:
        return follow(args, wanted, log.hear(), f"node {args.node_name}")


def _of_lab(args: argparse.Namespace, wanted: Wanted) -> int:
    # Who follows a node does not pay for the lab.
    from podwall.lab import client  # noqa: PLC0415
    from podwall.lab.cluster.places import state_directory_of  # noqa: PLC0415

    with contextlib.closing(client.find(args.lab)) as lab:
        status, snapshot = lab.status(), lab.snapshot()
        check_names(wanted, snapshot)
        title = f"lab {args.lab}"
        if status.led:
            netns = {each: lab.netns(f"node/{each}") for each in status.nodes}
            root = f"/proc/{lab.world.holder}/root"
            places = [f"{root}{state_directory_of(each)}" for each in netns.values()]
            return _of_agents(args, wanted, places, lambda: snapshot, title)
        _check_remembers(args)
        audits = any(each.is_audited for each in snapshot.policies.values())
        if not status.settings.log_denied:
            if not audits:
                raise LabError(f"{title} does not log what is denied: {_LAB_HINT}")
            print_note(f"only what audited policies would deny is logged: {_LAB_HINT}")
        opened = open_logs(_logs_of_nodes(lab, status.nodes, status.settings.log_group))
        with KernelLog(opened, Watched(lab), status.settings) as log:
            return follow(args, wanted, log.hear(), title, status.nodes)


def _logs_of_nodes(
    lab: Lab, nodes: Sequence[str], group: int
) -> dict[str, list[Callable[[], NflogReader]]]:
    """What opens the log of each node of a lab."""
    from podwall.lab.sockets import socket_in  # noqa: PLC0415

    def reader(netns: str) -> NflogReader:
        return NflogReader(
            group, connect=lambda number: socket_in(lab.world, netns, lambda: connect(number))
        )

    return {each: [functools.partial(reader, lab.netns(f"node/{each}"))] for each in nodes}


def _of_agents(
    args: argparse.Namespace,
    wanted: Wanted,
    places: Sequence[str],
    snapshot: Callable[[], Snapshot],
    title: str,
) -> int:
    """Ask agents, which read the logs of their nodes themselves."""
    if args.follow or args.seconds is not None:
        if wanted.names:
            check_names(wanted, snapshot())
        heads = heads_of(places)
        for head in heads:
            check_log(head.node, head.status, bool(head.kept))
        title = title or f"node {heads[0].node}"
        heard = follow_agents(places, wanted.since)
        return follow(args, wanted, heard, title, [each.node for each in heads])
    if args.count and args.by == "pod" and wanted.since is None and not wanted.names:
        return tell_pairs(args, wanted, places)
    told = kept_by(places, wanted.since)
    return tell(args, wanted, told, lambda: check_names(wanted, snapshot()))


def _check_remembers(args: argparse.Namespace) -> None:
    if args.since is not None:
        raise InputError("--since is for an agent: the kernel does not remember what it denied")
