"""The Python API: load manifests, ask who can reach whom and why, get the matrix and the rules.

    from podwall.api import Cluster

    cluster = Cluster.load(["policies/"])
    assert cluster.allowed("shop/deployment/web", "shop/statefulset/db", "5432/tcp")
    print(cluster.explain("shop/deployment/web", "kube-system/coredns", "53/udp")[0].decision)

A :class:`Cluster` holds what the manifests said when they were loaded, and asking it changes
nothing. What was wrong with them is in ``Cluster.diagnostics``; an invalid policy isolates
its pods and allows nothing of what could not be understood.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO

import msgspec

from podwall.cluster.placement import FALLBACK_NODE, place
from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.dataplane.text import RulesetText, render_ruleset
from podwall.errors import InputError
from podwall.explain.ends import End, find_end, parse_service
from podwall.explain.explanation import Explanation, explain
from podwall.explain.matrix import ReachMatrix, compute_matrix, parties_of
from podwall.manifest import Diagnostic, Manifests, Severity, load
from podwall.manifest.diagnostic import sort_diagnostics
from podwall.manifest.foreign import read_objects
from podwall.model.decode import escaped
from podwall.model.net import Family
from podwall.model.settings import Settings
from podwall.promises.decode import KIND as EXPECTATIONS
from podwall.promises.decode import decode_expectations
from podwall.promises.judging import Judgement, judge_promises
from podwall.promises.model import Promise
from podwall.ruleset.compile import compile_node
from podwall.ruleset.ir import Ruleset
from podwall.ruleset.validate import validate
from podwall.whatif.changes import Change, apply_change
from podwall.whatif.compare import compare
from podwall.whatif.outcome import Outcome

__all__ = ["Change", "Cluster", "Outcome", "Promises", "Settings", "read_promises"]


class Promises(msgspec.Struct, frozen=True):
    """The promises of some files, in order, and what is wrong with the files."""

    promises: tuple[Promise, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()


def read_promises(paths: Sequence[str], stdin: BinaryIO | None = None) -> Promises:
    """Read expectations from files, directories and, for ``-``, from ``stdin``.

    Objects of other kinds are passed over; a path without any expectations is an error. All
    mistakes are in ``Promises.diagnostics``.
    """
    found: list[Promise] = []
    wrong: list[Diagnostic] = []
    for path in paths:
        read = list(read_objects([path], EXPECTATIONS, stdin=stdin))
        if not read:
            text = f"it holds no object of kind {EXPECTATIONS}"
            wrong.append(Diagnostic(Severity.ERROR, escaped(path), 0, text))
        for each in read:
            if isinstance(each, Diagnostic):
                wrong.append(each)
                continue
            decoded = decode_expectations(each.data, each.file, each.line)
            found += decoded.value
            wrong += map(each.diagnostic, decoded.problems)
    return Promises(tuple(found), sort_diagnostics(wrong))


class Cluster(msgspec.Struct, frozen=True):
    """A cluster as its manifests describe it.

    Attributes:
        snapshot: pods with nodes and addresses, namespaces, policies and nodes.
        settings: how the open questions of the specification are read.
        manifests: what was read, with all diagnostics.
    """

    snapshot: Snapshot
    settings: Settings = Settings()
    manifests: Manifests = Manifests()

    @classmethod
    def load(
        cls,
        paths: Sequence[str],
        *,
        stdin: BinaryIO | None = None,
        nodes: Sequence[str] | None = None,
        fallback_node: str = FALLBACK_NODE,
        families: Sequence[Family] = (Family.V4,),
        settings: Settings = Settings(),
        place_pods: bool = True,
    ) -> Cluster:
        """Read manifests from files, directories and, for ``-``, from ``stdin``.

        Pods without a node are spread over ``nodes``; without them over those that the manifests
        name, and where these name none, all are on ``fallback_node``. Pods without addresses get
        some of ``families`` unless ``place_pods`` is false.

        Raises:
            UnusableInput: none of ``paths`` could be read.
        """
        manifests = load(paths, stdin=stdin)
        pods, known = manifests.pods, manifests.nodes
        if place_pods:
            if nodes is None and not known and not any(pod.node for pod in pods):
                nodes = (fallback_node,)
            pods, known = place(pods, known, node_names=nodes, families=families)
        snapshot = build_snapshot(pods, manifests.namespaces, manifests.policies, known)
        return cls(snapshot, settings, manifests)

    @classmethod
    def of_lab(cls, name: str = "default") -> Cluster:
        """The cluster of a lab that is up, with the switches that its nodes are programmed by.

        Raises:
            LabError: none is up under that name.
        """
        # Who only reads manifests does not pay for the lab.
        from podwall.lab import client  # noqa: PLC0415

        lab = client.find(name)
        try:
            return cls(lab.snapshot(), lab.status().settings)
        finally:
            lab.close()

    @classmethod
    def of_agent(cls, state_dir: str = "/run/podwall") -> Cluster:
        """The cluster as the agent of this host knows it, with the agent's switches.

        Policies that the node's kernel refuses are as it enforces them: they isolate and allow
        nothing, and their problems say so.

        Raises:
            AgentError: no agent answers, or it has not seen the whole cluster yet.
        """
        from podwall.agent.control.client import ask_cluster  # noqa: PLC0415

        head, snapshot = ask_cluster(state_dir)
        return cls(snapshot or Snapshot(), head.settings)

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What is wrong with the manifests, by file and line."""
        return self.manifests.diagnostics

    def end(self, text: str) -> End:
        """The pod, workload, node or address that ``text`` means.

        Raises:
            InputError: nothing of that name is known.
        """
        return find_end(self.snapshot, text)

    def explain(self, source: str, target: str, service: str) -> tuple[Explanation, ...]:
        """Why ``source`` can or cannot reach ``service`` (``6379/tcp``, ``icmp``) of ``target``.

        One explanation for each address family that both ends have, IPv4 first.

        Raises:
            InputError: an end or the service is not understood, or they share no family.
        """
        known: dict[str, Ruleset] = {}

        def ruleset_of(node: str) -> Ruleset:
            if node not in known:
                known[node] = self.ruleset(node)
            return known[node]

        return explain(
            self.snapshot,
            self.end(source),
            self.end(target),
            parse_service(service),
            ruleset_of,
            self.settings,
        )

    def allowed(self, source: str, target: str, service: str) -> bool:
        """Whether ``source`` can reach ``service`` of ``target``, in every family they share.

        Raises:
            InputError: an end or the service is not understood, or they share no family.
        """
        return all(each.decision.allowed for each in self.explain(source, target, service))

    def judge(
        self,
        promises: Iterable[Promise],
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> tuple[Judgement, ...]:
        """Which promises the policies keep; see :func:`read_promises`."""
        return judge_promises(self.snapshot, promises, self.settings, progress)

    def matrix(
        self,
        *,
        by_workload: bool = False,
        others: Sequence[End] = (),
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> ReachMatrix:
        """Who can reach whom on which ports; ``others`` are ends besides pods and nodes."""
        parties = parties_of(self.snapshot, by_workload, others)
        return compute_matrix(self.snapshot, parties, self.settings, progress)

    def changed(self, change: Change) -> Cluster:
        """What the cluster would be after ``change``.

        Raises:
            InputError: the change names something that is not there, or is so already.
        """
        return msgspec.structs.replace(self, snapshot=apply_change(self.snapshot, change))

    def compare(
        self,
        after: Cluster,
        *,
        others: Sequence[End] = (),
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Outcome:
        """Which connections open and which close on the way to ``after``, and why.

        ``others`` are ends besides pods and nodes. This cluster's switches count for both.
        """
        return compare(self.snapshot, after.snapshot, self.settings, others, progress)

    def ruleset(self, node: str) -> Ruleset:
        """What the kernel of ``node`` shall hold."""
        ruleset = compile_node(self.snapshot, node, self.settings)
        validate(ruleset)
        return ruleset

    def render(self, node: str) -> RulesetText:
        """The text for ipset and iptables on ``node``.

        Raises:
            InputError: there is no such node.
        """
        if node not in self.snapshot.nodes:
            known = ", ".join(self.snapshot.nodes) or "none"
            raise InputError(f"there is no node {node!r}; known: {known}")
        return render_ruleset(self.ruleset(node))
