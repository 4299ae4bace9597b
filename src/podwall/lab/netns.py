"""Network namespaces: make them, enter them, run ``ip -batch`` in them.

All of it happens inside the lab's own world (:mod:`podwall.lab.isolation`), where ``/run`` is empty
and private. Namespaces are kept by name in ``/run/netns``, as ip(8) does, so that every tool finds
them there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from podwall.dataplane.command import Runner, check
from podwall.errors import CommandFailed, LabError
from podwall.lab import libc
from podwall.lab.wiring import Script

DIRECTORY = "/run/netns"

HOST_SYSCTLS: Mapping[str, str] = {
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    # No wait for duplicate addresses: there are none, and it takes a second or two.
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv6/conf/all/disable_ipv6": "0",
    "net/ipv6/conf/default/disable_ipv6": "0",
}
"""For every namespace, before it has devices: a new namespace may inherit the machine's values."""

ROUTER_SYSCTLS: Mapping[str, str] = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/default/forwarding": "1",
}
"""On top, for nodes and the router between them."""

BRIDGE_SYSCTLS: Mapping[str, str] = {
    "net/bridge/bridge-nf-call-iptables": "1",
    "net/bridge/bridge-nf-call-ip6tables": "1",
}
"""On top, for nodes with a bridge."""


def path(name: str) -> str:
    """The file that stands for a network namespace."""
    return f"{DIRECTORY}/{name}"


def prefix(name: str) -> tuple[str, ...]:
    """The words before a command that run it in a network namespace."""
    return ("nsenter", f"--net={path(name)}", "--")


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Be in a network namespace for a while; sockets made meanwhile stay there."""
    with _opened("/proc/thread-self/ns/net") as home:
        enter(name)
        try:
            yield
        finally:
            libc.setns(home, libc.CLONE_NEWNET)


def enter(name: str) -> None:
    """Go into a network namespace and stay.

    Raises:
        LabError: there is none of that name.
    """
    try:
        with _opened(path(name)) as descriptor:
            libc.setns(descriptor, libc.CLONE_NEWNET)
    except OSError as error:
        raise LabError(f"cannot enter the network namespace {name}: {error.strerror}") from error


def create(name: str, *sysctls: Mapping[str, str]) -> None:
    """Make a network namespace and set its switches."""
    with _opened("/proc/thread-self/ns/net") as home:
        os.close(os.open(path(name), os.O_CREAT | os.O_EXCL, 0o600))
        libc.unshare(libc.CLONE_NEWNET)
        try:
            libc.mount("/proc/thread-self/ns/net", path(name), "", libc.MS_BIND)
            for each in sysctls:
                _set_sysctls(each)
        finally:
            libc.setns(home, libc.CLONE_NEWNET)


def delete(name: str) -> None:
    """Remove a network namespace; the kernel frees it once the last process and socket left."""
    libc.umount(path(name))
    os.unlink(path(name))


def run_scripts(runner: Runner, scripts: Iterable[Script]) -> None:
    """Run ``ip -batch`` for each script, in order.

    Raises:
        LabError: ip refused a line; the message shows it.
    """
    for script in scripts:
        if not script.lines:
            continue
        argv = ["ip", "-n", script.netns, "-batch", "-"]
        completed = runner.run(argv, input="\n".join(script.lines) + "\n")
        try:
            check(argv, completed)
        except CommandFailed as error:
            raise LabError(f"{error}{_refused_line(script, error.stderr)}") from error


def _refused_line(script: Script, stderr: str) -> str:
    number = stderr.strip().rpartition(":")[2]
    if number.isdecimal() and 0 < int(number) <= len(script.lines):
        return f" ({script.lines[int(number) - 1]})"
    return ""


def _set_sysctls(values: Mapping[str, str]) -> None:
    for name, value in values.items():
        file = Path("/proc/sys", name)
        try:
            file.write_text(value, encoding="ascii")
        except FileNotFoundError as error:
            if name.startswith("net/bridge/"):
                raise LabError(
                    "the kernel has no br_netfilter, which a bridge needs for iptables to see "
                    "its packets: load it with 'sudo modprobe br_netfilter'"
                ) from error
            if not name.startswith("net/ipv6/"):
                raise


@contextlib.contextmanager
def _opened(file: str) -> Iterator[int]:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
