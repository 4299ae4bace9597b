"""The conformance suite: what NetworkPolicy means, as cases that any enforcer can be held to.

All cases are about one small cluster (:mod:`tests.conformance.world`) and are pure data
(:mod:`tests.conformance.case`). What a case expects was written down by hand, next to what it
applies, without asking podwall; ``test_oracle.py`` holds the oracle to it.

To run it on a kernel, build the world once (every machine at its address of each family, listening
on ``world.LISTENING``, and on TCP 82 where the pod declares ``side``) and start podwall's engine on
both nodes. Then, for each case of :data:`CORE` or :data:`ALL`:

1. For each ``step, objects`` of ``case.states(world())``: hand ``objects`` (manifests, to be
   decoded as files are) to the engine of each node with ``case.settings``, wait until it has
   applied them, then probe all of ``step.expect`` at once. An expectation is a *new* connection
   from the address of one machine to that of another (``MACHINES[name].address(family)``): TCP
   connect, a UDP or SCTP exchange, or an echo. Machines never move: when a case deletes a pod, the
   machine stays and is probed as what it then is, an unknown address.
2. After the last step hand over the world itself. That removes the case's policies; cases that
   ``changes_the_world`` also get their pods and namespaces back this way.

Closed probes cost their time limit, so probe all of a step in parallel. Cases of equal ``settings``
can share a lab; most use the defaults. Each expectation names both machines, so a lab of one node
can run all those whose two machines it has. A failure is best shown as the case's name, the step's
``note``, the expectation as a sentence, and what ``evaluate`` says about the flow.
"""

from __future__ import annotations

from tests.conformance import (
    cases_blocks,
    cases_isolation,
    cases_peers,
    cases_ports,
    cases_selectors,
    cases_traffic,
    cases_updates,
)
from tests.conformance.case import Case

ALL: tuple[Case, ...] = tuple(
    case
    for module in (
        cases_isolation,
        cases_selectors,
        cases_blocks,
        cases_ports,
        cases_peers,
        cases_traffic,
        cases_updates,
    )
    for case in module.cases()
)
"""Every case, in a fixed order."""

CORE: tuple[Case, ...] = tuple(case for case in ALL if case.core)
"""Every clause, every form of selector, block and port, and every story; without some products."""
