"""Whatever somebody does to our rules and sets by hand: diff names it, apply repairs it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from podwall.dataplane.iptables.mode import Mode
from podwall.model.net import Family
from tests.e2e.kernel import Conversation, PrivateKernel, conversation, private_kernel

pytestmark = pytest.mark.kernel

MANIFESTS = """
apiVersion: v1
kind: Node
metadata: {name: here}
spec: {podCIDRs: [10.1.0.0/24, "fd00:1::/64"]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default, labels: {app: web}}
spec: {nodeName: here}
status: {phase: Running, podIPs: [{ip: 10.1.0.2}, {ip: "fd00:1::2"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: default, labels: {app: db}}
spec:
  nodeName: there
  containers: [{name: db, ports: [{name: sql, containerPort: 5432}]}]
status: {phase: Running, podIPs: [{ip: 10.2.0.3}, {ip: "fd00:2::3"}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: default}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: db}}}]
  - from:
    - ipBlock: {cidr: 172.16.0.0/16, except: [172.16.1.0/24]}
    - ipBlock: {cidr: "fd00:9::/32", except: ["fd00:9:1::/48"]}
  egress:
  - to: [{podSelector: {matchLabels: {app: db}}}]
    ports: [{port: sql}]
"""

COMMANDS = """
import contextlib, io, json, sys
from podwall.cli.main import main
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(json.loads(line))
    print(json.dumps([int(status), out.getvalue(), err.getvalue()]), flush=True)
