"""The metrics of an agent, for Prometheus, in a registry of its own.

What happens is counted when it happens (:class:`Metrics`); what is the case is asked for when
somebody collects (:class:`StatusCollector`). Labels take a handful of values each: causes, kinds,
families, never names that users choose; only denied flows are counted by namespace, of which there
is a bounded number. docs/agent.md lists every metric.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from podwall.agent.status import AgentStatus, Applied, Cause
from podwall.model.policy import Direction
from podwall.ruleset.ir import LogKind

LATENCY_BUCKETS = (
    *(0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Seconds; close together where the promises of the documentation lie."""

MOST_NAMESPACES = 100
"""Denied flows are counted for so many namespaces, the first that there are."""

OTHER_NAMESPACES = "(other)"
"""The rest together; no namespace has such a name."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """What happened since the agent started. Methods may be called from any thread."""

    def __init__(self, version: str) -> None:
        # When a counter began is in process_start_time_seconds.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        build: Gauge = self._make(Gauge, "podwall_build_info", "Always 1.", ("version",))
        build.labels(version).set(1)
        self._latency: Histogram = self._make(
            Histogram,
            "podwall_event_to_kernel_seconds",
            "From the arrival of an event's bytes to the end of the apply that enforced it.",
            buckets=LATENCY_BUCKETS,
        )
        self._applies: Counter = self._make(
            Counter, "podwall_applies", "Writes to the kernel, by cause.", ("cause",)
        )
        self._apply_seconds: Histogram = self._make(
            Histogram,
            "podwall_apply_seconds",
            "How long a write to the kernel took.",
            buckets=LATENCY_BUCKETS,
        )
        self._changes: Counter = self._make(
            Counter,
            "podwall_changes",
            "Rules and members of sets written, by what was done.",
            ("what", "change"),
        )
        self._failures: Counter = self._make(
            Counter, "podwall_apply_failures", "Writes or looks that the kernel or a tool failed."
        )
        self._drift: Counter = self._make(
            Counter,
            "podwall_drift_repairs",
            "Times that something of ours had been changed by somebody else and was repaired.",
        )
        self._cut: Counter = self._make(
            Counter,
            "podwall_connections_cut",
            "Connections ended because a change forbids them.",
        )
        self._cut_failures: Counter = self._make(
            Counter, "podwall_cut_failures", "Times that connections could not be judged or cut."
        )
        self._events: Counter = self._make(
            Counter, "podwall_events", "Events taken in from the API server."
        )
        self._policy_events: Counter = self._make(
            Counter,
            "podwall_policy_events_written",
            "Kubernetes Events written on policies, by outcome.",
            ("outcome",),
        )
        self._flows: dict[LogKind, Counter] = {
            LogKind.DENY: self._make(
                *(Counter, "podwall_denied_flows", "Flows that were denied and logged."),
                ("direction", "namespace"),
            ),
            LogKind.AUDIT: self._make(
                *(Counter, "podwall_audited_flows", "Flows that audited policies would deny."),
                ("direction", "namespace"),
            ),
        }
        self._namespaces: set[str] = set()
        for outcome in ("written", "failed"):
            self._policy_events.labels(outcome)
        for cause in Cause:
            self._applies.labels(cause.value)
        for what in ("rule", "member"):
            for change in ("added", "removed"):
                self._changes.labels(what, change)

    def _make(
        self, kind: Any, name: str, text: str, labels: Iterable[str] = (), **more: Any
    ) -> Any:
        return kind(name, text, tuple(labels), registry=self.registry, **more)

    def applied(self, applied: Applied) -> None:
        """Count an apply."""
        report = applied.report
        self._applies.labels(applied.cause.value).inc()
        self._apply_seconds.observe(report.seconds)
        self._changes.labels("rule", "added").inc(report.rules_added)
        self._changes.labels("rule", "removed").inc(report.rules_removed)
        self._changes.labels("member", "added").inc(report.members_added)
        self._changes.labels("member", "removed").inc(report.members_removed)
        for seconds in applied.latencies:
            self._latency.observe(seconds)

    def failed(self) -> None:
        """Count a failure of the kernel or its tools."""
        self._failures.inc()

    def drifted(self) -> None:
        """Count a repair of what somebody else changed."""
        self._drift.inc()

    def cut(self, connections: int) -> None:
        """Count connections that were ended."""
        self._cut.inc(connections)

    def cut_failed(self) -> None:
        """Count a failure to judge or cut connections."""
        self._cut_failures.inc()

    def took(self) -> None:
        """Count an event."""
        self._events.inc()

    def denied(self, kind: LogKind, direction: Direction, namespace: str) -> None:
        """Count a flow by the namespace of the pod whose policies decided; one thread does."""
        if namespace not in self._namespaces:
            if len(self._namespaces) < MOST_NAMESPACES:
                self._namespaces.add(namespace)
            else:
                namespace = OTHER_NAMESPACES
        self._flows[kind].labels(direction.value, namespace).inc()

    def wrote_event(self, outcome: str) -> None:
        """Count an attempt to write a Kubernetes Event: ``written`` or ``failed``."""
        self._policy_events.labels(outcome).inc()

    def follow(self, status: Callable[[], AgentStatus]) -> None:
        """Tell from now on also what is the case."""
        self.registry.register(StatusCollector(status))

    def render(self) -> bytes:
        """All metrics in the text format."""
        return generate_latest(self.registry)


class StatusCollector(Collector):
    """What is the case, as the status says it at the moment of collecting."""

    def __init__(
        self, status: Callable[[], AgentStatus], clock: Callable[[], float] = time.time
    ) -> None:
        self._status = status
        self._clock = clock

    def describe(self) -> Iterable[Metric]:
        """Nothing: collecting at registration would need a status before there is one."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """See :meth:`prometheus_client.registry.Collector.collect`."""
        status, now = self._status(), self._clock()
        yield _gauge(
            "podwall_ready", "Whether traffic is judged by an up-to-date picture.", status.ready
        )
        yield from _kernel(status, now)
        yield from _enforced(status)
        yield from _watches(status)
        yield from _denied(status)
        yield _gauge(
            "podwall_events_waiting", "Events taken in and not enforced yet.", status.waiting
        )
        objects = GaugeMetricFamily(
            "podwall_objects", "Objects of the cluster that are known, by kind.", labels=["kind"]
        )
        for kind, count in sorted(status.objects.items()):
            objects.add_metric([kind], count)
        yield objects
        problems = GaugeMetricFamily(
            "podwall_objects_in_error",
            "Objects that are not enforced as they were written, by kind.",
            labels=["kind"],
        )
        counts = {each.kind: 0 for each in status.watches} | {"NetworkPolicy": 0}
        for each in status.problems:
            counts[each.kind] = counts.get(each.kind, 0) + 1
        for kind, count in sorted(counts.items()):
            problems.add_metric([kind], count)
        yield problems


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=float(value))


def _kernel(status: AgentStatus, now: float) -> Iterable[Metric]:
    kernel = status.kernel
    yield _gauge(
        "podwall_kernel_in_sync",
        "Whether the kernel holds what the last known cluster asks for.",
        kernel.in_sync,
    )
    if kernel.last_apply is not None:
        yield _gauge(
            "podwall_seconds_since_apply",
            "Seconds since the kernel was last written to.",
            max(0.0, now - kernel.last_apply.at),
        )
    if kernel.last_check:
        yield _gauge(
            "podwall_seconds_since_check",
            "Seconds since the kernel was last found, or made, to hold what it shall.",
            max(0.0, now - kernel.last_check),
        )


def _enforced(status: AgentStatus) -> Iterable[Metric]:
    enforced = status.enforced
    for name, text, value in (
        ("pods", "Pods on this node.", enforced.pods),
        ("isolated_pods", "Pods on this node that a policy isolates.", enforced.isolated_pods),
        ("policies", "Policies that select a pod on this node.", enforced.policies),
        (
            "audited_policies",
            "Audited policies that would isolate a pod on this node.",
            enforced.audited_policies,
        ),
        ("profiles", "Distinct sets of policies that pods here have.", enforced.profiles),
        ("chains", "Chains in the kernel, both families.", enforced.chains),
        ("rules", "Rules in the kernel, both families.", enforced.rules),
        ("sets", "Sets in the kernel, both families.", enforced.sets),
        ("set_members", "Members of sets in the kernel, both families.", enforced.members),
    ):
        yield _gauge(f"podwall_{name}", text, value)


def _denied(status: AgentStatus) -> Iterable[Metric]:
    denied = status.denied
    yield _gauge(
        "podwall_denied_log_failing",
        "Whether denied packets are logged and not read.",
        bool(denied.wanted and denied.error),
    )
    for name, text, value in (
        ("lost", "Logged packets that the kernel threw away, unread.", denied.lost),
        ("unnamed", "Logged packets that got no name.", denied.unnamed),
    ):
        yield CounterMetricFamily(f"podwall_denied_log_{name}", text, value=value)


def _watches(status: AgentStatus) -> Iterable[Metric]:
    up = GaugeMetricFamily("podwall_watch_up", "Whether news of this kind arrive.", labels=["kind"])
    restarts = CounterMetricFamily(
        "podwall_watch_restarts", "Connections of a watch after its first.", labels=["kind"]
    )
    relists = CounterMetricFamily(
        "podwall_watch_relists", "Full lists of a kind after the first.", labels=["kind"]
    )
    for each in status.watches:
        up.add_metric([each.kind], float(each.connected))
        restarts.add_metric([each.kind], each.restarts)
        relists.add_metric([each.kind], each.relists)
    return up, restarts, relists
