"""The words of iptables that rendering and parsing share."""

from __future__ import annotations

from podwall.model.net import Family, Protocol
from podwall.ruleset.ir import LogKind

PROTOCOL_WORDS = {
    Protocol.ICMP: "icmp",
    Protocol.TCP: "tcp",
    Protocol.UDP: "udp",
    Protocol.ICMPV6: "ipv6-icmp",
    Protocol.SCTP: "sctp",
}
"""How iptables-save prints protocols, whatever /etc/protocols says."""

MID_STREAM = ("!", "--tcp-flags", "FIN,SYN,RST,ACK", "SYN")
"""How iptables-save prints ``! --syn``."""

PORT_UNREACHABLE = {
    Family.V4: "icmp-port-unreachable",
    Family.V6: "icmp6-port-unreachable",
}
TCP_RESET = "tcp-reset"

STATES = ("INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT")
"""Connection tracking states in the order in which iptables-save prints them."""


SINGLE_PORT_PROTOCOLS = (Protocol.TCP, Protocol.UDP)
"""Protocols of which a single port or range is matched by the protocol's own match.

It is cheaper than multiport, in nf_tables mode above all. SCTP's is a kernel module that some
distributions leave out, so SCTP always takes multiport, which knows it as well.
"""


def _self_program(source: int, destination: int, words: int) -> str:
    """A classic BPF program that accepts a packet whose source is its destination.

    Both addresses are ``words`` 32-bit words, at these offsets from the IP header: load a word of
    the source, keep it in X, load the same word of the destination, compare, next word.
    """
    length = 4 * words + 2
    lines = []
    for word in range(words):
        refuse = length - 1 - (4 * word + 4)
        lines += [
            f"32 0 0 {destination + 4 * word}",
            "7 0 0 0",
            f"32 0 0 {source + 4 * word}",
            f"29 0 {refuse} 0",
        ]
    lines += ["6 0 0 65535", "6 0 0 0"]
    return ",".join([str(length), *lines])


SELF_PROGRAM = {
    Family.V4: _self_program(12, 16, 1),
    Family.V6: _self_program(8, 24, 4),
}
"""Bytecode of "source equals destination"; not every kernel has ``hash:net,net`` sets to ask."""

LIMIT_SCALE = 10_000
"""The kernel keeps the time between two packets as a whole number of these parts of a second."""

LIMIT_DEFAULT_BURST = 5
"""The burst of a limit that iptables does not print."""

LOG_PREFIX = {kind: f"podwall {kind.value}" for kind in LogKind}
"""What a logged packet carries, to tell why it was logged."""

LOG_BYTES = 128
"""So much of a packet is logged: both headers, with room for options."""

LOG_AT_ONCE = 16
"""So many packets the kernel collects before it wakes who listens, who may ask for fewer."""

HOOK_COMMENT = "podwall"
"""The comment of the jumps from built-in chains to ours."""
