"""The commands of docs/migrate.md take one enforcer's rules out of a node, and nobody else's."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest

from podwall.dataplane.iptables.mode import Mode
from tests.deploy.rendered import ROOT
from tests.e2e.kernel import PrivateKernel, private_kernel

pytestmark = pytest.mark.kernel

TEXT = (ROOT / "docs" / "migrate.md").read_text(encoding="utf-8")
STEP = TEXT.split("## 4. ")[1].split("## 5. ")[0]
KUBE_ROUTER, CALICO = re.findall(r"^```sh\n(.*?)^```$", STEP, re.MULTILINE | re.DOTALL)

# As iptables-save prints them; kube-router before 2.0 accepted in the built-in chain itself.
THEIRS = {
    "kube-router": {
        "filter": """\
:KUBE-ROUTER-FORWARD - [0:0]
:KUBE-ROUTER-INPUT - [0:0]
:KUBE-ROUTER-OUTPUT - [0:0]
:KUBE-NWPLCY-DEFAULT - [0:0]
:KUBE-NWPLCY-QHFGOTFJZFXUVVTH - [0:0]
:KUBE-POD-FW-T5MSDDHCVPRC6CLV - [0:0]
-I FORWARD 1 -m comment --comment "kube-router netpol - TEMCG2JMHZYE7H7T" -j KUBE-ROUTER-FORWARD
-I INPUT 1 -m comment --comment "kube-router netpol - 4IA2OSFRMVNDXBVV" -j KUBE-ROUTER-INPUT
-I OUTPUT 1 -m comment --comment "kube-router netpol - VEAAIZ32XVBHCSCY" -j KUBE-ROUTER-OUTPUT
-A FORWARD -m comment --comment "rule to explicitly ACCEPT traffic that comply to network \
policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
-A KUBE-ROUTER-FORWARD -d ADDRESS -m comment --comment "rule" -j KUBE-POD-FW-T5MSDDHCVPRC6CLV
-A KUBE-POD-FW-T5MSDDHCVPRC6CLV -j KUBE-NWPLCY-QHFGOTFJZFXUVVTH
-A KUBE-NWPLCY-QHFGOTFJZFXUVVTH -m set --match-set SET src -j MARK --set-xmark 0x10000/0x10000
""",
    },
    "calico": {
        "raw": """\
:cali-PREROUTING - [0:0]
-A PREROUTING -m comment --comment "cali:6gwbT8clXdHdC1b1" -j cali-PREROUTING
-A cali-PREROUTING -m comment --comment "cali:njdnLwYeGqBJyMxW" -j MARK --set-xmark 0x0/0xf0000
""",
        "mangle": """\
:cali-POSTROUTING - [0:0]
-A POSTROUTING -m comment --comment "cali:O3lYWMrLQYEMJtB5" -j cali-POSTROUTING
""",
        "nat": """\
:cali-nat-outgoing - [0:0]
-A POSTROUTING -m comment --comment "cali:O3lYWMrLQYEMJtB5" -j cali-nat-outgoing
""",
        "filter": """\
:cali-FORWARD - [0:0]
:cali-tw-eth0 - [0:0]
-I FORWARD 1 -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
-A FORWARD -m comment --comment "cali:S93hcgKJrXEqnTfs" -m comment --comment "Policy explicitly \
accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-FORWARD -m comment --comment "cali:vjrMJCRpqwy5oRoX" -j cali-tw-eth0
-A cali-tw-eth0 -m comment --comment "cali:1" -m set --match-set SET dst -j DROP
""",
    },
}
SETS = {
    ("kube-router", 4): "KUBE-SRC-WGFM3TGDXCJTQZK6",
    ("kube-router", 6): "inet6:KUBE-SRC-WGFM3TGDXCJTQZ",
    ("calico", 4): "cali40all-ipam-pools",
    ("calico", 6): "cali60all-ipam-pools",
}
PROXY = {
    "filter": ":KUBE-FORWARD - [0:0]\n-A FORWARD -j KUBE-FORWARD\n-A KUBE-FORWARD -j ACCEPT\n",
    "nat": ":KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\n",
}
ADDRESS = {4: "10.244.1.7/32", 6: "fd00::7/128"}
STEM = {4: "iptables", 6: "ip6tables"}


@pytest.fixture
def kernel() -> Iterator[PrivateKernel]:
    """A node with podwall's rules and kube-proxy's."""
    with private_kernel() as kernel:
        yield kernel


def _load(kernel: PrivateKernel, mode: Mode, tables: dict[str, str], who: str = "") -> None:
    for family, stem in STEM.items():
        if who:
            name = SETS[who, family]
            kernel.output("ipset", "create", name, "hash:net", "family", _inet(family))
        for table, text in tables.items():
            rules = text.replace("ADDRESS", ADDRESS[family]).replace(
                "SET", SETS.get((who, family), "")
            )
            batch = f"*{table}\n{rules}COMMIT\n"
            kernel.output(f"{stem}-{mode.value}-restore", "--noflush", text=batch)


def _inet(family: int) -> str:
    return "inet" if family == 4 else "inet6"


def _saved(kernel: PrivateKernel, mode: Mode) -> list[str]:
    """All rules and sets, without what tells time or counts, and without empty tables."""
    found = kernel.output("ipset", "list", "-n").split()
    for stem in STEM.values():
        for table in ("raw", "mangle", "nat", "filter"):
            text = kernel.output(f"{stem}-{mode.value}-save", "-t", table)
            found += [line for line in text.splitlines() if line.startswith(("-A", ":PW", ":KUBE"))]
            found += [line for line in text.splitlines() if line.startswith(":cali")]
    return sorted(re.sub(r"\[\d+:\d+\]", "", line) for line in found)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(("who", "commands"), [("kube-router", KUBE_ROUTER), ("calico", CALICO)])
def test_the_commands_remove_one_enforcer_and_nothing_else(
    who: str, commands: str, mode: Mode, kernel: PrivateKernel
) -> None:
    _load(kernel, mode, PROXY)
    example = str(ROOT / "examples" / "test-network-policy")
    podwall = (sys.executable, "-m", "podwall")
    options = ("--node-name", "node-1", "--place", "--mode", mode.value)
    kernel.output(*podwall, "apply", example, *options)
    without = _saved(kernel, mode)
    assert any("PW-FORWARD" in line for line in without)
    _load(kernel, mode, THEIRS[who], who)
    assert _saved(kernel, mode) != without
    done = kernel.run("bash", "-euc", commands)
    said = [line for line in done.stderr.splitlines() if "tables present, use" not in line]
    assert (done.status, done.stdout, said) == (0, "", [])
    assert _saved(kernel, mode) == without
    assert kernel.run(*podwall, "diff", example, *options).status == 0
