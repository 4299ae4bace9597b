"""One measured cell of the data path's table, and what it is held to."""

from __future__ import annotations

from dataclasses import dataclass

NODES = ((1, 1), (50, 20), (250, 100))
"""Local pods and policies of the nodes that are measured; each policy has ten rules each way."""

FROM_NODE = "other node to pod"
POD_TO_POD = "pod to pod"
"""Two pods of the node: a connection is judged twice, as egress of one and ingress of the other."""

NEW_TARGET = 1.7
"""The most that a packet that opens a connection may cost on the largest node, as a ratio to the
conntrack-only node."""

ESTABLISHED_TARGET = 1.08
"""The most that an established connection's packet may cost there, however often it was judged."""

CONNTRACK = "conntrack only"
ORIGINAL = "original layout"
PODWALL = "podwall"


@dataclass(frozen=True, slots=True)
class Result:
    """One cell of the table; ratios are to the conntrack-only node of the same batch."""

    mode: str
    pods: int
    policies: int
    path: str
    packet: str
    layout: str
    nanoseconds: float
    ratio: float
    ratio_min: float
    ratio_max: float

    @property
    def target(self) -> float | None:
        """The most that the ratio may be, where a target is set."""
        if self.layout != PODWALL or self.pods != NODES[-1][0]:
            return None
        if self.packet == "established":
            return ESTABLISHED_TARGET
        return NEW_TARGET

    @property
    def measurement(self) -> tuple[str, int, str, str]:
        """What the layouts that were compared with each other have in common."""
        return self.mode, self.pods, self.path, self.packet

    @property
    def missed(self) -> bool:
        """Whether there is a target and it is not met."""
        return self.target is not None and self.ratio > self.target
