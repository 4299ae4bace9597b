"""The inside of podwall's image, without a container runtime: a root directory in a private kernel.

It holds what the image holds, Python and the programs that the agent starts, and nothing else: no
shell. It is read-only but for the three places that the DaemonSet mounts from the host; a service
account is there as kubelet mounts it; and what runs in it has the capabilities that it is given and
no way to get more. So what a program lacks there it would lack on a node.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from podwall.agent.watch.incluster import SERVICE_ACCOUNT
from podwall.dataplane.command import Completed, command_environment
from tests.deploy.rendered import ROOT
from tests.e2e.kernel import PrivateKernel

INSIDE = "/run/image"
CAPABILITIES = ("net_admin", "net_raw")
PODWALL = (sys.executable, "-m", "podwall")

STATE = "/run/host/podwall"
ACCOUNT = "/run/host/account"
"""Where the state directory and the service account are, outside the image."""

_ENTER = "/enter"
_TABLES = [
    f"{stem}-{mode}{verb}"
    for stem in ("iptables", "ip6tables")
    for mode in ("legacy", "nft")
    for verb in ("", "-save", "-restore")
]
_PROGRAMS = ("iptables", "ip6tables", *_TABLES, "ipset", "ip", "test")
_FLAGS = {
    os.ST_NODEV: "nodev",
    os.ST_NOSUID: "nosuid",
    os.ST_NOEXEC: "noexec",
    os.ST_NOATIME: "noatime",
    os.ST_RELATIME: "relatime",
}


class Image:
    """The image's root directory in a private kernel, and how programs run in it."""

    def __init__(self, kernel: PrivateKernel) -> None:
        self._kernel = kernel
        kernel.output("sh", "-euc", "\n".join(_script()))

    def run(self, *argv: str, capabilities: Sequence[str] = CAPABILITIES) -> Completed:
        """Run a program inside; any exit status is an answer."""
        return self._kernel.run(*_enter(capabilities), *argv)

    def podwall(self, *words: str, capabilities: Sequence[str] = CAPABILITIES) -> Completed:
        """Run podwall inside."""
        return self.run(*PODWALL, *words, capabilities=capabilities)

    def start(self, *words: str, env: Mapping[str, str]) -> subprocess.Popen[str]:
        """Start podwall inside; it ends with the kernel at the latest."""
        variables = [f"{name}={value}" for name, value in env.items()]
        return self._kernel.start(*_enter(CAPABILITIES), *variables, *PODWALL, *words)


def _enter(capabilities: Sequence[str]) -> tuple[str, ...]:
    bounds = ",".join(["-all", *(f"+{each}" for each in capabilities)])
    return (
        *("chroot", INSIDE, f"{_ENTER}/setpriv", "--no-new-privs", "--inh-caps=-all"),
        *(f"--bounding-set={bounds}", f"{_ENTER}/env", "-i", "PATH=/usr/sbin:/usr/bin"),
    )


def _script() -> Iterator[str]:
    """Shell commands that put the root directory together, out of what this machine has."""
    yield f"mkdir {INSIDE}"
    yield f"mount -t tmpfs -o mode=755 tmpfs {INSIDE}"
    libraries = [Path(each).resolve() for each in ("/lib", "/lib64", "/usr/lib")]
    directories = {sys.prefix, f"{sys.base_prefix}/lib", str(ROOT / "src"), str(ROOT / "examples")}
    for directory in sorted({*map(str, libraries), *directories}):
        yield from _bind(directory, directory, is_directory=True)
    for link in ("/lib", "/lib64"):
        if Path(link).is_symlink():
            yield f"ln -s {os.readlink(link)} {INSIDE}{link}"
    yield from _interpreter()
    for name in _PROGRAMS:
        yield from _bind(_which(name), f"/usr/sbin/{name}")
    for name in ("setpriv", "env"):
        yield from _bind(_which(name), f"{_ENTER}/{name}")
    # Without the names of protocols ipset understands no member that has a port.
    for name in ("/etc/protocols", "/etc/passwd"):
        yield from _bind(name, name)
    yield from _bind("/dev/null", "/dev/null")
    yield f"mkdir {INSIDE}/proc && mount --rbind /proc {INSIDE}/proc"
    yield from _mounts_of_the_host()
    yield f"mount -o remount,ro {INSIDE}"


def _mounts_of_the_host() -> Iterator[str]:
    for source, target in ((STATE, "/run/podwall"), (ACCOUNT, SERVICE_ACCOUNT)):
        yield f"mkdir -p {INSIDE}{target} {source}"
        yield f"mount --bind {source} {INSIDE}{target}"
    for name in ("podwall.lock", "xtables.lock"):
        yield f": > {INSIDE}/run/{name}; : > /run/{name}"
        yield f"mount --bind /run/{name} {INSIDE}/run/{name}"


def _interpreter() -> Iterator[str]:
    """Python itself, and the links that lead to it from the virtual environment."""
    path = Path(sys.executable)
    while path.is_symlink():
        if not path.is_relative_to(sys.prefix):
            yield f"mkdir -p {INSIDE}{path.parent} && ln -s {os.readlink(path)} {INSIDE}{path}"
        path = path.parent / os.readlink(path)
    yield from _bind(str(path), str(path))


def _which(name: str) -> str:
    found = shutil.which(name, path=command_environment(os.environ)["PATH"])
    assert found, f"{name} is not installed"
    return os.path.realpath(found)


def _bind(source: str, target: str, *, is_directory: bool = False) -> Iterator[str]:
    """Make ``source`` appear inside, not to be written to."""
    place = f"{INSIDE}{target}"
    if is_directory:
        yield f"mkdir -p {place}"
    else:
        yield f"mkdir -p {os.path.dirname(place)} && : > {place}"
    yield f"mount --bind {source} {place}"
    # Flags of a mount that an ordinary user did not make cannot be taken away.
    flags = os.statvfs(source).f_flag
    options = ["remount", "bind", "ro", *(word for bit, word in _FLAGS.items() if flags & bit)]
    yield f"mount -o {','.join(options)} {place}"
