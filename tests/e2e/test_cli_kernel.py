"""``podwall apply``, ``diff`` and ``cleanup`` on a kernel of their own, as its root."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podwall.cli.main import main
from podwall.dataplane.command import Completed
from podwall.dataplane.iptables.mode import Mode
from tests.e2e.kernel import PrivateKernel, private_kernel

pytestmark = pytest.mark.kernel

GOLDEN = Path(__file__).parents[1] / "golden"
NODE = "worker-1"
FOREIGN = (
    "*filter\n:OTHER - [0:0]\n-A INPUT -j OTHER\n-A OTHER -p udp -m udp --dport 9 -j DROP\nCOMMIT\n"
)


def manifests(case: str) -> str:
    return str(GOLDEN / case / "cluster.yaml")


class Host:
    """A host with podwall and with another program's rules and set."""

    def __init__(self, kernel: PrivateKernel, mode: Mode) -> None:
        self.kernel = kernel
        self.mode = mode
        for stem in ("iptables", "ip6tables"):
            kernel.output(f"{stem}-{mode.value}-restore", "--noflush", text=FOREIGN)
        kernel.output("ipset", "create", "other", "hash:ip")

    def podwall(self, *words: str) -> Completed:
        mode = ("--mode", self.mode.value)
        return self.kernel.run(sys.executable, "-m", "podwall", *words, *mode)

    def results(self, status: int, *words: str) -> Any:
        completed = self.podwall(*words, "-o", "json")
        assert completed.status == status, completed.stderr
        return json.loads(completed.stdout)

    def apply(self, case: str, *words: str) -> Completed:
        return self.podwall("apply", manifests(case), "--node-name", NODE, *words)

    def diff(self, case: str) -> Completed:
        return self.podwall("diff", manifests(case), "--node-name", NODE)

    def everything(self) -> str:
        """All sets and rules of both families."""
        texts = [
            self.kernel.output(f"{stem}-{self.mode.value}-save")
            for stem in ("iptables", "ip6tables")
        ]
        lines = [*self.kernel.output("ipset", "save").splitlines(), *"".join(texts).splitlines()]
        return "\n".join(line for line in lines if not line.startswith("#"))

    def ours(self) -> list[str]:
        return [line for line in self.everything().splitlines() if "PW" in line]


@pytest.fixture(params=Mode, ids=lambda mode: mode.value)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with private_kernel() as kernel:
        yield Host(kernel, request.param)


def test_apply_enforces_and_a_second_one_has_nothing_to_change(host: Host) -> None:
    first = host.apply("example")
    assert first.status == 0, first.stderr
    assert first.stdout.startswith("applied in ")
    before = host.everything()
    second = host.apply("example")
    assert (second.status, second.stderr) == (0, "")
    assert second.stdout.startswith("nothing to change")
    assert host.everything() == before
    assert "-A INPUT -j OTHER" in before
    assert "10.1.1.10" in before


def test_what_is_denied_is_logged_if_asked_and_that_is_no_difference(host: Host) -> None:
    switches = ("--log-denied", "--log-group", "12")
    first = host.apply("audit", *switches)
    assert first.status == 0, first.stderr
    before = host.everything()
    for kind in ("deny", "audit"):
        assert before.count(f'-j NFLOG --nflog-prefix "podwall {kind}" --nflog-group 12 ') == 2
    again = host.apply("audit", *switches)
    assert again.stdout.startswith("nothing to change")
    # Without the switch the rules and sets that log what is denied go; what is audited stays.
    assert host.apply("audit").status == 0
    assert "podwall deny" not in host.everything()
    assert "PW4-logged" not in host.everything()
    assert host.everything().count("--nflog-group 9357 ") == 2
    assert host.podwall("cleanup").status == 0
    assert host.ours() == []


def test_diff_shows_the_lines_that_apply_would_send_and_then_none(host: Host) -> None:
    shown = host.diff("example")
    assert shown.status == 1
    for text in ("create PW4-p-", "-A PW-FORWARD", "-I FORWARD 1", "rules +"):
        assert text in shown.stdout
    assert host.ours() == []
    host.apply("example")
    same = host.diff("example")
    assert same.status == 0
    assert "no difference" in same.stdout
    other = host.diff("deny-all")
    assert other.status == 1
    assert "destroy PW4-p-" in other.stdout


def test_dry_runs_change_nothing(host: Host) -> None:
    dry = host.apply("example", "--dry-run")
    assert dry.status == 0
    assert "create PW4-" in dry.stdout
    assert host.ours() == []
    host.apply("example")
    before = host.everything()
    assert host.podwall("cleanup", "--dry-run").status == 0
    host.apply("deny-all", "--dry-run")
    assert host.everything() == before


def test_cleanup_leaves_nothing_of_ours_and_everything_of_others(host: Host) -> None:
    untouched = host.everything()
    for case in ("example", "dual-stack", "named-ports-that-differ"):
        assert host.apply(case).status == 0
        assert host.ours()
    assert host.podwall("cleanup").status == 0
    assert host.everything() == untouched
    again = host.podwall("cleanup")
    assert again.status == 0
    assert "nothing to change" in again.stdout


def test_what_somebody_changed_by_hand_is_shown_and_repaired(host: Host) -> None:
    host.apply("example")
    host.kernel.output(f"iptables-{host.mode.value}", "-I", "PW-deny", "-j", "ACCEPT")
    host.kernel.output("ipset", "flush")
    shown = host.results(1, "diff", manifests("example"), "--node-name", NODE)
    assert shown["rules"] == {"added": 0, "removed": 1}
    assert shown["members"]["added"] > 0
    assert host.apply("example").status == 0
    assert host.diff("example").status == 0
    assert not [line for line in host.ours() if line.endswith("-j ACCEPT")]


