"""``podwall whatif``: which connections a change opens and which it closes, before it happens."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from podwall.api import Change, Cluster, Outcome
from podwall.cli import options, source
from podwall.cli.cuts import Cuts, cuts_in_lab, cuts_on_host
from podwall.cli.output import Status, out, print_diagnostics, print_json, print_note, progress
from podwall.cli.outside import outside_ends
from podwall.cli.show_whatif import show_cuts, show_outcome
from podwall.errors import InputError
from podwall.manifest import Manifests, load
from podwall.whatif.changes import Labelling, Overlay, parse_label
from podwall.whatif.markdown import render_markdown

_STDIN = "-"


def add_whatif(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall whatif``."""
    source.add_source(
        parser,
        live_help="the cluster as the agent of this host knows it; "
        "also tells which connections of this host would be cut",
    )
    group = parser.add_argument_group("the change; each can be given again")
    group.add_argument(
        "--with",
        dest="overlay",
        action="append",
        default=[],
        metavar="FILE",
        help="manifests to add, or to put in place of those of the same name: a file, a "
        "directory, or - for standard input; nothing else is removed",
    )
    group.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="NS/POLICY",
        help="a policy to remove",
    )
    group.add_argument(
        "--label",
        action="append",
        nargs="+",
        default=[],
        metavar=("WHO", "KEY=VALUE"),
        help="labels to set, or with KEY- to take away, on ns/pod, ns/kind/name or namespace/name",
    )
    group.add_argument(
        "--enforce",
        action="append",
        default=[],
        metavar="NS/POLICY",
        help="an audited policy to enforce",
    )
    group.add_argument(
        "--audit",
        action="append",
        default=[],
        metavar="NS/POLICY",
        help="an enforced policy to audit only",
    )
    parser.add_argument(
        "--no-outside", action="store_true", help="leave hosts outside the cluster out"
    )
    parser.add_argument(
        "--fail-on",
        choices=("opens", "closes", "any"),
        help="end with status 1 if the change opens, closes, or does either",
    )
    options.add_output(parser, "text", "markdown", "json")


def run(args: argparse.Namespace) -> Status:
    """Say what a change does; status 1 if it does what ``--fail-on`` names."""
    labels = tuple(_labelling(words) for words in args.label)
    source.check_source(args)
    _check_change(args)
    before = source.cluster_of(args)
    given = _read_overlay(args)
    after = before.changed(
        Change(
            _overlay(given),
            without=tuple(args.without),
            labels=labels,
            enforce=tuple(args.enforce),
            audit=tuple(args.audit),
        )
    )
    others = [] if args.no_outside else outside_ends(before.snapshot, after.snapshot)
    with progress("asking the oracle") as report:
        outcome = before.compare(after, others=others, progress=report)
    cuts = _cuts(args, before, after)
    _print(args, outcome, cuts)
    if given is not None:
        _mention_audited(given)
    status = options.input_status(before, _status(args, outcome))
    failed = given is not None and given.has_errors
    return Status.UNUSABLE if failed and status is Status.OK else status


def _check_change(args: argparse.Namespace) -> None:
    if not (args.overlay or args.without or args.label or args.enforce or args.audit):
        raise InputError("no change is named: use --with, --without, --label, --enforce or --audit")
    if (args.files + args.overlay).count(_STDIN) > 1:
        raise InputError("standard input can be read once: only one of the names may be -")


def _labelling(words: Sequence[str]) -> Labelling:
    who, labels = words[0], words[1:]
    if not labels:
        raise InputError(
            f"--label {who}: name labels, as in --label shop/deployment/web tier=front old-"
        )
    try:
        return Labelling(who, tuple(map(parse_label, labels)))
    except InputError as error:
        # It takes all words up to the next option, so a FILE behind it is taken for a label.
        is_none = any("=" not in each and not each.endswith("-") for each in labels)
        hint = "; manifests go before --label" if is_none else ""
        raise InputError(f"--label {who}: {error}{hint}") from error


def _read_overlay(args: argparse.Namespace) -> Manifests | None:
    if not args.overlay:
        return None
    stdin = sys.stdin.buffer if _STDIN in args.overlay else None
    given = load(args.overlay, stdin=stdin)
    print_diagnostics(given.diagnostics)
    return given


def _overlay(given: Manifests | None) -> Overlay:
    if given is None:
        return Overlay()
    # A namespace that the change only uses keeps the labels that it has in the cluster.
    declared = tuple(each for each in given.namespaces if each.name not in given.undeclared)
    return Overlay(given.pods, declared, given.policies, given.nodes)


def _cuts(args: argparse.Namespace, before: Cluster, after: Cluster) -> Cuts | None:
    if args.live:
        return cuts_on_host(source.agent_node(args), before, after)
    return None if args.lab is None else cuts_in_lab(args.lab, before, after)


def _print(args: argparse.Namespace, outcome: Outcome, cuts: Cuts | None) -> None:
    if args.output == "json":
        found = outcome.to_dict()
        if cuts is not None:
            found["cuts"] = {
                "nodes": list(cuts.nodes),
                "connections": cuts.connections,
                "kept_by_a_switch": cuts.kept,
                "cut": [each.to_dict() for each in cuts.cuts],
            }
        print_json(found)
    elif args.output == "markdown":
        sys.stdout.write(render_markdown(outcome))
    else:
        console = out()
        show_outcome(console, outcome)
        if cuts is not None:
            show_cuts(console, cuts)


def _mention_audited(given: Manifests) -> None:
    audited = [str(each.key) for each in given.policies if each.is_audited]
    if audited:
        print_note(f"only audited, so they change nothing: {', '.join(audited)}; try --enforce")


def _status(args: argparse.Namespace, outcome: Outcome) -> Status:
    opens = args.fail_on in ("opens", "any") and outcome.opens
    closes = args.fail_on in ("closes", "any") and outcome.closes
    return Status.DIFFERENT if opens or closes else Status.OK
