"""The commands of the lab: options, and what they become for ``podwall.lab.commands``."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator

from podwall.cli import options
from podwall.cli.output import Status, err, out, print_diagnostics, print_note
from podwall.errors import InputError
from podwall.lab import commands
from podwall.lab.cluster.config import Config
from podwall.lab.commands import Output
from podwall.lab.engine import Engine, agents_engine, kernel_engine, open_engine
from podwall.lab.naming import parse_listen
from podwall.lab.planning import first_snapshot, nodes_only
from podwall.lab.state import DEFAULT_NAME
from podwall.lab.things import read_things
from podwall.lab.topology import Cni, Shape
from podwall.lab.wire import encode_snapshot
from podwall.manifest import Manifests, load
from podwall.model.net import parse_address


def add_run(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall lab run``."""
    _add_build(parser)
    parser.add_argument("--keep", action="store_true", help="leave the lab up afterwards")


def run(args: argparse.Namespace) -> Status:
    """Build a lab, probe it, print the matrix, take it down."""
    manifests = _load(args)
    status = commands.run(
        first_snapshot(manifests, args.nodes or 1, options.families_of(args)),
        _shape(args),
        _engine(args),
        _output(args),
        keep=args.keep,
        name=args.name,
    )
    return _status(manifests, status)


def add_up(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall lab up``."""
    _add_build(parser, files_needed=False)
    parser.add_argument(
        "--agents",
        action="store_true",
        help="a small cluster: an API server for kubectl, pods that come and go as objects do, "
        "a podwall agent per node; FILEs are what it begins with",
    )


def up(args: argparse.Namespace) -> Status:
    """Build a lab that stays up."""
    if args.agents:
        return _up_with_agents(args)
    if not args.files:
        raise InputError("no manifests: name files, directories, or - for standard input")
    manifests = _load(args)
    snapshot = first_snapshot(manifests, args.nodes or 1, options.families_of(args))
    status = commands.up(snapshot, _shape(args), _engine(args), _output(args), args.name)
    return _status(manifests, status)


def _up_with_agents(args: argparse.Namespace) -> Status:
    stdin = io.BytesIO(sys.stdin.buffer.read()) if "-" in args.files else None
    manifests = load(args.files, stdin=stdin) if args.files else Manifests()
    print_diagnostics(manifests.diagnostics)
    if stdin is not None:
        stdin.seek(0)
    things = read_things(args.files, stdin)
    if things.others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in things.others.items())
        print_note(f"left out, for the lab's API server does not serve these kinds: {kinds}")
    families = options.families_of(args)
    nodes = nodes_only(first_snapshot(manifests, args.nodes or 1, families))
    config = Config(
        name=args.name,
        nodes=encode_snapshot(nodes),
        node_labels=things.node_labels,
        families=tuple(each.value for each in families),
        objects=things.served,
        agents=not args.no_enforcement,
        agent_options=tuple(_agent_options(args)),
    )
    engine = open_engine() if args.no_enforcement else agents_engine(options.settings_of(args))
    status = commands.up_with_agents(nodes, _shape(args), engine, config, _output(args))
    return Status.UNUSABLE if status else _status(manifests, status)


def _agent_options(args: argparse.Namespace) -> Iterator[str]:
    """The options of this command that are options of an agent."""
    if args.mode is not None:
        yield from ("--mode", args.mode)
    yield from ("--deny", args.deny)
    if args.log_group is not None:
        yield from ("--log-group", str(args.log_group))
    for name in ("allow-node-egress", "open-unknown-pods", "keep-connections", "log-denied"):
        if getattr(args, name.replace("-", "_")):
            yield f"--{name}"


def add_down(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall lab down``."""
    parser.add_argument("--name", help="which lab (default: all that are up)")
    options.add_output(parser, "text", "json")


def down(args: argparse.Namespace) -> Status:
    """End labs."""
    return Status(commands.down(_output(args), args.name))


def status(args: argparse.Namespace) -> Status:
    """Show who is in the labs that are up."""
    return Status(commands.status(_output(args), args.name))


def add_exec(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall lab exec``."""
    _add_name(parser)
    parser.add_argument("who", metavar="POD", help="ns/pod, node/NAME or outside")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")


def execute(args: argparse.Namespace) -> int:
    """Run a program in a pod, on a node or outside."""
    argv = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not argv:
        raise InputError("what shall be run? As in: podwall lab exec default/web-0 -- ip address")
    return commands.execute(argv, args.who, args.name)


def add_probe(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall lab probe``."""
    _add_name(parser)
    parser.add_argument("--from", dest="source", action="append", default=[], metavar="WHO")
    parser.add_argument("--to", dest="target", action="append", default=[], metavar="WHO")
    parser.add_argument(
        "--port", action="append", default=[], metavar="PORT", help="6379/tcp, 53/udp, icmp"
    )
    options.add_output(parser, "text", "json")


def probe(args: argparse.Namespace) -> Status:
    """Probe a lab that is up."""
    return Status(
        commands.probe(
            _output(args),
            sources=args.source,
            targets=args.target,
            ports=args.port,
            name=args.name,
        )
    )


def add_apply(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall lab apply``."""
    options.add_files(parser)
    _add_name(parser)
    options.add_output(parser, "text", "json")


def apply_files(args: argparse.Namespace) -> Status:
    """Make a lab that is up what the manifests say now."""
    manifests = _load(args)
    return _status(manifests, commands.apply(manifests, _output(args), args.name))


def _add_build(parser: argparse.ArgumentParser, *, files_needed: bool = True) -> None:
    without = "" if files_needed else "with --agents none is needed"
    options.add_files(parser, needed=files_needed, without=without)
    _add_name(parser)
    parser.add_argument(
        "--cni",
        choices=[each.value for each in Cni],
        default=Cni.ROUTED.value,
        help="routed: no bridge; bridge: pods of a node on one bridge (%(default)s)",
    )
    parser.add_argument(
        "--port",
        action="append",
        default=[],
        metavar="PORT",
        help="everybody listens on this as well, as in 8080/tcp; can be given again",
    )
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="one more host outside the cluster; can be given again",
    )
    parser.add_argument(
        "--no-enforcement", action="store_true", help="program nothing: see a cluster without"
    )
    options.add_mode(parser)
    options.add_output(parser, "text", "json")
    options.add_cluster(parser)
    options.add_switches(parser)


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--name", default=DEFAULT_NAME, help="which lab, if there are several (%(default)s)"
    )


def _load(args: argparse.Namespace) -> Manifests:
    manifests = load(args.files, stdin=sys.stdin.buffer if "-" in args.files else None)
    print_diagnostics(manifests.diagnostics)
    return manifests


def _shape(args: argparse.Namespace) -> Shape:
    return Shape(
        families=tuple(options.families_of(args)),
        cni=Cni(args.cni),
        hosts=tuple(map(parse_address, args.host)),
        ports=tuple(map(parse_listen, args.port)),
    )


def _engine(args: argparse.Namespace) -> Engine:
    if args.no_enforcement:
        return open_engine()
    return kernel_engine(options.settings_of(args), options.mode_of(args))


def _output(args: argparse.Namespace) -> Output:
    return Output(out(), err(), args.output == "json")


def _status(manifests: Manifests, status: int) -> Status:
    if status == Status.OK and manifests.has_errors:
        return Status.UNUSABLE
    return Status(status)
