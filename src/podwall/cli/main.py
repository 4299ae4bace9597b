"""The command line: which commands there are, and what becomes of their errors.

Commands are imported when they are asked for, so that ``podwall --version`` and completion do not
pay for what they do not use. Exit statuses: 0 as expected, 1 a difference or finding, 2 unusable
input or options, 3 the kernel, the agent or the lab failed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from podwall import __version__
from podwall.errors import InputError, PodwallError


class Command(msgspec.Struct, frozen=True):
    """A command: where its code is, and what its help says.

    ``options`` and ``run`` are names of functions in ``module``.
    """

    name: str
    module: str
    run: str
    options: str
    summary: str
    examples: tuple[str, ...] = ()


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What a write ends with where nothing more can be written."""

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""

EXAMPLE = "examples/test-network-policy"

COMMANDS: tuple[Command, ...] = (
    Command(
        "render",
        "podwall.cli.files",
        "render",
        "add_render",
        "print the exact ipset and iptables text for a node",
        (
            f"podwall render {EXAMPLE} --node node-1",
            f"podwall render {EXAMPLE} --nodes 2 --node node-2 --out build/node-2",
        ),
    ),
    Command(
        "agent",
        "podwall.cli.agent",
        "run",
        "add_agent",
        "keep this node's kernel at what the API server says",
        (
            "podwall agent --node-name worker-1 --kubeconfig admin.conf",
            "PODWALL_DENY=reject podwall agent --config /etc/podwall.yaml --print-config",
        ),
    ),
    Command(
        "status",
        "podwall.cli.agent_ask",
        "status",
        "add_status",
        "say how the agent of this host is doing, and what is not enforced",
        ("podwall status", "podwall status -o json"),
    ),
    Command(
        "explain",
        "podwall.cli.files",
        "explain",
        "add_explain",
        "say whether a connection is allowed, and why",
        (
            "podwall explain --live --from default/web-0 --to 10.244.2.7 --port 5432/tcp",
            f"podwall explain {EXAMPLE} --from staging/frontend --to default/db-0 --port 6379/tcp",
            f"podwall explain {EXAMPLE} --from 172.17.1.9 --to default/db-0 --port 6379 -o json",
        ),
    ),
    Command(
        "matrix",
        "podwall.cli.files",
        "matrix",
        "add_matrix",
        "print who can reach whom on which ports",
        (f"podwall matrix {EXAMPLE}", "podwall matrix examples/shop --by pod -o csv"),
    ),
    Command(
        "report",
        "podwall.cli.page",
        "report",
        "add_report",
        "write a page to explore: the matrix, every verdict, the policies",
        (
            "podwall report examples/shop -o report.html",
            f"podwall report {EXAMPLE} --title 'Our policies' -o - > policies.html",
        ),
    ),
    Command(
        "ui",
        "podwall.cli.page",
        "ui",
        "add_ui",
        "show that page in a browser and keep it up to date",
        ("podwall ui examples/shop", "podwall ui --lab --listen 127.0.0.1:8080"),
    ),
    Command(
        "check",
        "podwall.cli.check",
        "run",
        "add_check",
        "look for mistakes and traps in policies",
        ("podwall check examples/shop", "podwall check policies/ --fail-on error -o json"),
    ),
    Command(
        "drops",
        "podwall.cli.drops",
        "run",
        "add_drops",
        "print denied packets by name, and why they were denied",
        (
            "podwall drops --follow",
            "podwall drops --since 10m --to shop/statefulset/db --port 5432",
            "podwall drops --lab --for 30s --count",
            f"podwall drops {EXAMPLE} --node-name node-1 --place -o jsonl",
        ),
    ),
    Command(
        "draw",
        "podwall.cli.draw",
        "run",
        "add_draw",
        "draw policies, what became of them, and the way through the chains",
        (
            f"podwall draw {EXAMPLE} -o policy.svg",
            "podwall draw examples/shop --policy shop/payment --kind translation -o payment.svg",
            "podwall draw examples/shop --namespace shop --format mermaid",
            "podwall draw examples/shop -o pictures/",
            "podwall draw --live --kind chains -o chains.svg",
        ),
    ),
    Command(
        "audit",
        "podwall.cli.audit",
        "run",
        "add_audit",
        "say which audited policies can be enforced, and what speaks against it",
        (
            "podwall audit examples/shop examples/audit",
            "podwall audit examples/shop examples/audit "
            "--connections examples/connections/shop.txt",
            "podwall audit --live",
            "podwall audit --lab --for 1m -o json",
        ),
    ),
    Command(
        "whatif",
        "podwall.cli.whatif",
        "run",
        "add_whatif",
        "say which connections a change opens and which it closes",
        (
            "podwall whatif examples/shop --with examples/changes/open-catalog-to-payment.yaml",
            "podwall whatif examples/shop --with examples/changes -o markdown --fail-on opens",
            "podwall whatif examples/shop --without shop/api --label shop/deployment/cart tier=web",
            "podwall whatif --live --with change.yaml",
        ),
    ),
    Command(
        "learn",
        "podwall.cli.learn",
        "run",
        "add_learn",
        "propose policies that allow the connections that were seen",
        (
            "podwall learn examples/shop --connections examples/connections/shop.txt",
            "podwall learn examples/shop --connections examples/connections/shop.txt "
            "--fresh -n shop > proposal.yaml",
            "conntrack -L | podwall learn --live --connections -",
            "podwall learn --lab --for 1m",
        ),
    ),
    Command(
        "test",
        "podwall.cli.test",
        "run",
        "add_test",
        "test whether policies keep a team's promises",
        (
            "podwall test examples/shop --expect examples/expectations/shop.yaml",
            "podwall test examples/shop --expect examples/expectations --junit report.xml",
            "podwall test examples/shop --expect examples/expectations --lab",
        ),
    ),
    Command(
        "apply",
        "podwall.cli.node",
        "apply_files",
        "add_apply",
        "enforce policies on this host, without a cluster",
        (
            "podwall apply cluster.yaml --node-name worker-1 --dry-run",
            "kubectl get pods,namespaces,networkpolicies,nodes -A -o yaml | "
            "podwall apply - --node-name worker-1",
        ),
    ),
    Command(
        "diff",
        "podwall.cli.node",
        "diff",
        "add_diff",
        "show what differs between this host's kernel and what it shall hold",
        ("podwall diff", "podwall diff cluster.yaml --node-name worker-1"),
    ),
    Command(
        "cleanup",
        "podwall.cli.node",
        "cleanup",
        "add_cleanup",
        "remove every trace of podwall from this host",
        ("podwall cleanup --dry-run", "podwall cleanup"),
    ),
    Command(
        "completion",
        "podwall.cli.completion",
        "run",
        "add_completion",
        "print a completion script for a shell",
        ("podwall completion bash > /etc/bash_completion.d/podwall",),
    ),
)

