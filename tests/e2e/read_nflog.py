"""Read an NFLOG group as podwall does, for a test to talk to.

read_nflog.py GROUP

``hello`` is answered by ``ready``; ``read`` by one line of JSON, with all packets until nothing
comes any more for a moment; ``lost`` by how many were lost; ``again`` by what a second reader of
the group is told.
"""

from __future__ import annotations

import json
import select
import sys

import msgspec

from podwall.dataplane.nflog import LoggedPacket, NflogReader
from podwall.errors import KernelError

MOMENT = 0.5


def read(reader: NflogReader) -> list[LoggedPacket]:
    found: list[LoggedPacket] = []
    while select.select([reader], [], [], MOMENT)[0]:
        found += reader.read()
    return found


def again(group: int) -> str:
    try:
        with NflogReader(group):
            return "open"
    except KernelError as error:
        return str(error)


def main() -> None:
    group = int(sys.argv[1])
    with NflogReader(group) as reader:
        for line in sys.stdin:
            match line.strip():
                case "read":
                    found = read(reader)
                    print(msgspec.json.encode(found).decode(), flush=True)
                case "lost":
                    print(reader.lost, flush=True)
                case "again":
                    print(json.dumps(again(group)), flush=True)
                case _:
                    print("ready", flush=True)


if __name__ == "__main__":
    main()
