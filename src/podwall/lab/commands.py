"""What ``podwall lab …`` does, apart from reading its command line.

Each function prints to the console it is given and returns the exit status: 0, or 1 if something
did not happen as expected. Everything else is an exception of :mod:`podwall.errors`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from podwall.cluster.snapshot import Snapshot
from podwall.errors import InputError, LabError
from podwall.lab import client, inventory, leading, state
from podwall.lab.client import Lab
from podwall.lab.cluster.config import Config
from podwall.lab.cluster.places import state_directory_of
from podwall.lab.engine import Engine
from podwall.lab.matrix import Change, Matrix
from podwall.lab.messages import Status
from podwall.lab.naming import parse_listen, select_parties
from podwall.lab.planning import next_snapshot
from podwall.lab.progress import ProgressBar
from podwall.lab.report import render_changes, render_matrix, summary
from podwall.lab.state import DEFAULT_NAME
from podwall.lab.topology import Selection, Shape
from podwall.manifest import Manifests
from podwall.model.decode import escaped
from podwall.model.net import Family

_ICMP = "icmp"
_AGENTS_MAY_TAKE = (0.5, 2.0)
"""Pauses before a lab with agents is probed again that was not as expected; seconds."""


class Output(msgspec.Struct, frozen=True):
    """Where results go, and whether as JSON. Progress goes to ``progress``, if it is a terminal."""

    console: Console
    progress: Console
    as_json: bool = False


def run(
    snapshot: Snapshot,
    shape: Shape,
    engine: Engine,
    output: Output,
    *,
    keep: bool = False,
    name: str = DEFAULT_NAME,
) -> int:
    """``lab run``: build, program, probe, report, and take down unless it is to be kept.

    A kept lab is one of :func:`up`; whatever breaks this off ends it all the same.
    """
    with ProgressBar(output.progress) as progress:
        if keep:
            lab = client.up(name, snapshot, shape, engine, progress)
        else:
            lab = client.start(snapshot, shape, engine, progress)
        try:
            matrix = lab.probe(progress=progress)
        except BaseException:
            lab.down()
            raise
        if keep:
            lab.close()
        else:
            lab.down()
    show_matrix(matrix, output)
    if keep and not output.as_json:
        output.console.print(inventory.stays_up(name), soft_wrap=True)
    return 0 if matrix.agrees else 1


def up(
    snapshot: Snapshot, shape: Shape, engine: Engine, output: Output, name: str = DEFAULT_NAME
) -> int:
    """``lab up``: build and program a lab that stays."""
    with ProgressBar(output.progress) as progress:
        lab = client.up(name, snapshot, shape, engine, progress)
    status = lab.status()
    lab.close()
    if output.as_json:
        _print_json(output, inventory.status_dict(name, status))
    else:
        output.console.print(
            f"{inventory.summary(status)}. {inventory.stays_up(name)}", soft_wrap=True
        )
    return 0


def up_with_agents(
    snapshot: Snapshot, shape: Shape, engine: Engine, config: Config, output: Output
) -> int:
    """``lab up --agents``: a lab that follows an API server, with agents that enforce."""
    leading.check_installed()
    with ProgressBar(output.progress) as progress:
        lab = client.up(config.name, snapshot, shape, engine, progress, led=True)
    try:
        with ProgressBar(output.progress) as progress:
            up = leading.lead(lab, config, progress)
    except BaseException:
        lab.down()
        raise
    # The connection is the leader's from here on.
    lab.close()
    for each in up.refused:
        sys.stderr.write(f"error: {escaped(each)}\n")
    sys.stderr.flush()
    current = _status_of(config.name)
    if output.as_json:
        found = inventory.status_dict(config.name, current)
        _print_json(output, {**found, "refused": list(up.refused)})
    else:
        output.console.print(inventory.welcome(config, current), soft_wrap=True, highlight=False)
    return 1 if up.refused else 0


def down(output: Output, name: str | None = None) -> int:
    """``lab down``: end one lab, or without a name all of them."""
    names = [note.name for note in state.notes()] if name is None else [name]
    for each in names:
        client.take_down(each)
    if output.as_json:
        _print_json(output, {"ended": names})
    else:
        output.console.print(f"ended: {', '.join(names)}" if names else "no lab is up")
    return 0


def status(output: Output, name: str | None = None) -> int:
    """``lab status``: the labs that are up, or who is in one of them.

    Raises:
        LabError: a lab, or its API server, does not answer; what else there is to tell is printed.
    """
    names = [note.name for note in state.notes()] if name is None else [name]
    found = {each: _status_of(each) for each in names}
    if output.as_json:
        _print_json(output, {"labs": [inventory.status_dict(*item) for item in found.items()]})
        return 0
    silent: list[LabError] = []
    if not found:
        output.console.print("no lab is up: 'podwall lab up FILES' starts one")
    for each, current in found.items():
        output.console.print(f"[bold]{each}[/bold]: {inventory.summary(current)}", highlight=False)
        if current.led:
            try:
                output.console.print(Text(inventory.cluster_lines(each)), soft_wrap=True)
            except LabError as error:
                silent.append(error)
        output.console.print(inventory.places(current))
    if silent:
        raise silent[0]
    return 0


def execute(argv: Sequence[str], who: str, name: str = DEFAULT_NAME) -> int:
    """``lab exec``: run a program in a pod, on a node or ``outside``; its status is ours."""
    with _found(name) as lab:
        netns = lab.netns(who)
        led = lab.status().led
    env = dict(os.environ)
    if led and (directory := state_directory_of(netns)):
        # So that 'podwall status' on a node asks that node's agent.
        env["PODWALL_STATE_DIR"] = directory
    return lab.execute_in(netns, list(argv), env)


def probe(
    output: Output,
    *,
    sources: Sequence[str] = (),
    targets: Sequence[str] = (),
    ports: Sequence[str] = (),
    name: str = DEFAULT_NAME,
) -> int:
    """``lab probe``: ask everything, or only from, to and on what is named."""
    with _found(name) as lab, ProgressBar(output.progress) as progress:
        matrix = lab.probe(_selection(lab, sources, targets, ports), progress)
        # Agents may be about to enforce what the API server has just heard.
        for pause in _AGENTS_MAY_TAKE if lab.status().led else ():
            if matrix.agrees:
                break
            time.sleep(pause)
            matrix = lab.probe(_selection(lab, sources, targets, ports), progress)
    show_matrix(matrix, output)
    return 0 if matrix.agrees else 1


def apply(manifests: Manifests, output: Output, name: str = DEFAULT_NAME) -> int:
    """``lab apply``: make the lab what the manifests say now, and tell which answers changed."""
    with _found(name) as lab:
        current = lab.status()
        if current.led:
            raise InputError(
                f"the lab {name!r} has an API server: change it with kubectl, "
                f"KUBECONFIG={state.kubeconfig_path(name)}"
            )
        families = tuple(Family(each) for each in current.families)
        snapshot = next_snapshot(manifests, lab.snapshot(), families)
        with ProgressBar(output.progress) as progress:
            applied = lab.apply(snapshot, progress=progress)
    matrix = applied.matrix or Matrix((), ())
    if output.as_json:
        changed = [_change_dict(each) for each in applied.changes]
        _print_json(output, {"changes": changed, **matrix.to_dict()})
    elif matrix.agrees:
        output.console.print(render_changes(applied.changes))
        output.console.print(summary(matrix))
    else:
        output.console.print(render_changes(applied.changes))
        show_matrix(matrix, output)
    return 0 if matrix.agrees else 1


def show_matrix(matrix: Matrix, output: Output) -> None:
    """Print a matrix."""
    if output.as_json:
        _print_json(output, matrix.to_dict())
    else:
        output.console.print(render_matrix(matrix, output.console.width))


def _selection(
    lab: Lab, sources: Sequence[str], targets: Sequence[str], ports: Sequence[str]
) -> Selection:
    parties = [place.party for place in lab.status().places]
    return Selection(
        sources=select_parties(parties, sources),
        targets=select_parties(parties, targets),
        ports=frozenset(parse_listen(each) for each in ports if each != _ICMP) if ports else None,
        icmp=_ICMP in ports,
    )


def _status_of(name: str) -> Status:
    with _found(name) as lab:
        return lab.status()


@contextlib.contextmanager
def _found(name: str) -> Iterator[Lab]:
    """The lab of that name; the connection to it is closed at the end."""

    def busy() -> None:
        option = "" if name == DEFAULT_NAME else f" --name {name}"
        sys.stderr.write(
            f"the lab {name} is busy with another command; waiting until it is done "
            f"('podwall lab down{option}' ends the lab at once)\n"
        )
        sys.stderr.flush()

    with contextlib.closing(client.find(name, busy)) as lab:
        yield lab


def _change_dict(change: Change) -> dict[str, Any]:
    return {
        "source": change.src,
        "destination": change.dst,
        "family": f"ipv{change.family}",
        "service": change.service,
        "before": "allowed" if change.before else "denied",
        "after": "allowed" if change.after else "denied",
    }


def _print_json(output: Output, value: object) -> None:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    output.console.file.write(text + "\n")