"""
"""Podwall's commands, one after the other in one process: most of their time is Python's start."""


class Change(NamedTuple):
    """What is done by hand, and what of it shows in the diff.

    ``{IT}`` is ``iptables`` or ``ip6tables`` of the mode, ``{P}`` ``PW4`` or ``PW6``; ``{peers}``,
    ``{blocks}`` and ``{named}`` are our sets, ``{profile}`` is the chain of the pod's ingress,
    ``{db}``, ``{hole}`` and ``{stranger}`` are addresses.
    """

    commands: str
    shown: tuple[str, ...]


CHANGES = {
    "a chain is flushed": Change("{IT} -F PW-deny", ("-A PW-deny -j DROP",)),
    "the pod's profile is flushed": Change(
        "{IT} -F {profile}", ("-A {profile} -g PW-deny", "--match-set {peers} src")
    ),
    "a rule is deleted": Change("{IT} -D PW-FORWARD 1", ("-A PW-FORWARD -m conntrack",)),
    "a rule is replaced": Change("{IT} -R PW-ingress 1 -j RETURN", ("-g PW-in-",)),
    "an ACCEPT is put first": Change(
        "{IT} -I PW-FORWARD 1 -j ACCEPT", ("-A PW-FORWARD -j PW-egress",)
    ),
    "an ACCEPT is put into the profile": Change(
        "{IT} -I {profile} 1 -s {stranger} -j ACCEPT", ("-A {profile} -g PW-deny",)
    ),
    "a rule gets a match more": Change(
        "{IT} -R PW-deny 1 -m mark --mark 7 -j DROP", ("-A PW-deny -j DROP",)
    ),
    "a chain of our name appears": Change(
        "{IT} -N PW-mine; {IT} -A PW-mine -j ACCEPT", ("-X PW-mine",)
    ),
    "a set is flushed": Change("ipset flush {peers}", ("add {peers} {db}",)),
    "a member is added": Change("ipset add {peers} {stranger}", ("del {peers} {stranger}",)),
    "a member is removed": Change("ipset del {peers} {db}", ("add {peers} {db}",)),
    "a hole is filled": Change(
        "ipset del {blocks} {hole}; ipset add {blocks} {hole}", ("add {blocks} {hole} nomatch",)
    ),
    "a hole is added": Change("ipset add {blocks} {db} nomatch", ("del {blocks} {db}",)),
    "a named port is changed": Change(
        "ipset add {named} {db},tcp:22; ipset del {named} {db},tcp:5432",
        ("add {named} {db},tcp:5432", "del {named} {db},tcp:22"),
    ),
    "a member appears that podwall never writes": Change(
        "ipset add {named} {db},{icmp}:8/0", ("del {named} {db},{icmp}",)
    ),
    "a set of our name and no type of ours appears": Change(
        "ipset create {P}-p-odd bitmap:port range 1-9", ("destroy {P}-p-odd",)
    ),
    "a set is swapped with another": Change(
        "ipset create other hash:ip family {family}; ipset add other {stranger};"
        " ipset swap {peers} other; ipset destroy other",
        ("add {peers} {db}", "del {peers} {stranger}"),
    ),
    "a set is destroyed": Change(
        "{IT} -F {profile}; ipset destroy {peers}",
        ("create {peers} hash:ip", "add {peers} {db}", "-A {profile} -g PW-deny"),
    ),
    "a set of our name appears": Change(
        "ipset create {P}-p-mine-x hash:ip family {family}", ("destroy {P}-p-mine-x",)
    ),
    "our jump goes to the second place": Change(
        "{IT} -I FORWARD 1 -j ACCEPT", ("-I FORWARD 1", "-D FORWARD")
    ),
    "our jump is there twice": Change("{IT} -A FORWARD -j PW-FORWARD", ("-D FORWARD",)),
    "our jump is deleted": Change("{IT} -D INPUT 1", ("-I INPUT 1",)),
    "our jump is narrowed": Change(
        "{IT} -R FORWARD 1 -s {stranger} -j PW-FORWARD",
        ("-I FORWARD 1", "-D FORWARD -s {stranger}"),
    ),
    "all rules are flushed": Change(
        "{IT} -F", ("-I INPUT 1", "-I FORWARD 1", "-I OUTPUT 1", "-A {profile}")
    ),
    "all rules, chains and sets are removed": Change(
        "{IT} -F; {IT} -X; ipset destroy {peers}; ipset destroy {blocks}; ipset destroy {named}",
        ("create {peers}", "create {blocks}", "create {named}", "-I FORWARD 1"),
    ),
}


class Host:
    """A host on which podwall enforces, and somebody with root's shell."""

    def __init__(
        self, kernel: PrivateKernel, mode: Mode, podwall: Conversation, manifests: Path
    ) -> None:
        self.kernel = kernel
        self.mode = mode
        self._podwall = podwall
        self._words = [str(manifests), "--node-name", "here", "--mode", mode.value]

    def run(self, command: str) -> tuple[int, str]:
        """A command of podwall's: its status and what it printed; it never complains."""
        status, out, err = json.loads(self._podwall.ask(json.dumps([command, *self._words])))
        assert err == ""
        return status, out

    def state(self) -> list[str]:
        """Everything on the host, sorted, without what is random or grows."""
        texts = [self.kernel.output("ipset", "save")]
        for stem in ("iptables", "ip6tables"):
            texts.append(self.kernel.output(f"{stem}-{self.mode.value}-save", "-t", "filter"))
        lines = [line.partition(" hashsize")[0] for line in "".join(texts).splitlines()]
        return sorted(line for line in lines if not line.startswith("#"))

    def words(self, family: Family) -> dict[str, str]:
        """What the placeholders of a :class:`Change` mean here."""
        prefix = f"PW{family.value}"
        lines = self.state()
        names = [line.split()[1] for line in lines if line.startswith(f"create {prefix}-")]
        return {
            "IT": f"{'iptables' if family is Family.V4 else 'ip6tables'}-{self.mode.value}",
            "P": prefix,
            "family": family.ipset_name,
            "peers": next(name for name in names if name.startswith(f"{prefix}-p-")),
            "blocks": next(name for name in names if name.startswith(f"{prefix}-b-")),
            "named": next(name for name in names if name.startswith(f"{prefix}-n-")),
            "profile": next(line[1:].split()[0] for line in lines if line.startswith(":PW-i-")),
            "icmp": {Family.V4: "icmp", Family.V6: "ipv6-icmp"}[family],
            "db": {Family.V4: "10.2.0.3", Family.V6: "fd00:2::3"}[family],
            "hole": {Family.V4: "172.16.1.0/24", Family.V6: "fd00:9:1::/48"}[family],
            "stranger": {Family.V4: "192.0.2.9", Family.V6: "2001:db8::9"}[family],
        }


@pytest.fixture(scope="module", params=Mode, ids=lambda mode: mode.value)
def host(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    manifests = tmp_path_factory.mktemp("manifests") / "cluster.yaml"
    manifests.write_text(MANIFESTS)
    with (
        private_kernel() as kernel,
        conversation(kernel, [sys.executable, "-c", COMMANDS]) as podwall,
    ):
        yield Host(kernel, request.param, podwall, manifests)


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("name", CHANGES)
def test_what_is_changed_by_hand_is_named_and_repaired(
    host: Host, name: str, family: Family
) -> None:
    host.run("apply")
    before = host.state()
    assert host.run("diff") == (0, "no difference: the kernel holds what it shall hold\n")
    words = host.words(family)
    change = CHANGES[name]
    host.kernel.output("sh", "-ec", change.commands.format(**words))
    status, shown = host.run("diff")
    assert status == 1
    for text in change.shown:
        assert text.format(**words) in shown
    assert host.run("apply")[0] == 0
    assert host.run("diff")[0] == 0
    if "-I FORWARD 1 -j ACCEPT" in change.commands:
        host.kernel.output(words["IT"], "-D", "FORWARD", "-j", "ACCEPT")
    assert host.state() == before
