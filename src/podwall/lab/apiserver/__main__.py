"""Run the server by itself: ``python -m podwall.lab.apiserver [--port N] [--kubeconfig FILE]``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from pathlib import Path

from podwall.lab.apiserver.server import Server, ServerOptions


async def _serve(port: int, kubeconfig: Path | None) -> None:
    async with Server(options=ServerOptions(port=port)) as server:
        if kubeconfig is not None:
            kubeconfig.write_text(json.dumps(server.kubeconfig(), indent=2), encoding="utf-8")
        print(server.url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve until interrupted; prints the address first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--kubeconfig", type=Path)
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(arguments.port, arguments.kubeconfig))


if __name__ == "__main__":
    main()