LAB_COMMANDS: tuple[Command, ...] = (
    Command(
        "run",
        "podwall.cli.lab",
        "run",
        "add_run",
        "build a lab, probe every pair, print the matrix, take it down",
        (
            f"podwall lab run {EXAMPLE}",
            f"podwall lab run {EXAMPLE} --nodes 2 --dual-stack --cni bridge",
        ),
    ),
    Command(
        "up",
        "podwall.cli.lab",
        "up",
        "add_up",
        "build a lab that stays up",
        (
            f"podwall lab up {EXAMPLE} --nodes 2",
            "podwall lab up --agents --nodes 3",
            f"podwall lab up {EXAMPLE} --agents --nodes 3 --dual-stack",
        ),
    ),
    Command(
        "down", "podwall.cli.lab", "down", "add_down", "end labs that are up", ("podwall lab down",)
    ),
    Command(
        "status",
        "podwall.cli.lab",
        "status",
        "add_down",
        "show who is in the labs that are up",
        ("podwall lab status",),
    ),
    Command(
        "exec",
        "podwall.cli.lab",
        "execute",
        "add_exec",
        "run a program in a pod, on a node or outside",
        (
            "podwall lab exec default/db-0 -- ip address",
            "podwall lab exec node/node-1 -- iptables -L -v",
        ),
    ),
    Command(
        "probe",
        "podwall.cli.lab",
        "probe",
        "add_probe",
        "probe a lab that is up",
        ("podwall lab probe --to default/db-0 --port 6379/tcp",),
    ),
    Command(
        "apply",
        "podwall.cli.lab",
        "apply_files",
        "add_apply",
        "change the policies, labels or pods of a lab that is up",
        (f"podwall lab apply {EXAMPLE}",),
    ),
)


