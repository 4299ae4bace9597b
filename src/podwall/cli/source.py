"""Where a command gets its cluster from: manifests, a lab that is up, or the agent of this host.

A command adds :func:`add_source` to its options and asks :func:`cluster_of`; where the cluster
came from makes no difference to it then. Just one source may be named. What a lab or an agent
already knows (nodes, addresses, switches) cannot be given again: the answer would be about another
cluster than the one that was asked for.
"""

from __future__ import annotations

import argparse

from podwall.agent.control.client import STATUS_PATIENCE, ask
from podwall.agent.control.words import AskStatus
from podwall.agent.status import AgentStatus
from podwall.api import Cluster
from podwall.cli import options
from podwall.errors import InputError
from podwall.model.settings import DenyAction

DEFAULT_LAB = "default"
"""The lab that ``--lab`` without a name means."""

_CLUSTER = ("nodes", "ipv6", "dual_stack")


def add_source(
    parser: argparse.ArgumentParser,
    *,
    live: bool = True,
    lab: bool = True,
    live_help: str = "the cluster as the agent of this host knows it",
) -> None:
    """``FILE …``, ``--lab [NAME]`` or ``--live``, and how manifests become a cluster.

    Whether one was given is for :func:`cluster_of` to find; a command that can do without any
    asks :func:`has_source`.
    """
    others = [word for word, offered in (("--lab", lab), ("--live", live)) if offered]
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="manifest file, directory, or - for standard input"
        + (f"; none with {' or '.join(others)}" if others else ""),
    )
    if lab:
        parser.add_argument(
            "--lab",
            nargs="?",
            const=DEFAULT_LAB,
            metavar="NAME",
            help=f"the cluster of a lab that is up ({DEFAULT_LAB})",
        )
    if live:
        parser.add_argument("--live", action="store_true", help=live_help)
        options.add_state_dir(parser)
    parser.set_defaults(offers=tuple(others))
    options.add_cluster(parser)
    options.add_switches(parser)


def check_source(args: argparse.Namespace) -> None:
    """See that exactly one source is named, and nothing that it already knows.

    Raises:
        InputError: none is, or two, or an option does not go with it.
    """
    named = ["--lab"] if _lab(args) is not None else []
    named += ["--live"] if _is_live(args) else []
    if not named and not args.files:
        others = "".join(f", or {each}" for each in args.offers)
        raise InputError(f"no manifests: name files, directories, or - for standard input{others}")
    if len(named) > 1:
        raise InputError(f"{' and '.join(named)} are two clusters: leave one of them out")
    if not named:
        return
    asked = f"{named[0]} asks the {'agent' if named[0] == '--live' else 'lab'}"
    if args.files:
        raise InputError(f"{asked} and reads no manifests: leave out {args.files[0]}")
    for name in (*_CLUSTER, *options.SWITCHES):
        if getattr(args, name) not in (None, False, DenyAction.DROP.value):
            word = name.replace("_", "-")
            raise InputError(f"{asked}, which knows its own: leave out --{word}")


def has_source(args: argparse.Namespace) -> bool:
    """Whether any source is named."""
    return bool(args.files) or _lab(args) is not None or _is_live(args)


def cluster_of(
    args: argparse.Namespace, *, fallback_node: str | None = None, place_pods: bool = True
) -> Cluster:
    """The cluster that is meant; what is wrong with manifests is printed.

    ``fallback_node`` and ``place_pods`` are about manifests only.

    Raises:
        InputError: no source is named, or several, or an option does not go with it.
        UnusableInput: no file could be read.
        LabError: no lab of that name is up.
        AgentError: no agent of this host answers.
    """
    check_source(args)
    if (lab := _lab(args)) is not None:
        return Cluster.of_lab(lab)
    if _is_live(args):
        return Cluster.of_agent(args.state_dir)
    return options.load_cluster(args, fallback_node=fallback_node, place_pods=place_pods)


def source_title(args: argparse.Namespace) -> str:
    """What the cluster is called in headings: ``examples/shop``, ``lab default``.

    Raises:
        AgentError: no agent of this host answers that could say its node.
    """
    if (lab := _lab(args)) is not None:
        return f"lab {lab}"
    if _is_live(args):
        return f"the agent of node {agent_node(args)}"
    return ", ".join("standard input" if each == "-" else each for each in args.files)


def agent_node(args: argparse.Namespace) -> str:
    """The node of this host's agent.

    Raises:
        AgentError: no agent answers.
    """
    return ask(args.state_dir, AskStatus(), AgentStatus, STATUS_PATIENCE).node


def _lab(args: argparse.Namespace) -> str | None:
    name: str | None = getattr(args, "lab", None)
    return name


def _is_live(args: argparse.Namespace) -> bool:
    return bool(getattr(args, "live", False))
