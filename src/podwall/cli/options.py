"""Options that several commands share, and what they mean."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from podwall.api import Cluster
from podwall.cli.output import Status, print_diagnostics, print_note
from podwall.cluster.placement import FALLBACK_NODE
from podwall.dataplane.iptables.mode import Mode
from podwall.model.net import Family
from podwall.model.settings import DenyAction, Settings


def add_files(parser: argparse.ArgumentParser, *, needed: bool = True, without: str = "") -> None:
    """Manifests to read; unless they are needed, ``without`` says what happens without any."""
    text = "manifest file, directory, or - for standard input"
    parser.add_argument(
        "files",
        nargs="+" if needed else "*",
        metavar="FILE",
        help=f"{text}; {without}" if without else text,
    )


def add_state_dir(parser: argparse.ArgumentParser) -> None:
    """Where the agent of this host is found."""
    parser.add_argument(
        "--state-dir",
        default=os.environ.get("PODWALL_STATE_DIR") or "/run/podwall",
        metavar="DIR",
        help="the agent's state directory (default: $PODWALL_STATE_DIR, else /run/podwall)",
    )


def add_output(parser: argparse.ArgumentParser, *formats: str) -> None:
    """The output format; the first is the default."""
    parser.add_argument(
        "-o", "--output", choices=formats, default=formats[0], help="output format (%(default)s)"
    )


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """How a cluster is made of manifests that leave nodes and addresses open."""
    group = parser.add_argument_group(
        "cluster", "what manifests leave open: nodes and addresses of pods"
    )
    group.add_argument(
        "--nodes", type=node_count, metavar="N", help="spread pods over node-1 to node-N"
    )
    families = group.add_mutually_exclusive_group()
    families.add_argument("--ipv6", action="store_true", help="IPv6 addresses instead of IPv4")
    families.add_argument("--dual-stack", action="store_true", help="addresses of both families")


SWITCHES = (
    "deny",
    "allow_node_egress",
    "open_unknown_pods",
    "keep_connections",
    "log_denied",
    "log_group",
)
"""The options of :func:`add_switches`, as attributes."""


def add_switches(parser: argparse.ArgumentParser) -> None:
    """What the specification leaves open."""
    group = parser.add_argument_group(
        "switches", "what the specification leaves open; the defaults are the closed ones"
    )
    group.add_argument(
        "--deny",
        choices=[each.value for each in DenyAction],
        default=DenyAction.DROP.value,
        help="what happens to denied packets (%(default)s)",
    )
    group.add_argument(
        "--allow-node-egress",
        action="store_true",
        help="let pods reach their own node whatever their egress policies say",
    )
    group.add_argument(
        "--open-unknown-pods",
        action="store_true",
        help="let addresses of the node's pod range through that no known pod has",
    )
    group.add_argument(
        "--keep-connections",
        action="store_true",
        help="do not cut connections that a change no longer allows",
    )
    group.add_argument(
        "--log-denied",
        action="store_true",
        help="tell of denied packets, one of each flow every ten seconds (see podwall drops)",
    )
    group.add_argument(
        "--log-group",
        type=log_group,
        metavar="N",
        help=f"the NFLOG group that is told (default: {Settings().log_group})",
    )


def add_mode(parser: argparse.ArgumentParser) -> None:
    """Which iptables is written to."""
    parser.add_argument(
        "--mode",
        choices=[each.value for each in Mode],
        help="iptables mode (default: what the other components of this host use)",
    )


def node_count(text: str) -> int:
    """A number of nodes, 1 to 250."""
    if not text.isdecimal() or not 1 <= int(text) <= 250:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of nodes from 1 to 250")
    return int(text)


def log_group(text: str) -> int:
    """An NFLOG group, 0 to 65535."""
    if not (text.isdecimal() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not an NFLOG group from 0 to 65535")
    return int(text)


def families_of(args: argparse.Namespace) -> Sequence[Family]:
    """The families in which pods get addresses."""
    if args.dual_stack:
        return tuple(Family)
    return (Family.V6,) if args.ipv6 else (Family.V4,)


def settings_of(args: argparse.Namespace) -> Settings:
    """The switches as given."""
    return Settings(
        deny=DenyAction(args.deny),
        judge_node_egress=not args.allow_node_egress,
        close_unknown_pods=not args.open_unknown_pods,
        cut_connections=not args.keep_connections,
        log_denied=args.log_denied,
        log_group=Settings().log_group if args.log_group is None else args.log_group,
    )


def mode_of(args: argparse.Namespace) -> Mode | None:
    """The iptables mode, if one was given."""
    return None if args.mode is None else Mode(args.mode)


def node_names(args: argparse.Namespace) -> list[str] | None:
    """The names of the nodes that were asked for."""
    return None if args.nodes is None else [f"node-{each + 1}" for each in range(args.nodes)]


def load_cluster(
    args: argparse.Namespace, *, fallback_node: str | None = None, place_pods: bool = True
) -> Cluster:
    """Read the manifests and report what is wrong with them, all at once."""
    cluster = Cluster.load(
        args.files,
        stdin=sys.stdin.buffer if "-" in args.files else None,
        nodes=node_names(args),
        fallback_node=fallback_node or FALLBACK_NODE,
        families=families_of(args),
        settings=settings_of(args),
        place_pods=place_pods,
    )
    print_diagnostics(cluster.diagnostics)
    skipped = sum(cluster.manifests.skipped.values())
    if skipped:
        kinds = ", ".join(
            f"{count} {kind}" for kind, count in sorted(cluster.manifests.skipped.items())
        )
        objects = "1 object that does" if skipped == 1 else f"{skipped} objects that do"
        print_note(f"skipped {objects} not matter here: {kinds}")
    return cluster


def input_status(cluster: Cluster, status: Status = Status.OK) -> Status:
    """The exit status of a command that did its work: unusable input is said last, not first."""
    return Status.UNUSABLE if status is Status.OK and cluster.manifests.has_errors else status
