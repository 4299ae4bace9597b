"""Nodes to measure, side by side: one network namespace ("lane") per ruleset.

Nothing here touches the machine's own network: `enter_private_namespaces` replaces the process by
one in new user, network, mount and PID namespaces.  When that process ends, however it ends, the
kernel takes all of them down with it, so there is nothing to clean up.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

NODE_MAC = "02:00:00:00:00:01"
"""Address of every node's devices; the load generator builds its frames for it."""

FOREIGN_MAC = "02:00:00:00:00:ff"
"""Nobody's address: what a node forwards is dropped at the far end before anything looks at it."""

NFT_RULES = 100
"""Rules that one restore in nft mode may have whatever the privileges."""

GATEWAY = "169.254.0.2"
_PRIVATE = "PODWALL_BENCH_PRIVATE"

_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
}


class BenchError(Exception):
    """The benchmark cannot run here, or its own check of a ruleset failed."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A ruleset as text: `ipset` for `ipset restore`, `iptables` for `iptables-restore`."""

    ipset: str
    iptables: str


@dataclass(frozen=True, slots=True)
class Lane:
    """A node in its own namespace with one veth for what comes in and one for what goes out."""

    index: int
    mode: str

    @property
    def netns(self) -> str:
        """Name of the node's namespace."""
        return f"lane{self.index}"

    @property
    def spec(self) -> str:
        """The lane as the load generator wants it: sending end, receiving end, namespace."""
        return f"gen{self.index},sink{self.index},/run/netns/{self.netns}"


def enter_private_namespaces() -> None:
    """Re-run this program in namespaces of its own; returns only inside them.

    PID namespace and `--kill-child`: a SIGKILL to this process takes every descendant along.
    """
    if os.environ.get(_PRIVATE) == "1":
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        run("ip", "link", "set", "lo", "up")
        return
    if shutil.which("unshare") is None:
        raise BenchError("unshare (util-linux) is needed")
    options = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    privileged = subprocess.run(["unshare", *options, "true"], capture_output=True, check=False)
    if privileged.returncode != 0:
        options.insert(0, "--map-root-user")
    command = ["unshare", *options, sys.executable, *sys.argv]
    os.execvpe("unshare", command, {**os.environ, _PRIVATE: "1"})


def run(*command: str, text: str | None = None) -> str:
    """Run a command to its end and return its output; its error output becomes the exception."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def compile_loadgen(directory: Path) -> Path:
    """Compile the load generator; there is no binary in the repository."""
    compiler = next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), None)
    if compiler is None:
        raise BenchError(
            "no C compiler found: the load generator is compiled when the benchmark runs"
        )
    binary = directory / "loadgen"
    source = Path(__file__).with_name("loadgen.c")
    run(compiler, "-O2", "-o", str(binary), str(source))
    return binary


def create_lane(index: int, mode: str, pods: Iterable[str]) -> Lane:
    """Make a node that routes each pod's /32 and everything else out of its second veth."""
    lane = Lane(index, mode)
    run("ip", "netns", "add", lane.netns)
    settings = "; ".join(f"echo {value} > /proc/sys/{key}" for key, value in _SYSCTLS.items())
    run("ip", "netns", "exec", lane.netns, "sh", "-c", settings)
    for outer, inner in ((f"gen{index}", "in"), (f"sink{index}", "out")):
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", lane.netns)
        run("ip", "link", "set", outer, "arp", "off", "up")
        run("ip", "-n", lane.netns, "link", "set", inner, "address", NODE_MAC, "up")
    via = f"via {GATEWAY} dev out onlink"
    routes = [f"route add {pod}/32 {via}" for pod in pods]
    neighbour = f"neigh add {GATEWAY} lladdr {FOREIGN_MAC} dev out nud permanent"
    batch = "\n".join(
        ["addr add 169.254.0.1/32 dev out", neighbour, f"route add default {via}", *routes]
    )
    run("ip", "-n", lane.netns, "-batch", "-", text=batch + "\n")
    return lane


def load_layout(lane: Lane, layout: Layout) -> None:
    """Put a ruleset into a lane's kernel tables, replacing what was there."""
    inside = ("ip", "netns", "exec", lane.netns)
    if layout.ipset:
        run(*inside, "ipset", "restore", text=layout.ipset)
    pieces = _pieces(layout.iptables) if lane.mode == "nft" else [layout.iptables]
    for piece in pieces:
        run(*inside, f"iptables-{lane.mode}-restore", "--noflush", text=piece)


def _pieces(text: str) -> Iterator[str]:
    """A restore cut in parts: chains first, then rules.

    iptables-nft sends a restore as one netlink message.  Without privileges over the whole machine
    that message may not be larger than net.core.wmem_default, which a few hundred rules are.
    """
    lines = text.splitlines()
    rules = [line for line in lines if line.startswith("-")]
    yield "\n".join(["*filter", *(line for line in lines if line.startswith(":")), "COMMIT", ""])
    for start in range(0, len(rules), NFT_RULES):
        yield "\n".join(["*filter", *rules[start : start + NFT_RULES], "COMMIT", ""])


@dataclass(frozen=True, slots=True)
class Batch:
    """One measurement: `nanoseconds` for each of `sent` frames; `forwarded` of them came out.

    `mean` is over all frames; `nanoseconds` leaves out bursts that were preempted.
    """

    round: int
    lane: int
    nanoseconds: float
    sent: int
    forwarded: int
    mean: float = 0.0


class Loadgen:
    """Runs the load generator over lanes."""

    def __init__(self, binary: Path, cpu: int) -> None:
        self._binary = binary
        self._cpu = cpu

    def __call__(
        self,
        mode: str,
        protocol: str,
        flows: bytes,
        lanes: Sequence[Lane],
        *,
        rounds: int = 1,
        packets: int = 0,
    ) -> list[Batch]:
        """Batches in the order they were run; the arguments are those of loadgen.c."""
        with tempfile.NamedTemporaryFile(dir="/run") as file:
            file.write(flows)
            file.flush()
            output = run(
                str(self._binary),
                mode,
                protocol,
                file.name,
                str(rounds),
                str(packets),
                str(self._cpu),
                *(lane.spec for lane in lanes),
            )
        return [_batch(line) for line in output.splitlines()]


def _batch(line: str) -> Batch:
    turn, lane, nanoseconds, sent, forwarded, mean = line.split()
    return Batch(int(turn), int(lane), float(nanoseconds), int(sent), int(forwarded), float(mean))


def group_by_lane(batches: Iterable[Batch]) -> list[list[Batch]]:
    """Batches of each lane in order of rounds, so that equal places belong together."""
    groups: dict[int, list[Batch]] = {}
    for batch in sorted(batches, key=lambda each: (each.lane, each.round)):
        groups.setdefault(batch.lane, []).append(batch)
    return list(groups.values())
