"""Cut a step that is too long for one transaction into steps that are as safe.

In nf_tables mode a batch is one netlink message, which must fit into a socket buffer. On a host
root may make the buffer as large as needed; inside a user namespace, where the lab lives, the
limit is ``net.core.wmem_max``, seen as 426 kB for about 1,700 rules.

Chains that are not in the kernel yet can be filled beforehand, in as many transactions as it takes:
nothing leads to them. Everything that is in force, and the switch to what is new, stays together in
the last transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import msgspec

from podwall.ruleset.ir import Chain
from podwall.ruleset.plan import ChainStep

RULES_AT_ONCE = 300
"""Rules for one transaction: even with the longest comments they need less than 426 kB."""


def split_step(step: ChainStep, present: Collection[str]) -> list[ChainStep]:
    """Steps that have the effect of ``step`` together; just ``step`` if it cannot be split.

    ``present`` names the chains that are in the kernel. New chains come first without rules, so
    that they can lead to each other in any order.
    """
    new = [chain for chain in step.replace if chain.name not in present]
    if not new:
        return [step]
    rest = tuple(chain for chain in step.replace if chain.name in present)
    empty = tuple(msgspec.structs.replace(chain, rules=()) for chain in new)
    return [
        ChainStep(step.family, replace=empty),
        *(ChainStep(step.family, replace=tuple(group)) for group in _groups(new)),
        msgspec.structs.replace(step, replace=rest),
    ]


def _groups(chains: Sequence[Chain]) -> Iterator[list[Chain]]:
    """Chains with at most ``RULES_AT_ONCE`` rules together; a longer one stands alone."""
    group: list[Chain] = []
    rules = 0
    for chain in chains:
        if group and rules + len(chain.rules) > RULES_AT_ONCE:
            yield group
            group, rules = [], 0
        group.append(chain)
        rules += len(chain.rules)
    if group:
        yield group
