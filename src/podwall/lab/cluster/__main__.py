"""The process that leads a lab; :mod:`podwall.lab.leading` starts it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import socket
import sys

import msgspec

from podwall.lab.cluster.config import Config
from podwall.lab.cluster.leader import Leader
from podwall.lab.messages import Failure


def main() -> int:
    """Lead until the end of the lab."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("holder", "caller", "home"):
        parser.add_argument(f"--{name}", type=int, required=True, help="a file descriptor")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s: %(message)s")
    caller = socket.socket(fileno=arguments.caller)
    with caller.makefile("rb") as lines:
        config = msgspec.json.decode(lines.readline(), type=Config)
    leader = Leader(config, socket.socket(fileno=arguments.holder), arguments.home)
    try:
        asyncio.run(leader.lead(caller))
    except BaseException as error:
        logging.getLogger(__name__).exception("the lab's leader ends")
        reason = _reason(error)
        with contextlib.suppress(OSError):
            caller.sendall(msgspec.json.encode(Failure("LabError", reason)) + b"\n")
        return 1
    return 0


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
