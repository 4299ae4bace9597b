"""podwall's own ruleset for a scenario, from manifests to text by podwall's own code.

This is the only module of the data path benchmark that knows podwall: what is measured is what an
agent would send to an empty kernel.
"""

from __future__ import annotations

import io
import json

from lanes import BenchError, Layout
from scenario import NODE, Scenario, manifests

from podwall.cluster.snapshot import build_snapshot
from podwall.dataplane.ipset.render import render_set_step
from podwall.dataplane.iptables.render import render_chain_step
from podwall.manifest.loader import load
from podwall.model.net import Family
from podwall.ruleset.compile import compile_node
from podwall.ruleset.diff import diff
from podwall.ruleset.plan import ChainStep, Observed, SetStep


def podwall_layout(scenario: Scenario) -> Layout:
    """What podwall writes into an empty kernel for the scenario's node, the IPv4 half of it."""
    text = json.dumps(manifests(scenario)).encode()
    loaded = load(["-"], stdin=io.BytesIO(text))
    if loaded.diagnostics:
        raise BenchError(f"the scenario is not clean: {loaded.diagnostics[0]}")
    snapshot = build_snapshot(loaded.pods, loaded.namespaces, loaded.policies, loaded.nodes)
    plan = diff(Observed(), compile_node(snapshot, NODE))
    sets = [render_set_step(step) for step in plan.steps if isinstance(step, SetStep)]
    chains = [
        render_chain_step(step)
        for step in plan.steps
        if isinstance(step, ChainStep) and step.family is Family.V4
    ]
    return Layout(ipset="".join(sets), iptables="".join(chains))
