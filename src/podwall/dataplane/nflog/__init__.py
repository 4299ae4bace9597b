"""Denied packets from the kernel: the NFLOG rules hand them over, here they are read.

:mod:`podwall.dataplane.nflog.reader` holds the socket, :mod:`podwall.dataplane.nflog.parse` knows
the bytes and is pure.
"""

from podwall.dataplane.nflog.parse import LoggedPacket, parse_packets
from podwall.dataplane.nflog.reader import NflogReader

__all__ = ["LoggedPacket", "NflogReader", "parse_packets"]
