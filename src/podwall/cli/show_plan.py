"""How a plan looks on a terminal and as JSON: the very lines that would be sent."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from podwall.dataplane.plan_text import PlanText, StepText


def show_plan(console: Console, plan: PlanText) -> None:
    """Print the steps of a plan, or that there is nothing to do."""
    if not plan:
        console.print("no difference: the kernel holds what it shall hold")
        return
    if plan.repairs:
        console.print(Text("first: ipset restore, for what podwall never writes", style="bold"))
    _show_lines(console, plan.repairs)
    for number, step in enumerate(plan.steps, start=1):
        console.print(Text(f"step {number} of {len(plan.steps)}: {step.program}", style="bold"))
        _show_lines(console, step.input)
    console.print(
        f"rules +{plan.rules.added} -{plan.rules.removed}, "
        f"members +{plan.members.added} -{plan.members.removed}"
    )


def plan_dict(plan: PlanText) -> dict[str, object]:
    """A plan, and the repairs that come before it, as plain values."""
    first = (StepText("ipset restore", plan.repairs),) if plan.repairs else ()
    return {"rules": plan.rules, "members": plan.members, "steps": first + plan.steps}


def _show_lines(console: Console, lines: tuple[str, ...]) -> None:
    for line in lines:
        console.print(Text(f"  {line}", style=_style(line)))


def _style(line: str) -> str:
    if line.startswith(("del ", "destroy ", "-D ", "-X ", "-F ")):
        return "red"
    return "green" if line.startswith(("add ", "create ", "-A ", "-I ")) else "dim"
