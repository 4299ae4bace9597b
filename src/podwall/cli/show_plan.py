"""How a plan looks on a terminal and as JSON: the very lines that would be sent."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from podwall.dataplane.apply import ApplyReport
from podwall.dataplane.ipset.render import render_set_step
from podwall.dataplane.iptables.render import render_chain_step
from podwall.ruleset.plan import ChainStep, Plan, Step


def show_plan(
    console: Console, plan: Plan, changes: ApplyReport, repairs: Sequence[str] = ()
) -> None:
    """Print the steps of a plan, or that there is nothing to do.

    ``repairs`` are lines for ipset that come before the plan: what podwall never writes goes.
    """
    if not plan and not repairs:
        console.print("no difference: the kernel holds what it shall hold")
        return
    if repairs:
        console.print(Text("first: ipset restore, for what podwall never writes", style="bold"))
    for line in repairs:
        console.print(Text(f"  {line}", style=_style(line)))
    for number, step in enumerate(plan.steps, start=1):
        console.print(Text(f"step {number} of {len(plan.steps)}: {_program(step)}", style="bold"))
        for line in _text(step).splitlines():
            console.print(Text(f"  {line}", style=_style(line)))
    console.print(
        f"rules +{changes.rules_added} -{changes.rules_removed}, "
        f"members +{changes.members_added} -{changes.members_removed}"
    )


def plan_dict(plan: Plan, changes: ApplyReport, repairs: Sequence[str] = ()) -> dict[str, object]:
    """A plan, and the repairs that come before it, as plain values."""
    first = [{"program": "ipset restore", "input": list(repairs)}] if repairs else []
    return {
        "rules": {"added": changes.rules_added, "removed": changes.rules_removed},
        "members": {"added": changes.members_added, "removed": changes.members_removed},
        "steps": first
        + [{"program": _program(step), "input": _text(step).splitlines()} for step in plan.steps],
    }


def _program(step: Step) -> str:
    if isinstance(step, ChainStep):
        return "iptables-restore" if step.family.value == 4 else "ip6tables-restore"
    return "ipset restore"


def _text(step: Step) -> str:
    return render_chain_step(step) if isinstance(step, ChainStep) else render_set_step(step)


def _style(line: str) -> str:
    if line.startswith(("del ", "destroy ", "-D ", "-X ", "-F ")):
        return "red"
    return "green" if line.startswith(("add ", "create ", "-A ", "-I ")) else "dim"
