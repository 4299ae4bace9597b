"""``podwall test``: whether policies keep a team's promises, by the oracle and by real packets."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from podwall.api import Promises, read_promises
from podwall.cli import options, proving, source
from podwall.cli.output import Status, out, print_diagnostics, print_json, print_note, progress
from podwall.cli.proving import Proof
from podwall.errors import InputError
from podwall.manifest import Severity, UnusableInput
from podwall.promises.judging import Judgement
from podwall.promises.junit import render_junit
from podwall.promises.report import count_line, failure_lines, summary, to_dict

_STDIN = "-"


def add_test(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall test``."""
    source.add_source(parser, lab=False)
    parser.add_argument(
        "--expect",
        action="append",
        default=[],
        metavar="FILE",
        help="expectations: a file, a directory, or - for standard input; can be given again",
    )
    parser.add_argument(
        "--lab",
        dest="packets",
        action="store_true",
        help="also build the cluster in network namespaces and send real packets",
    )
    parser.add_argument("--junit", metavar="FILE", help="write a JUnit report as well")
    options.add_output(parser, "text", "json")
    options.add_mode(parser)


def run(args: argparse.Namespace) -> Status:
    """Judge every promise; status 1 if one is broken, or if packets do not do as policies say."""
    began = time.monotonic()
    promises = _promises(args)
    cluster = source.cluster_of(args)
    with progress("asking the oracle") as report:
        judgements = cluster.judge(promises.promises, report)
    proofs = proving.prove(cluster, args, promises.promises) if args.packets else ()
    if args.junit is not None:
        contrary = {index: each.contrary for index, each in enumerate(proofs) if each.contrary}
        text = render_junit(judgements, contrary, time.monotonic() - began)
        _write(Path(args.junit), text)
    if args.output == "json":
        print_json(_as_dict(judgements, proofs))
    else:
        _show(out(), judgements, proofs)
    broken = not all(each.kept for each in judgements) or any(each.contrary for each in proofs)
    return options.input_status(cluster, Status.DIFFERENT if broken else Status.OK)


def _promises(args: argparse.Namespace) -> Promises:
    if not args.expect:
        raise InputError("--expect is needed: a file that says who may reach whom")
    if _STDIN in args.expect and _STDIN in args.files:
        raise InputError("standard input holds manifests or expectations: give one of them a file")
    if args.packets and args.live:
        raise InputError("--lab builds the cluster of manifests: leave out --live")
    promises = read_promises(args.expect, stdin=sys.stdin.buffer if _STDIN in args.expect else None)
    if any(each.severity is Severity.ERROR for each in promises.diagnostics):
        raise UnusableInput(promises.diagnostics)
    print_diagnostics(promises.diagnostics)
    return promises


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--junit {path}: {error.strerror or error}") from error


def _as_dict(judgements: Sequence[Judgement], proofs: Sequence[Proof]) -> dict[str, object]:
    found = [to_dict(each) for each in judgements]
    for each, proof in zip(found, proofs, strict=False):
        each["probes"] = {
            "sent": proof.probes,
            "contrary": list(proof.contrary),
            "unproved": proof.unproved,
        }
    return {
        "promises": found,
        "kept": sum(each.kept for each in judgements),
        "broken": sum(not each.kept for each in judgements),
    }


def _show(console: Console, judgements: Sequence[Judgement], proofs: Sequence[Proof]) -> None:
    width = max((len(each.promise.name) for each in judgements), default=0)
    for index, each in enumerate(judgements):
        proof = proofs[index] if proofs else None
        if each.kept and not (proof and proof.contrary):
            line = Text.assemble(("kept    ", "green"), each.promise.name.ljust(min(width, 70)))
            line.append(f"  {summary(each)}{_probed(proof)}", "dim")
            console.print(line)
            continue
        console.print(Text.assemble(("BROKEN  ", "bold red"), (each.promise.name, "bold")))
        console.print(Text(f"        {each.promise.place}", "dim"))
        for reason in failure_lines(each) if not each.kept else ():
            console.print(Text(f"        {reason}"))
        for difference in proof.contrary if proof else ():
            console.print(Text(f"        packets differ: {difference}", "bold red"))
    console.print(count_line(judgements))
    sent = sum(each.probes for each in proofs)
    if proofs:
        print_note(f"{sent} probes were sent in a lab, and it is gone again")


def _probed(proof: Proof | None) -> str:
    if proof is None:
        return ""
    text = ", 1 probe" if proof.probes == 1 else f", {proof.probes} probes"
    return f"{text}, {proof.unproved} not proved" if proof.unproved else text
