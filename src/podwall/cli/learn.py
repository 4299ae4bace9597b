"""``podwall learn``: from connections that were seen to policies ready for review.

The policies are all that goes to standard output, so that they can go on into a file or a pipe;
what was left out, and what applying them would close, is said on standard error.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from podwall.api import Cluster
from podwall.cli import options
from podwall.cli.connections import add_connections, check_connections, has_connections, watched
from podwall.cli.output import Status, print_json, print_note, progress
from podwall.cli.source import add_source, check_source, cluster_of
from podwall.errors import InputError
from podwall.learn.changes import Changes, Shift, compare, whole_pairs
from podwall.learn.notes import counted, notes_of
from podwall.learn.proposal import MOST_BLOCKS, Options, Proposal, Proposed, propose
from podwall.learn.sift import Reason, Wanted
from podwall.manifest.written import Data, policy_data, render_policy
from podwall.model.policy import Direction, Policy

_DIRECTIONS = {
    "ingress": (Direction.INGRESS,),
    "egress": (Direction.EGRESS,),
    "both": tuple(Direction),
}
_HINTS = {
    Reason.DENIED: "--with-denied proposes to allow them",
    Reason.PORTLESS: "--icmp proposes to allow everything between such pairs",
}
_MOST_NAMES = 10


def add_learn(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall learn``."""
    add_source(parser)
    add_connections(parser)
    group = parser.add_argument_group("what is proposed")
    group.add_argument(
        "-n",
        "--namespace",
        action="append",
        default=[],
        metavar="NS",
        help="only for workloads of this namespace; may be repeated",
    )
    group.add_argument(
        "--direction", choices=tuple(_DIRECTIONS), default="both", help="what to isolate (both)"
    )
    group.add_argument(
        "--fresh",
        action="store_true",
        help="replace the policies that are there instead of adding to them",
    )
    group.add_argument(
        "--audit",
        action="store_true",
        help="propose policies in audit mode: they deny nothing, and tell what they would deny",
    )
    group.add_argument(
        "--with-denied",
        action="store_true",
        help="also allow what the policies that are there deny",
    )
    group.add_argument(
        "--icmp",
        action="store_true",
        help="also allow ICMP, which takes a rule for everything between two ends",
    )
    group.add_argument(
        "--addresses",
        type=_number_of_blocks,
        default=MOST_BLOCKS,
        metavar="N",
        help="so many addresses outside are named one by one, more become blocks (%(default)s)",
    )
    options.add_output(parser, "yaml", "json")


def run(args: argparse.Namespace) -> Status:
    """Propose policies for what was seen."""
    check_source(args)
    check_connections(args)
    if not has_connections(args):
        raise InputError("no connections to learn from: name a file by --connections")
    cluster = cluster_of(args)
    check_namespaces(args, cluster)
    found = watched(args, cluster)
    proposal = propose(cluster.snapshot, found.observations, cluster.settings, _options(args))
    with progress("comparing") as tell:
        changes = compare(proposal.before, proposal.after, cluster.settings, tell)
    if args.output == "json":
        print_json(_to_dict(proposal, changes, audit=args.audit))
    else:
        sys.stdout.write(_to_yaml(proposal, audit=args.audit))
        _report(proposal, changes, live=args.live and not args.connections)
    return options.input_status(cluster)


def check_namespaces(args: argparse.Namespace, cluster: Cluster) -> None:
    """See that every ``--namespace`` is there.

    Raises:
        InputError: one is not.
    """
    unknown = [each for each in args.namespace if each not in cluster.snapshot.namespaces]
    if unknown:
        known = ", ".join(cluster.snapshot.namespaces) or "none"
        raise InputError(f"there is no namespace {unknown[0]!r}; known: {known}")


def _options(args: argparse.Namespace) -> Options:
    return Options(
        namespaces=tuple(args.namespace),
        directions=_DIRECTIONS[args.direction],
        fresh=args.fresh,
        wanted=Wanted(denied=args.with_denied, portless=args.icmp),
        most_blocks=args.addresses,
    )


def _number_of_blocks(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:9]) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 10000")
    return int(text)


def _to_yaml(proposal: Proposal, *, audit: bool) -> str:
    documents = [
        render_policy(_policy(each, audit), notes_of(each, proposal.before))
        for each in proposal.policies
    ]
    return "---\n".join(documents)


def _to_dict(proposal: Proposal, changes: Changes, *, audit: bool) -> Data:
    reasons = _left_out(proposal)
    return {
        "policies": [
            {
                "workloads": [f"{each.unit.namespace}/{name}" for name in each.unit.workloads],
                "connections": each.connections,
                "comments": _comments(each, proposal),
                "manifest": policy_data(_policy(each, audit)),
            }
            for each in proposal.policies
        ],
        "kept": len(proposal.kept),
        "left_out": {reason.name.lower(): count for reason, count in reasons.items()},
        "closes": list(map(shift_dict, changes.closes)),
        "opens": list(map(shift_dict, changes.opens)),
        "unseen": [unit.title for unit in proposal.unseen],
    }


def _policy(proposed: Proposed, audit: bool) -> Policy:
    return proposed.audited() if audit else proposed.policy


def _comments(proposed: Proposed, proposal: Proposal) -> Data:
    notes = notes_of(proposed, proposal.before)
    return {
        "policy": list(notes.head),
        **{
            direction.value: [
                list(notes.rules[direction, index])
                for index in range(len(proposed.drafts.get(direction, ())))
            ]
            for direction in proposed.policy.isolates
        },
    }


def _left_out(proposal: Proposal) -> Counter[Reason]:
    return Counter(each.reason for each in proposal.left_out)


def _report(proposal: Proposal, changes: Changes, *, live: bool) -> None:
    """Say what became of what was seen."""
    for reason, count in sorted(_left_out(proposal).items(), key=lambda each: each[0].name):
        hint = f"; {_HINTS[reason]}" if reason in _HINTS else ""
        print_note(f"left out: {counted(count, 'flow')} {reason.value}{hint}")
    if proposal.unseen:
        names = [unit.title for unit in proposal.unseen]
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        print_note(f"nothing was seen of {', '.join(names[:_MOST_NAMES])}{more}")
    if live and len(proposal.before.nodes) > 1:
        print_note("only this node's connections were seen; add the others' by --connections")
    rules = sum(len(drafts) for each in proposal.policies for drafts in each.drafts.values())
    kept = counted(len(proposal.kept), "flow")
    print_note(
        f"proposed: {counted(len(proposal.policies), 'policy', 'policies')} with "
        f"{counted(rules, 'rule')}; of what was seen, {kept} allowed before stay allowed"
    )
    print_note(changes_text(changes))


def changes_text(changes: Changes) -> str:
    """How many pairs of workloads are no longer open to each other, and what opens."""
    pairs = counted(changes.pairs, "pair")
    whole = whole_pairs(changes.closes)
    closes = f"closes {whole} altogether and some ports of {len(changes.closes) - whole}"
    opens = f"opens something between {len(changes.opens)}" if changes.opens else "opens nothing"
    return f"of {pairs} of workloads and nodes it {closes}; it {opens}"


def shift_dict(shift: Shift) -> dict[str, object]:
    """What shifts between a pair, as JSON has it."""
    return {
        "source": shift.source,
        "target": shift.target,
        "text": str(shift.reach),
        "whole": shift.whole,
        "reach": shift.reach.to_dict(),
    }
