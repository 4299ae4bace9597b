"""A small cluster with something of everything that reaches the kernel."""

from __future__ import annotations

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.model.policy import PolicyKey
from tests.builders import allow, block, labels, namespace, node, pod, pods, policy, port

GOOD, BAD = PolicyKey("dev", "good"), PolicyKey("dev", "bad")


def cluster(*more_pods: str, dual_stack: bool = True) -> Snapshot:
    """Two policies on two pods of one node, and a client elsewhere."""
    second = ["fd00::2"] if dual_stack else []
    return build_snapshot(
        pods=[
            pod("dev/web", "10.0.0.2", *second, node="a", app="web"),
            pod("dev/db", "10.0.0.3", node="a", app="db"),
            pod("dev/client", "10.0.1.9", node="b", app="client"),
            *(
                pod(f"dev/client-{address}", address, node="b", app="client")
                for address in more_pods
            ),
        ],
        namespaces=[namespace("dev")],
        policies=[
            policy(
                "dev/good",
                labels({"app": "web"}),
                ingress=[
                    allow(pods(labels({"app": "client"}), namespaces="dev"), ports=[port(80)])
                ],
            ),
            policy(
                "dev/bad",
                labels({"app": "db"}),
                ingress=[allow(block("192.0.2.0/24", "192.0.2.7/32"), ports=[port(5432)])],
            ),
        ],
        nodes=[node("a", "172.16.0.1", pod_cidrs=["10.0.0.0/24"]), node("b", "172.16.0.2")],
    )
