"""Commands that need nothing but a cluster: render, explain and matrix."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from podwall.cli import agent_ask, options, source
from podwall.cli.output import Status, out, print_json, print_note, progress
from podwall.cli.outside import outside_ends
from podwall.cli.show import matrix_csv, show_explanation, show_matrix
from podwall.errors import InputError


def add_render(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall render``."""
    options.add_files(parser)
    parser.add_argument("--node", metavar="NODE", help="node to render (default: the only one)")
    parser.add_argument("--out", metavar="DIR", help="write the files there instead of printing")
    options.add_output(parser, "text", "json")
    options.add_cluster(parser)
    options.add_switches(parser)


def render(args: argparse.Namespace) -> Status:
    """Print the exact text for ipset and iptables."""
    cluster = options.load_cluster(args, fallback_node=args.node)
    nodes = list(cluster.snapshot.nodes)
    if args.node is None and len(nodes) != 1:
        raise InputError(f"--node is needed, there are {len(nodes)}: {', '.join(nodes)}")
    node = args.node or nodes[0]
    text = cluster.render(node)
    if args.out is not None:
        _write(Path(args.out), text.files)
        print_note(f"wrote {', '.join(text.files)} to {args.out}")
    elif args.output == "json":
        print_json({"node": node, **text.files})
    else:
        for name, content in text.files.items():
            sys.stdout.write(f"### {node}: {name}\n{content}")
    return options.input_status(cluster)


def _write(directory: Path, files: Mapping[str, str]) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (directory / name).write_text(content)
    except OSError as error:
        raise InputError(f"--out {directory}: {error.strerror}: {error.filename}") from error


def add_explain(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall explain``."""
    source.add_source(
        parser, live_help="ask the agent of this host, and show what its kernel holds and counted"
    )
    parser.add_argument("--from", dest="source", required=True, metavar="WHO", help=_WHO)
    parser.add_argument("--to", dest="target", required=True, metavar="WHO", help=_WHO)
    parser.add_argument(
        "--port", default="80/tcp", metavar="PORT", help="6379/tcp, 53/udp, icmp (%(default)s)"
    )
    options.add_output(parser, "text", "json")


_WHO = "ns/pod, ns/deployment/name, node/name or an address"


def explain(args: argparse.Namespace) -> Status:
    """Say whether a connection is allowed, and why."""
    if args.live:
        # Not from the cluster alone: the agent knows what its kernel holds.
        source.check_source(args)
        return agent_ask.explain(args)
    cluster = source.cluster_of(args)
    explanations = cluster.explain(args.source, args.target, args.port)
    if args.output == "json":
        print_json([each.to_dict() for each in explanations])
    else:
        console = out()
        for index, each in enumerate(explanations):
            if index:
                console.print()
            show_explanation(console, each)
    return options.input_status(cluster)


def add_matrix(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall matrix``."""
    source.add_source(parser)
    parser.add_argument(
        "--by", choices=("pod", "workload"), default="workload", help="rows (%(default)s)"
    )
    parser.add_argument(
        "--no-outside", action="store_true", help="leave hosts outside the cluster out"
    )
    options.add_output(parser, "table", "json", "csv")


def matrix(args: argparse.Namespace) -> Status:
    """Print who can reach whom on which ports."""
    cluster = source.cluster_of(args)
    others = [] if args.no_outside else outside_ends(cluster.snapshot)
    with progress("asking the oracle") as report:
        computed = cluster.matrix(by_workload=args.by == "workload", others=others, progress=report)
    if args.output == "json":
        print_json(computed.to_dict())
    elif args.output == "csv":
        sys.stdout.write(matrix_csv(computed))
    else:
        show_matrix(out(), computed)
    return options.input_status(cluster)
