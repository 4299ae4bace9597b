"""Commands that ask the agent of this host: status, diff without manifests, explain --live."""

from __future__ import annotations

import argparse
import time

from podwall.agent.control.answers import LiveAnswer, LiveDiff
from podwall.agent.control.client import STATUS_PATIENCE, ask
from podwall.agent.control.words import AskDiff, AskExplain, AskStatus
from podwall.agent.status import AgentStatus
from podwall.cli import options
from podwall.cli.output import Status, out, print_json
from podwall.cli.show_live import show_live
from podwall.cli.show_plan import plan_dict, show_plan
from podwall.cli.show_status import show_status


def add_status(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall status``."""
    options.add_state_dir(parser)
    options.add_output(parser, "text", "json")


def status(args: argparse.Namespace) -> Status:
    """Say how the agent of this host is doing; status 1 if it is not as it should be."""
    found = ask(args.state_dir, AskStatus(), AgentStatus, STATUS_PATIENCE)
    if args.output == "json":
        print_json(found)
    else:
        show_status(out(), found, time.time())
    return Status.OK if found.ready and not found.problems else Status.DIFFERENT


def diff(args: argparse.Namespace) -> Status:
    """Show what differs between what the agent wants and what the kernel holds."""
    found = ask(args.state_dir, AskDiff(), LiveDiff)
    if args.output == "json":
        print_json({"node": found.node, **plan_dict(found.plan)})
    else:
        show_plan(out(), found.plan)
    return Status.DIFFERENT if found.plan else Status.OK


def explain(args: argparse.Namespace) -> Status:
    """Say why a connection passes this node or not, and whether the kernel holds it so."""
    request = AskExplain(args.source, args.target, args.port)
    found = ask(args.state_dir, request, LiveAnswer)
    if args.output == "json":
        print_json(found)
        return Status.OK
    console = out()
    for index, each in enumerate(found.explanations):
        if index:
            console.print()
        show_live(console, each, found.node, found.waiting)
    return Status.OK