def test_json_tells_what_was_changed(host: Host) -> None:
    words = (manifests("example"), "--node-name", NODE)
    report = host.results(0, "apply", *words)
    assert report["rules"]["added"] > 20
    assert report["members"]["added"] >= 4
    assert report["refused"] == []
    assert report["connections_cut"] == 0
    assert host.results(0, "apply", *words)["steps"] == 0
    assert host.results(0, "diff", *words)["steps"] == []
    assert host.results(0, "cleanup")["rules"]["removed"] == report["rules"]["added"]


def test_bad_policies_isolate_and_the_rest_is_enforced_with_status_2(host: Host) -> None:
    done = host.apply("hostile-names")
    assert done.status == 2
    assert "error: " in done.stderr
    assert any("10.1.1.10" in line for line in host.ours())
    assert host.diff("hostile-names").status == 2


LOST = {
    "a syntax error": "kind: NetworkPolicy\n  metadata: {",
    "a name that is a number": "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, "
    "metadata: {name: 1234}, spec: {podSelector: {}}}",
    "a kind with a typo": "{apiVersion: networking.k8s.io/v1, kind: NetworkPolcy, "
    "metadata: {name: a}, spec: {podSelector: {}}}",
}


def test_an_apply_with_nothing_to_change_cuts_no_connection_that_the_node_would_allow(
    host: Host,
) -> None:
    host.apply("deny-all")
    host.kernel.output("ip", "address", "add", "10.1.1.1/32", "dev", "lo")
    for client, server in (("10.1.1.1", "10.1.1.10"), ("10.99.0.1", "10.98.0.1")):
        host.kernel.output(
            *("conntrack", "-I", "-p", "tcp", "-s", client, "-d", server, "--sport", "40000"),
            *("--dport", "80", "--state", "ESTABLISHED", "-t", "1000", "-u", "ASSURED"),
        )
    results = host.results(0, "apply", manifests("deny-all"), "--node-name", NODE)
    assert results["connections_cut"] == 0
    host.kernel.output("ip", "address", "del", "10.1.1.1/32", "dev", "lo")
    results = host.results(0, "apply", manifests("deny-all"), "--node-name", NODE)
    assert results["connections_cut"] == 1


def test_rules_in_the_other_mode_are_a_difference_and_cleanup_removes_those_of_both(
    host: Host,
) -> None:
    host.apply("example")
    host.podwall("cleanup")
    words = ("apply", manifests("example"), "--node-name", NODE, "--mode", host.mode.other.value)
    assert host.kernel.run(sys.executable, "-m", "podwall", *words).status == 0
    host.apply("example")
    ran = host.diff("example")
    assert ran.status == 1
    assert f"podwall cleanup --mode {host.mode.other.value}" in ran.stderr
    assert host.kernel.run(sys.executable, "-m", "podwall", "cleanup").status == 0
    for mode in Mode:
        for stem in ("iptables", "ip6tables"):
            assert "PW" not in host.kernel.output(f"{stem}-{mode.value}-save")
    assert host.kernel.output("ipset", "list", "-n").split() == ["other"]


@pytest.mark.parametrize("text", LOST.values(), ids=LOST)
def test_input_that_lost_something_changes_nothing(host: Host, tmp_path: Path, text: str) -> None:
    host.apply("example")
    before = host.ours()
    damaged = tmp_path / "cluster.yaml"
    damaged.write_text(text)
    others = str(Path(manifests("example")))
    done = host.podwall("apply", others, str(damaged), "--node-name", NODE)
    assert done.status == 2
    assert "nothing was changed" in done.stderr
    assert host.ours() == before
    assert host.podwall("apply", others, str(damaged), "--node-name", NODE, "--force").status == 2
    assert host.ours() == before


def test_a_path_that_is_mistyped_changes_nothing(host: Host) -> None:
    host.apply("example")
    before = host.ours()
    done = host.podwall("apply", manifests("example"), "/nowhere/policy.yaml", "--node-name", NODE)
    assert done.status == 2
    assert host.ours() == before


@pytest.mark.parametrize("files", [("example",), ()], ids=["another node", "empty input"])
def test_a_node_that_the_input_does_not_know_changes_nothing(
    host: Host, files: tuple[str, ...]
) -> None:
    host.apply("example")
    before = host.ours()
    paths = [manifests(each) for each in files] or ["/dev/null"]
    done = host.podwall("apply", *paths, "--node-name", "worker-9")
    assert done.status == 2
    assert "know no node 'worker-9'" in done.stderr
    assert host.ours() == before
    assert host.podwall("apply", *paths, "--node-name", "worker-9", "--force").status == 0


def test_without_the_tools_podwall_says_which_package_has_them(host: Host, tmp_path: Path) -> None:
    for name in ("sh", "test"):
        (tmp_path / name).symlink_to(_where(name))
    script = f"""
import os
import podwall.cli.main, podwall.dataplane.command
os.environ["PATH"] = {str(tmp_path)!r}
podwall.dataplane.command.SYSTEM_PATHS = ()
podwall.cli.main.entry()
"""
    words = ("diff", manifests("example"), "--node-name", NODE)
    ran = host.kernel.run(sys.executable, "-c", script, *words)
    assert ran.status == 3
    assert "is not installed; it comes with the system package iptables" in ran.stderr


def _where(program: str) -> str:
    for directory in (*os.environ["PATH"].split(os.pathsep), "/usr/sbin", "/sbin"):
        if (Path(directory) / program).exists():
            return str(Path(directory) / program)
    raise AssertionError(program)


def test_only_root_may_look_at_or_change_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check comes before anything is looked at, so it needs no kernel of its own."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for words in (["diff", manifests("example"), "--node-name", NODE], ["cleanup"]):
        assert main(words) == 2
