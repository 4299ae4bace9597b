"""Commands that touch this host's kernel: apply, diff and cleanup.

Without manifests, ``diff`` asks the agent of this host. While an agent runs, ``apply`` and
``cleanup`` change nothing: the agent would take it back, and until then what it enforces is gone.
"""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from podwall.agent.lock import remove_state, running_agent
from podwall.api import Cluster
from podwall.cli import agent_ask, options
from podwall.cli.output import Status, err, out, print_error, print_json, print_note
from podwall.cli.show_plan import plan_dict, show_plan
from podwall.dataplane.apply import (
    ApplyReport,
    clean_up,
    count_changes,
    enforce,
    for_families,
    plan_cleanup,
)
from podwall.dataplane.command import SystemRunner
from podwall.dataplane.conntrack import CutReport, cut_forbidden
from podwall.dataplane.enforced import host_addresses, judged_addresses, node_allows
from podwall.dataplane.hostlock import host_lock
from podwall.dataplane.kernel import KernelDataPlane, open_kernel, open_kernels
from podwall.dataplane.plan_text import render_plan
from podwall.errors import AgentError, InputError, KernelError
from podwall.manifest import Diagnostic
from podwall.model.objects import PodKey
from podwall.model.policy import PolicyKey
from podwall.ruleset import diff as planning
from podwall.ruleset.compile import compile_node
from podwall.ruleset.ir import Ruleset
from podwall.ruleset.plan import Plan


