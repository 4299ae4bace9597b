"""``podwall agent``: its options, and what they become.

Nothing here may import what prints tables: an agent lives long, and on every node.
"""

from __future__ import annotations

import argparse
import os
import sys

import msgspec

from podwall.agent.config.fields import FIELDS, Field
from podwall.agent.config.loading import (
    FILE_VARIABLE,
    Loaded,
    config_dict,
    load_config,
    render_config,
)
from podwall.errors import InputError

_GROUPS = {
    "agent": "",
    "kernel": "how the kernel is programmed",
    "switches": "what the specification leaves open; the defaults are the closed ones",
    "lab": "to program another network namespace than the agent's own",
}


def add_agent(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall agent``: one for each setting, and two about the whole."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=f"YAML or TOML file with settings, by the names of these options (${FILE_VARIABLE})",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print the settings, and where each comes from, and stop",
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help=_FORMAT)
    groups = {name: parser.add_argument_group(name, text or None) for name, text in _GROUPS.items()}
    for field in FIELDS:
        _add(groups[field.group], field)


_FORMAT = "format of --print-config (%(default)s)"


def _add(group: argparse._ArgumentGroup, field: Field) -> None:
    default = f" ({field.default})" if field.default and not field.flag else ""
    text = f"{field.help}{default}".replace("%", "%%")
    # Without a default: what the command line does not say, the environment or the file may.
    if field.flag:
        group.add_argument(f"--{field.name}", action=argparse.BooleanOptionalAction, help=text)
    else:
        group.add_argument(
            f"--{field.name}",
            metavar="|".join(field.choices) or field.metavar,
            help=f"{text} [${field.variable}]",
        )


def run(args: argparse.Namespace) -> int:
    """Keep the kernel of this node at what the API server says, until told to stop."""
    loaded = load_config(_flags(args), os.environ, args.config)
    if args.print_config:
        _print_config(loaded, args.output)
        return 0
    try:
        from podwall.agent.run import run_agent  # noqa: PLC0415 - needs the agent's packages
    except ModuleNotFoundError as error:
        raise InputError(
            f"the agent needs the Python package {str(error.name).replace('_', '-')}, which comes "
            "with podwall's extra [agent]; in a checkout: scripts/setup agent"
        ) from error
    return run_agent(loaded)


def _flags(args: argparse.Namespace) -> dict[str, str]:
    """The texts of the settings that the command line gives."""
    given = {field.name: getattr(args, field.attribute) for field in FIELDS}
    flags = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in given.items()
        if value is not None
    }
    if args.verbose:
        flags.setdefault("log-level", "debug")
    return flags


def _print_config(loaded: Loaded, output: str) -> None:
    if output == "json":
        text = msgspec.json.format(msgspec.json.encode(config_dict(loaded)), indent=2)
        sys.stdout.write(text.decode() + "\n")
    else:
        sys.stdout.write(render_config(loaded))
    for each in loaded.warnings:
        sys.stderr.write(f"warning: {each}\n")
