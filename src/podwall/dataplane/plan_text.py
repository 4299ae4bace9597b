"""A plan as the very lines that would be sent, for people and for programs that are not the kernel.

What crosses a socket or becomes JSON is this, not the plan: whoever shows it needs no words for
rules and sets.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from podwall.dataplane.apply import ApplyReport
from podwall.dataplane.ipset.render import render_set_step
from podwall.dataplane.iptables.render import render_chain_step
from podwall.model.net import Family
from podwall.ruleset.plan import ChainStep, Plan, Step


class StepText(msgspec.Struct, frozen=True):
    """The program that a step is sent to, and the lines that it reads."""

    program: str
    input: tuple[str, ...]


class Changes(msgspec.Struct, frozen=True):
    """So many were, or would be, added and removed."""

    added: int = 0
    removed: int = 0


class PlanText(msgspec.Struct, frozen=True):
    """What a plan changes, and its steps; false if there is nothing to do.

    ``repairs`` are lines for ipset that come before the steps: what podwall never writes goes.
    """

    rules: Changes = Changes()
    members: Changes = Changes()
    steps: tuple[StepText, ...] = ()
    repairs: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps or self.repairs)


def render_plan(plan: Plan, changes: ApplyReport, repairs: Sequence[str] = ()) -> PlanText:
    """The text of ``plan``, of which ``changes`` tells what it changes."""
    return PlanText(
        Changes(changes.rules_added, changes.rules_removed),
        Changes(changes.members_added, changes.members_removed),
        tuple(StepText(_program(each), _lines(each)) for each in plan.steps),
        tuple(repairs),
    )


def _program(step: Step) -> str:
    if isinstance(step, ChainStep):
        return "iptables-restore" if step.family is Family.V4 else "ip6tables-restore"
    return "ipset restore"


def _lines(step: Step) -> tuple[str, ...]:
    text = render_chain_step(step) if isinstance(step, ChainStep) else render_set_step(step)
    return tuple(text.splitlines())
