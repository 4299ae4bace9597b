"""The switches: choices that the specification leaves open (docs/semantics.md lists them)."""

from __future__ import annotations

import enum

import msgspec


class DenyAction(enum.Enum):
    """What happens to a denied packet."""

    DROP = "drop"
    REJECT = "reject"


class Settings(msgspec.Struct, frozen=True):
    """How podwall reads what the specification leaves open; the defaults are the closed ones.

    Attributes:
        deny: drop denied packets silently, or answer with a reset or an ICMP error.
        judge_node_egress: a pod's traffic to its own node is judged by its egress policies (S43).
        close_unknown_pods: an address of this node's pod range that belongs to no known pod is
            closed (S48).
        cut_connections: connections that a change no longer allows are cut (S46).
        log_denied: what is denied is told to whoever listens to ``log_group``, a packet of each
            flow every few seconds. Audited policies tell there whatever this says.
        log_group: the NFLOG group, 0 to 65535.
    """

    deny: DenyAction = DenyAction.DROP
    judge_node_egress: bool = True
    close_unknown_pods: bool = True
    cut_connections: bool = True
    log_denied: bool = False
    log_group: int = 9357
