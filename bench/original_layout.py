"""The ruleset that podwall started from, kept as a yardstick.  It is not safe to use.

`FORWARD` leads to an ingress and an egress chain, each a linear list with a rule per pod; one chain
per pod serves both directions; a chain per policy holds the rules of both directions and ends a
packet's way with ACCEPT.  So a packet between two pods of the node is judged once: half of the
work, and the hole that podwall closes.
"""

from __future__ import annotations

from collections.abc import Iterator

from lanes import Layout
from scenario import Ports, Rule, Scenario


def original_layout(scenario: Scenario) -> Layout:
    """The original ruleset for a scenario."""
    rules = [
        "-A FORWARD -j INGRESS",
        "-A OUTPUT -j INGRESS",
        "-A FORWARD -j EGRESS",
        "-A INPUT -j EGRESS",
        *_policy_chains(scenario),
        *_pod_chains(scenario),
    ]
    chains = [
        "INGRESS",
        "EGRESS",
        *(f"POLICY-{number}" for number in range(len(scenario.profiles))),
        *(f"POD-{index}" for index in range(len(scenario.local))),
    ]
    lines = ["*filter", *(f":{chain} -" for chain in chains), *rules, "COMMIT"]
    return Layout(ipset="".join(_sets(scenario)), iptables="\n".join(lines) + "\n")


def _pod_chains(scenario: Scenario) -> Iterator[str]:
    for index, pod in enumerate(scenario.local):
        chain = f"POD-{index}"
        yield f"-A INGRESS -d {pod.address} -j {chain}"
        yield f"-A EGRESS -s {pod.address} -j {chain}"
        yield f"-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
        yield f"-A {chain} -j POLICY-{pod.profile}"
        yield f"-A {chain} -j DROP"


def _policy_chains(scenario: Scenario) -> Iterator[str]:
    protocol = scenario.protocol.lower()
    for number, profile in enumerate(scenario.profiles):
        for direction, index, rule in _rules(profile.ingress, profile.egress):
            peer, own = f"{direction}{number}-{index}", f"target-{number}"
            source, destination = (peer, own) if direction == "in" else (own, peer)
            yield (
                f"-A POLICY-{number} -p {protocol} -m set --match-set {source} src "
                f"-m set --match-set {destination} dst "
                f"-m multiport --dports {_port_words(rule.ports)} -j ACCEPT"
            )


def _sets(scenario: Scenario) -> Iterator[str]:
    for number, profile in enumerate(scenario.profiles):
        yield _set(f"target-{number}", scenario.members(number))
        for direction, index, rule in _rules(profile.ingress, profile.egress):
            yield _set(f"{direction}{number}-{index}", scenario.addresses(rule.buckets))


def _rules(ingress: tuple[Rule, ...], egress: tuple[Rule, ...]) -> Iterator[tuple[str, int, Rule]]:
    for direction, rules in (("in", ingress), ("out", egress)):
        for index, rule in enumerate(rules):
            yield direction, index, rule


def _port_words(ports: Ports) -> str:
    return ",".join(str(low) if low == high else f"{low}:{high}" for low, high in ports)


def _set(name: str, members: tuple[str, ...]) -> str:
    return f"create {name} hash:ip\n" + "".join(f"add {name} {each}\n" for each in members)
