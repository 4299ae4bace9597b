"""How an agent's explanation looks on a terminal: decision, way, and what the kernel says to it."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from podwall.agent.control.answers import LiveDirection, LiveExplanation, LiveSet, LiveStep

_STYLE = {"allowed": "green", "denied": "bold red"}
_HOOKS = {
    "FORWARD": "forwarded by node {node}",
    "INPUT": "arrives at node {node} itself",
    "OUTPUT": "starts on node {node} itself",
}


def show_live(console: Console, found: LiveExplanation, node: str, waiting: int) -> None:
    """Print one explanation of the agent of ``node``."""
    src, dst = found.addresses
    console.print(
        Text.assemble(
            f"{found.source} → {found.target} {found.service}: ",
            (found.verdict.upper(), _STYLE[found.verdict]),
            f"   ({src} → {dst})",
        )
    )
    _show_programmed(console, found, waiting)
    if not found.rules_agree:
        console.print(
            Text(
                "  the rules give another verdict than the policies: this is a defect of podwall, "
                "please report it",
                style="bold red",
            )
        )
    for direction in (found.egress, found.ingress):
        console.print()
        _show_direction(console, direction, node)
    if not found.path:
        console.print(f"\nNode {node} does not judge this traffic.")
        return
    console.print("\nThe way through the kernel, and how many packets went it:")
    for stop in found.path:
        story = _HOOKS[stop.hook].format(node=node)
        console.print(
            Text.assemble(f"  {story} ({stop.hook}): ", (stop.verdict, _STYLE[stop.verdict]))
        )
        for step in stop.steps:
            if step.matched:
                console.print(_step_text(step))
        for each in stop.sets:
            console.print(_set_text(each))


def _show_programmed(console: Console, found: LiveExplanation, waiting: int) -> None:
    if found.programmed and not found.path:
        return
    if found.programmed:
        console.print("  the kernel holds every rule and set on the way")
    for each in found.missing:
        console.print(Text(f"  the kernel differs: {each}", style="bold red"))
    if waiting:
        console.print(Text(f"  {waiting} events are not enforced yet", style="yellow"))


def _show_direction(console: Console, direction: LiveDirection, node: str) -> None:
    who = direction.subject or (
        "the source" if direction.direction == "egress" else "the destination"
    )
    where = "" if direction.node in (None, node) else f", judged on node {direction.node}"
    console.print(
        Text.assemble(
            (direction.direction.capitalize(), "bold"),
            f" of {who}: ",
            (direction.verdict, _STYLE[direction.verdict]),
            where,
        )
    )
    if direction.isolated_by:
        console.print(Text(f"  isolated by {', '.join(direction.isolated_by)}"))
    if direction.exemption is not None:
        console.print(Text(f"  {direction.exemption}"))
    if direction.allowed_by is not None:
        console.print(Text(f"  allowed by {direction.allowed_by}"))
        if direction.peer is not None:
            console.print(Text(f"    {direction.peer}; {direction.port}"))
    for reason in direction.reasons:
        console.print(Text(f"  {reason}"))
    if direction.audited_by:
        console.print(Text(f"  audited by {', '.join(direction.audited_by)}"))
    if direction.would_deny:
        console.print(Text("  would be denied if enforced:", style="yellow"))
    for reason in direction.audit_reasons:
        console.print(Text(f"    {reason}"))


def _step_text(step: LiveStep) -> Text:
    comment = f"   # {step.comment}" if step.comment else ""
    counted = ""
    if step.packets is not None:
        packets = "1 packet" if step.packets == 1 else f"{step.packets} packets"
        counted = f"   [{packets}, {step.bytes} bytes]"
    text = Text(f"    {step.chain} rule {step.rule}: {_target(step)}{comment}")
    text.append(counted, "cyan")
    if not step.programmed:
        text.append("   not in the kernel", "bold red")
    return text


def _target(step: LiveStep) -> str:
    match step.target:
        case "JUMP":
            return f"calls {step.to}"
        case "GOTO":
            return f"goes to {step.to}"
        case "RETURN":
            return "goes back: nothing against it here"
        case "DROP":
            return "dropped"
        case "LOG":
            return "told to who listens for denied packets"
        case "ADDTOSET":
            return "its flow is noted, to be told of once"
        case _:
            return "rejected"


def _set_text(each: LiveSet) -> Text:
    count = "1 member" if each.members == 1 else f"{each.members} members"
    answer = "holds it" if each.holds else "does not hold it"
    text = Text(f"    set {each.name} ({each.title}; {count}): {answer}", "dim")
    if each.kernel_members is None:
        text.append("   not in the kernel", "bold red")
    elif not each.programmed:
        text.append(f"   differs in the kernel, {each.kernel_members} there", "bold red")
    return text