def add_apply(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall apply``."""
    options.add_files(parser)
    _add_manifests_of_host(parser)
    parser.add_argument(
        "--force",
        action="store_true",
        help="enforce what could be read even if something was lost, or the node is not known, "
        "or an agent runs here, which takes it back within seconds",
    )
    options.add_state_dir(parser)
    add_dry_run(parser)


def add_diff(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall diff``."""
    options.add_files(parser, needed=False, without="without any, the agent of this host is asked")
    options.add_state_dir(parser)
    _add_manifests_of_host(parser)


def _add_manifests_of_host(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--node-name",
        default=socket.gethostname(),
        metavar="NODE",
        help="which node of the manifests this host is (default: its host name, %(default)s)",
    )
    parser.add_argument(
        "--place",
        action="store_true",
        help="give pods without node or address some, as render and the lab do",
    )
    parser.add_argument(
        "--lock-wait",
        type=int,
        default=30,
        metavar="SECONDS",
        help="how long to wait for the xtables lock (%(default)s)",
    )
    options.add_mode(parser)
    options.add_output(parser, "text", "json")
    options.add_cluster(parser)
    options.add_switches(parser)


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """The option of commands that can show what they would do."""
    parser.add_argument("--dry-run", action="store_true", help="show the steps, change nothing")


def apply_files(args: argparse.Namespace) -> Status:
    """Enforce the policies of the manifests on this host."""
    cluster = _load(args)
    dataplane = _open(args)
    ruleset = cluster.ruleset(args.node_name)
    if not args.force:
        _refuse_lost_input(args, cluster)
    if args.dry_run:
        observed = dataplane.observe()
        plan = planning.diff(observed, for_families(ruleset, dataplane.families))
        _print_plan(args, plan, count_changes(plan, observed), dataplane.repairs)
        return options.input_status(cluster)
    if not args.force:
        _refuse_beside_agent(Path(args.state_dir), "changed")

    def compile_without(refused: frozenset[PolicyKey]) -> Ruleset:
        return compile_node(cluster.snapshot, args.node_name, cluster.settings, refused)

    with host_lock(args.lock_wait):
        report = enforce(dataplane, ruleset, compile_without)
        cut = None
        if cluster.settings.cut_connections:
            refused = frozenset(key for each in report.refusals for key in each.policies)
            cut = _cut(dataplane, compile_without(refused) if refused else ruleset)
    _print_report(args, report, cut)
    if report.refusals:
        return Status.FAILED
    return options.input_status(cluster)


def diff(args: argparse.Namespace) -> Status:
    """Show what differs between the manifests, or what the agent knows, and this host's kernel."""
    if not args.files:
        return agent_ask.diff(args)
    cluster = _load(args)
    dataplane = _open(args)
    ruleset = for_families(cluster.ruleset(args.node_name), dataplane.families)
    observed = dataplane.observe()
    plan = planning.diff(observed, ruleset)
    _print_plan(args, plan, count_changes(plan, observed), dataplane.repairs)
    different = bool(plan or dataplane.repairs or dataplane.strays)
    return options.input_status(cluster, Status.DIFFERENT if different else Status.OK)


def add_cleanup(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall cleanup``."""
    options.add_mode(parser)
    options.add_output(parser, "text", "json")
    options.add_state_dir(parser)
    parser.add_argument(
        "--force",
        action="store_true",
        help="go on although an agent runs here, which puts everything back within seconds",
    )
    add_dry_run(parser)
    parser.set_defaults(lock_wait=30)


def cleanup(args: argparse.Namespace) -> Status:
    """Remove every trace of podwall from this host: rules, chains and sets, in both modes."""
    _check_node_options(args)
    state_dir = Path(args.state_dir)
    if not (args.force or args.dry_run):
        _refuse_beside_agent(state_dir, "removed")
    runner, timeout = SystemRunner(), args.lock_wait + 60
    mode = options.mode_of(args)
    dataplanes: Sequence[KernelDataPlane] = (
        open_kernels(runner, args.lock_wait, timeout)
        if mode is None
        else (open_kernel(runner, mode, args.lock_wait, timeout),)
    )
    if args.dry_run:
        plans = plan_cleanup(dataplanes)
        steps = tuple(step for _, plan in plans for step in plan.steps)
        rules = sum(count_changes(plan, observed).rules_removed for observed, plan in plans)
        members = sum(count_changes(plan, observed).members_removed for observed, plan in plans)
        _print_plan(args, Plan(steps), ApplyReport(rules_removed=rules, members_removed=members))
        return Status.OK
    with host_lock(args.lock_wait):
        report = clean_up(dataplanes)
    if running_agent(state_dir) is None:
        remove_state(state_dir)
    _print_report(args, report, None)
    return Status.OK


def _refuse_beside_agent(state_dir: Path, done: str) -> None:
    """Change nothing that somebody takes back at once.

    Raises:
        AgentError: an agent runs here.
    """
    holder = running_agent(state_dir)
    if holder is not None:
        raise AgentError(
            f"nothing was {done}: an agent runs on this host (process {holder}) and would take "
            "that back; stop it first (in a cluster, as docs/install.md says), or say --force"
        )


def _load(args: argparse.Namespace) -> Cluster:
    cluster = options.load_cluster(args, fallback_node=args.node_name, place_pods=args.place)
    snapshot = cluster.snapshot
    here = [pod for pod in snapshot.pods.values() if pod.node == args.node_name]
    if not here:
        nodes = sorted({pod.node for pod in snapshot.pods.values() if pod.node}) or ["none"]
        hint = "" if args.place else "; --place gives pods without node and address some"
        print_note(
            f"no pod of the manifests is on node {args.node_name!r} "
            f"(nodes that have some: {', '.join(nodes)}){hint}"
        )
    unaddressed = [pod for pod in here if not pod.addresses and not pod.phase.terminated]
    if unaddressed:
        print_note(f"{len(unaddressed)} pods of this node have no address yet")
    return cluster


def _refuse_lost_input(args: argparse.Namespace, cluster: Cluster) -> None:
    """Change nothing where what is missing from the input may be what protects a pod.

    A policy that is wrong is kept and isolates (S10). What could not be read at all is not there to
    isolate anybody, and a node that the input does not know has no pods to protect.

    Raises:
        InputError: something was lost; says what.
    """
    lost = [each for each in cluster.manifests.errors if not _is_kept(cluster, each)]
    if lost:
        raise InputError(
            f"nothing was changed: {len(lost)} of the errors above lost something that may protect "
            "a pod; mend them, or enforce what could be read with --force"
        )
    known = {pod.node for pod in cluster.snapshot.pods.values()} | cluster.snapshot.nodes.keys()
    if args.node_name not in known:
        raise InputError(
            f"nothing was changed: the manifests know no node {args.node_name!r} (they know "
            f"{', '.join(sorted(known - {''})) or 'none'}); name it with --node-name, or enforce "
            "that it has no pods with --force"
        )


def _is_kept(cluster: Cluster, mistake: Diagnostic) -> bool:
    """Whether the object that a mistake is in is part of the cluster all the same."""
    namespace, _, name = mistake.name.rpartition("/")
    snapshot = cluster.snapshot
    match mistake.kind:
        case "NetworkPolicy":
            return PolicyKey(namespace, name) in snapshot.policies
        case "Pod":
            return PodKey(namespace, name) in snapshot.pods
        case "Namespace":
            return name in snapshot.namespaces
        case "Node":
            return name in snapshot.nodes
        case _:
            return False


def _check_node_options(args: argparse.Namespace) -> None:
    if os.geteuid() != 0:
        raise InputError("reading and changing the kernel's rules needs root; try with sudo")
    if not 0 <= args.lock_wait <= 3600:
        raise InputError(f"--lock-wait {args.lock_wait}: must be 0 to 3600 seconds")


def _open(args: argparse.Namespace) -> KernelDataPlane:
    _check_node_options(args)
    return open_kernel(
        SystemRunner(), options.mode_of(args), args.lock_wait, timeout=args.lock_wait + 60
    )


def _cut(dataplane: KernelDataPlane, ruleset: Ruleset) -> CutReport | None:
    """Cut what is no longer allowed; rules are in force already if this fails."""
    try:
        return cut_forbidden(
            dataplane,
            is_allowed=node_allows(ruleset, host_addresses(SystemRunner())),
            concerns=judged_addresses(ruleset),
        )
    except KernelError as error:
        print_error(f"connections that are no longer allowed could not be cut: {error}")
        return None


def _print_report(args: argparse.Namespace, report: ApplyReport, cut: CutReport | None) -> None:
    if args.output == "json":
        print_json(
            {
                "steps": report.steps,
                "rules": {"added": report.rules_added, "removed": report.rules_removed},
                "members": {"added": report.members_added, "removed": report.members_removed},
                "seconds": round(report.seconds, 6),
                "connections_cut": None if cut is None else cut.cut,
                "refused": [
                    {"policies": list(map(str, each.policies)), "cause": each.cause}
                    for each in report.refusals
                ],
            }
        )
    else:
        out().print(str(report))
        if cut is not None and cut.cut:
            out().print(f"cut {cut.cut} connections that are no longer allowed")
    for refusal in report.refusals:
        names = ", ".join(map(str, refusal.policies))
        err().print(
            Text.assemble(
                ("error: ", "bold red"),
                f"the kernel refuses the rules of {names}; nothing of these policies is allowed "
                "and their pods are isolated, or not audited if the policies are audited\n"
                f"{refusal.cause}",
            )
        )


def _print_plan(
    args: argparse.Namespace, plan: Plan, changes: ApplyReport, repairs: Sequence[str] = ()
) -> None:
    text = render_plan(plan, changes, repairs)
    if args.output == "json":
        print_json(plan_dict(text))
    else:
        show_plan(out(), text)