def build_parser(only: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The parser; with ``only``, the options of just that command are added.

    ``only`` is the beginning of the command line: options of other commands cost their imports.
    """
    parser = argparse.ArgumentParser(
        prog="podwall",
        description="Enforces Kubernetes NetworkPolicy with iptables and ipset, and says why.",
        epilog="exit status: 0 as expected, 1 a difference or finding, 2 unusable input, "
        "3 the kernel, the agent or the lab failed, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"podwall {__version__}")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show the programs that are started"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    words = None if only is None else [word for word in only if not word.startswith("-")]
    for command in COMMANDS:
        _add(commands, command, words is None or words[:1] == [command.name])
    lab = commands.add_parser(
        "lab",
        help="pods as network namespaces on this machine, with real packets",
        description="A cluster in network namespaces: no cluster and no root needed, and nothing "
        "is left behind.",
    )
    lab_commands = lab.add_subparsers(metavar="COMMAND", required=True)
    for command in LAB_COMMANDS:
        chosen = words is None or words[:2] == ["lab", command.name]
        _add(lab_commands, command, chosen)
    return parser


def _add(commands: Any, command: Command, chosen: bool) -> None:
    examples = "\n".join(f"  {each}" for each in command.examples)
    parser = commands.add_parser(
        command.name,
        help=command.summary,
        description=f"{command.summary[0].upper()}{command.summary[1:]}.",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if chosen:
        module = importlib.import_module(command.module)
        getattr(module, command.options)(parser)
        parser.set_defaults(run=getattr(module, command.run))


_JUDGING = frozenset({"podwall.cli.audit", "podwall.cli.test", "podwall.cli.whatif"})
"""Commands whose status others act on: an answer that nobody read to its end is not yes."""

_UNREAD = 128 + signal.SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    args = build_parser(words).parse_args(words)
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.WARNING,
        format="%(levelname)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        status = int(args.run(args))
        # Here rather than at exit, where nobody could catch that the reader has gone.
        sys.stdout.flush()
        return status
    except PodwallError as error:
        return _report(error)
    except BrokenPipeError:
        # The reader (head, less) has enough. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _UNREAD if args.run.__module__ in _JUDGING else 0
    except OSError as error:
        if error.errno not in _FULL:
            raise
        return _report_full(error)


def _report_full(error: OSError) -> int:
    """Say that results could not be written; their status would be taken for an answer."""
    from podwall.cli.output import Status, print_error  # noqa: PLC0415

    print_error(f"{error.filename or 'the output'}: it cannot be written: {error.strerror}")
    # What is still buffered would fail again when Python flushes it at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Status.FAILED


def _report(error: PodwallError) -> int:
    """Print what made a command fail; its exit status."""
    # Only now: an agent that runs well never pays for what prints.
    from podwall.cli.output import Status, print_diagnostics, print_error  # noqa: PLC0415
    from podwall.manifest import UnusableInput  # noqa: PLC0415

    if isinstance(error, UnusableInput):
        print_diagnostics(error.diagnostics)
        return Status.UNUSABLE
    print_error(str(error))
    return Status.UNUSABLE if isinstance(error, InputError) else Status.FAILED


def entry() -> None:
    """The console script."""
    if sys.stdout is None or sys.stderr is None:
        # Started with a closed stream (``>&-``): what would be printed there is not wanted.
        nowhere = open(os.devnull, "w")  # noqa: SIM115 - lives as long as the process
        sys.stdout = sys.stdout or nowhere
        sys.stderr = sys.stderr or nowhere
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        # Also while a command is still being imported.
        sys.stderr.write("error: interrupted\n")
        sys.exit(INTERRUPTED)
