"""What podwall needs of a system, found by giving it nothing more, in both iptables modes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from podwall.dataplane.iptables.mode import Mode
from tests.deploy.image import CAPABILITIES, Image
from tests.deploy.rendered import ROOT
from tests.e2e.kernel import PrivateKernel, private_kernel

pytestmark = pytest.mark.kernel

EXAMPLE = str(ROOT / "examples" / "test-network-policy")
DB = "10.244.1.3"
WHERE = ("--node-name", "node-1", "--place")

_SELF = """
import json, os
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
def can_write(path):
    try:
        open(path, "a").close()
    except OSError as error:
        return error.strerror
    return True
paths = ["/new", "/usr/sbin/new", "/run/new", "/run/podwall/new", "/run/xtables.lock"]
print(json.dumps({
    "capabilities": [int(status[each], 16) for each in ("CapPrm", "CapEff", "CapBnd")],
    "inherited": [int(status[each], 16) for each in ("CapInh", "CapAmb")],
    "no_new_privileges": int(status["NoNewPrivs"]),
    "shells": [f"{directory}/{each}" for each in ("sh", "bash", "dash", "busybox")
               for directory in ("/bin", "/usr/bin", "/usr/sbin", "/sbin")
               if os.path.exists(f"{directory}/{each}")],
    "writes": {each: can_write(each) for each in paths},
}))
"""


_READ = """
from podwall.dataplane.nflog import NflogReader
with NflogReader(9357) as reader:
    print(open("/proc/self/net/netfilter/nfnetlink_log").read().split()[0])
"""


@pytest.fixture
def kernel() -> Iterator[PrivateKernel]:
    with private_kernel() as kernel:
        yield kernel


@pytest.fixture
def image(kernel: PrivateKernel) -> Image:
    return Image(kernel)


def test_the_image_of_these_tests_is_as_poor_as_the_daemonset_says(image: Image) -> None:
    found = json.loads(image.run(sys.executable, "-I", "-c", _SELF).stdout)
    net_admin, net_raw = 1 << 12, 1 << 13
    assert found["capabilities"] == [net_admin | net_raw] * 3
    assert found["inherited"] == [0, 0]
    assert found["no_new_privileges"] == 1
    assert found["shells"] == []
    refused = "Read-only file system"
    assert found["writes"] == {
        "/new": refused,
        "/usr/sbin/new": refused,
        "/run/new": refused,
        "/run/podwall/new": True,
        "/run/xtables.lock": True,
    }


@pytest.mark.parametrize("mode", Mode)
def test_two_capabilities_and_no_shell_are_enough(
    mode: Mode, kernel: PrivateKernel, image: Image
) -> None:
    options = (*WHERE, "--mode", mode.value)
    # A connection that the policy forbids: its end takes a set and connection tracking.
    kernel.output(
        *("conntrack", "-I", "-p", "tcp", "-s", "203.0.113.1", "-d", DB, "--sport", "40000"),
        *("--dport", "6379", "-t", "100", "--state", "ESTABLISHED", "-u", "SEEN_REPLY"),
    )
    applied = image.podwall("apply", EXAMPLE, *options, "-o", "json")
    assert (applied.status, applied.stderr) == (0, "")
    report = json.loads(applied.stdout)
    assert report["rules"]["added"] > 0
    assert report["connections_cut"] == 1
    assert image.podwall("diff", EXAMPLE, *options).status == 0
    cleaned = image.podwall("cleanup")
    assert (cleaned.status, cleaned.stderr) == (0, "")


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("missing", CAPABILITIES)
def test_neither_capability_can_be_spared(missing: str, mode: Mode, image: Image) -> None:
    [other] = set(CAPABILITIES) - {missing}
    applied = image.podwall("apply", EXAMPLE, *WHERE, "--mode", mode.value, capabilities=[other])
    assert applied.status == 3
    assert "error: " in applied.stderr


@pytest.mark.parametrize("mode", Mode)
def test_denied_packets_are_logged_and_read_with_the_same_two(mode: Mode, image: Image) -> None:
    words = ("apply", EXAMPLE, *WHERE, "--log-denied", "--mode", mode.value)
    applied = image.podwall(*words)
    assert (applied.status, applied.stderr) == (0, "")
    read = image.run(sys.executable, "-c", _READ)
    assert (read.status, read.stdout, read.stderr) == (0, "9357\n", "")
    refused = image.run(sys.executable, "-c", _READ, capabilities=["net_raw"])
    assert "it takes CAP_NET_ADMIN" in refused.stderr
