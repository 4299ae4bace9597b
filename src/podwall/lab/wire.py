"""Snapshots as text, for the way to a lab and back; see :mod:`podwall.cluster.wire`."""

from __future__ import annotations

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.cluster.wire import decode_parts, encode_parts, parts_of, snapshot_of
from podwall.errors import LabError


def encode_snapshot(snapshot: Snapshot) -> str:
    """A text from which :func:`decode_snapshot` makes an equal snapshot."""
    return encode_parts(parts_of(snapshot)).decode()


def decode_snapshot(text: str) -> Snapshot:
    """The snapshot that a text stands for.

    Raises:
        LabError: it stands for something else.
    """
    try:
        return snapshot_of((decode_parts(text),))
    except msgspec.MsgspecError as error:
        raise LabError(f"the lab was sent something that is no snapshot: {error}") from error
