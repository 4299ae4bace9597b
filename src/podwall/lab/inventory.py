"""What stands in a lab, for people and as plain values; what its leader knows is asked for."""

from __future__ import annotations

import shlex
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from podwall.lab import leading, state
from podwall.lab.cluster.config import Config
from podwall.lab.messages import Status
from podwall.lab.state import DEFAULT_NAME
from podwall.model.decode import escaped


def stays_up(name: str) -> str:
    """That a lab stays, and what can be done with it."""
    option = "" if name == DEFAULT_NAME else f" --name {name}"
    return (
        f"It stays up: try 'podwall lab exec{option} POD -- COMMAND' or "
        f"'podwall lab probe{option}'; 'podwall lab down{option}' ends it."
    )


def welcome(config: Config, status: Status) -> Text:
    """What a lab with an API server is, and what to type next."""
    option = "" if config.name == DEFAULT_NAME else f" --name {config.name}"
    enforced = "an agent on each node" if config.agents else "without agents"
    asks = f"  podwall lab exec{option} node/{status.nodes[0]} -- podwall status"
    lines = (
        f"{summary(status)}, {enforced}. It stays up; talk to it from this machine:",
        f"  export KUBECONFIG={shlex.quote(str(state.kubeconfig_path(config.name)))}",
        "  kubectl get pods -A -o wide",
        "  kubectl run web --image=any --port=80 --labels=app=web",
        "  kubectl apply -f policy.yaml",
        "  kubectl label pod web role=frontend",
        f"  podwall lab probe{option} --to web",
        *([asks] if config.agents else []),
        f"'podwall lab down{option}' ends it.",
    )
    return Text("\n".join(lines))


def cluster_lines(name: str) -> str:
    """Where the API server of a lab is, and how its agents are."""
    lines = [f"kubeconfig: {state.kubeconfig_path(name)}"]
    for each in leading.overview(name).agents:
        health = "ready" if each.ready else f"not ready: {escaped(each.why_not)}"
        process = f", process {each.pid}" if each.pid else ""
        again = f", started again {_count(each.restarts, 'time')}" if each.restarts else ""
        lines.append(f"agent of {each.node}: {health}{process}{again}")
    return "\n".join(lines)


def _cluster_dict(name: str) -> dict[str, Any]:
    found = leading.overview(name)
    return {
        "kubeconfig": str(state.kubeconfig_path(name)),
        "server": found.url,
        "agents": [msgspec.to_builtins(each) for each in found.agents],
    }


def summary(status: Status) -> str:
    """A lab in one line."""
    families = " and ".join(f"IPv{family}" for family in status.families)
    pods = sum(
        not each.party.name.startswith("node/") and each.node != "" for each in status.places
    )
    return (
        f"{_count(pods, 'pod')} on {_count(len(status.nodes), 'node')}, {status.cni.value}, "
        f"{families}, {_count(len(status.policies), 'policy', 'policies')}"
    )


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def places(status: Status) -> Table:
    """Who is in a lab, where, and with which addresses."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for header in ("name", "node", "addresses", "namespace"):
        table.add_column(header, overflow="fold")
    for each in status.places:
        addresses = " ".join(each.party.addresses)
        # As Text, for rich takes plain strings in tables for its markup: names may hold brackets.
        table.add_row(Text(each.party.name), Text(each.node), addresses, each.netns)
    return table


def status_dict(name: str, status: Status) -> dict[str, Any]:
    """A lab as plain values, as ``-o json`` prints it."""
    return {
        "name": name,
        "built": status.built,
        "cni": status.cni.value,
        "families": [f"ipv{family}" for family in status.families],
        "nodes": list(status.nodes),
        "policies": list(status.policies),
        "endpoints": [
            {
                "name": each.party.name,
                "kind": each.party.kind.value,
                "node": each.node,
                "addresses": list(each.party.addresses),
                "netns": each.netns,
            }
            for each in status.places
        ],
        **(_cluster_dict(name) if status.led else {}),
    }
