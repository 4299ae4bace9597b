"""Cut a step that is too long for one transaction into steps that are as safe.

In nf_tables mode a batch is one netlink message, which must fit into a socket buffer. On a host
root may make the buffer as large as needed; inside a user namespace, where the lab lives, the
limit is ``net.core.wmem_max``, seen as 426 kB for about 1,700 rules.

Chains that no packet can get to can be filled beforehand, in as many transactions as it takes: they
are not in the kernel yet, or a run that was killed between two parts left them there. Everything
that is in force, and the switch to what is new, stays together in the last transaction.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence

import msgspec

from podwall.dataplane.iptables.parse import split_words
from podwall.ruleset.ir import Chain
from podwall.ruleset.plan import ChainStep

RULES_AT_ONCE = 300
"""Rules for one transaction: even with the longest comments they need less than 426 kB."""


def split_step(step: ChainStep, in_force: Collection[str]) -> list[ChainStep]:
    """Steps that have the effect of ``step`` together; just ``step`` if it cannot be split.

    ``in_force`` names the chains that packets can get to: :func:`chains_in_force`. The others come
    first without rules, so that they can lead to each other in any order.
    """
    idle = [chain for chain in step.replace if chain.name not in in_force]
    if not idle:
        return [step]
    rest = tuple(chain for chain in step.replace if chain.name in in_force)
    empty = tuple(msgspec.structs.replace(chain, rules=()) for chain in idle)
    return [
        ChainStep(step.family, replace=empty),
        *(ChainStep(step.family, replace=tuple(group)) for group in _groups(idle)),
        msgspec.structs.replace(step, replace=rest),
    ]


def chains_in_force(text: str) -> frozenset[str]:
    """The chains that a built-in chain leads to, on whatever way, and the built-in ones.

    ``text`` is the filter table as iptables-save prints it. Other programs' chains and rules that
    podwall never writes lead on as well, whatever they match.
    """
    ways: dict[str, list[str]] = {}
    waiting: list[str] = []
    for line in text.split("\n"):
        if line.startswith(":"):
            name, _, policy = line[1:].partition(" ")
            # Only built-in chains have a policy; the others have a dash in its place.
            if not policy.startswith("-"):
                waiting.append(name)
        elif line.startswith("-A "):
            _, name, *words = split_words(line)
            targets = ways.setdefault(name, [])
            targets += (to for option, to in itertools.pairwise(words) if option in ("-j", "-g"))
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += ways.get(name, ())
    return frozenset(found)


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
