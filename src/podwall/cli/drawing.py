"""What ``podwall draw`` needs of the world: libraries for formats, and counters of kernels."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Mapping, Sequence

import msgspec

from podwall.agent.control.client import STATUS_PATIENCE, ask
from podwall.agent.control.words import AskStatus
from podwall.agent.status import AgentStatus
from podwall.cli.output import print_note
from podwall.dataplane.command import SystemRunner
from podwall.dataplane.counters import CountedRule, parse_counters
from podwall.dataplane.iptables.mode import Mode
from podwall.dataplane.kernel import open_kernel
from podwall.draw import Picture, Theme
from podwall.errors import InputError, KernelError, LabError
from podwall.model.net import Family

Counters = Mapping[str, Sequence[CountedRule]]

_ZOOM = 2.0
_MOST_PIXELS = 12_000
"""Longest side of a PNG: larger ones fill memory, and few programs open them."""


class Format(msgspec.Struct, frozen=True):
    """A format of files; the first of its endings is the one to write."""

    name: str
    endings: tuple[str, ...]
    is_image: bool = False


FORMATS = {
    each.name: each
    for each in (
        Format("svg", (".svg",), is_image=True),
        Format("png", (".png",), is_image=True),
        Format("mermaid", (".mmd", ".mermaid")),
        Format("dot", (".dot", ".gv")),
    )
}


def written(picture: Picture, form: Format, theme: Theme) -> bytes:
    """The picture as the content of a file.

    Raises:
        InputError: the library that makes PNG is not installed.
    """
    match form.name:
        case "png":
            return _png(picture, theme)
        case "mermaid":
            return picture.mermaid().encode()
        case "dot":
            return picture.dot().encode()
        case _:
            return picture.svg(theme).encode()


def _png(picture: Picture, theme: Theme) -> bytes:
    try:
        import resvg_py  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            "a png needs resvg-py, which is not installed: pip install 'podwall[png]'"
        ) from error
    chosen = Theme.LIGHT if theme is Theme.AUTO else theme
    longest = max(picture.scene.width, picture.scene.height)
    zoom = min(_ZOOM, _MOST_PIXELS / longest)
    return bytes(resvg_py.svg_to_bytes(svg_string=picture.svg(chosen), zoom=zoom))


def node_of_agent(args: argparse.Namespace) -> str:
    """The node that the agent of this host keeps."""
    return ask(args.state_dir, AskStatus(), AgentStatus, STATUS_PATIENCE).node


def counters_of(args: argparse.Namespace, node: str, family: Family) -> Counters | None:
    """How many packets met the rules of a node, where its kernel can be asked."""
    if args.lab is not None:
        return _of_lab(args.lab, node, family)
    if not args.live or node != node_of_agent(args):
        return None
    if os.geteuid() != 0:
        print_note("drawn without counters: reading them needs root")
        return None
    try:
        return open_kernel(SystemRunner()).counters(family)
    except KernelError as error:
        print_note(f"drawn without counters: {error}")
        return None


def _of_lab(name: str, node: str, family: Family) -> Counters | None:
    # Who draws files does not pay for the lab.
    from podwall.lab import client  # noqa: PLC0415

    stem = "iptables" if family is Family.V4 else "ip6tables"
    with contextlib.closing(client.find(name)) as lab:
        # The tools of legacy mode say nothing of rules in the other one; the others do.
        for mode in (Mode.LEGACY, Mode.NFT):
            argv = [f"{stem}-{mode.value}-save", "-t", "filter", "-c"]
            try:
                # It warns of tables of the other mode, or that there is no such program.
                found = parse_counters(lab.output_of(f"node/{node}", argv, quiet=True), family)
            except LabError:
                continue
            if found:
                return found
    print_note(f"drawn without counters: those of node {node} cannot be read")
    return None
