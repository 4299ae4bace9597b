"""Whole texts of whole clusters: what changes in them is seen in review, byte by byte.

Each directory beside this file is a case: ``cluster.yaml``, the texts that ``podwall render`` gives
for the node ``worker-1``, and ``matrix.csv``, who can reach whom. The texts are compared to the
byte, and then loaded into the real tools in a private kernel, in both modes of iptables, where
reading them back has to give exactly the ruleset that they were written from. After a change that
is meant, ``PODWALL_UPDATE_GOLDEN=1`` writes them anew; read the difference before committing it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from podwall.api import Cluster
from podwall.cli.show import matrix_csv
from podwall.dataplane.iptables.mode import Mode
from podwall.dataplane.kernel import open_kernel
from podwall.model.settings import DenyAction, Settings
from podwall.ruleset.diff import cleanup, diff
from tests.e2e.kernel import PrivateKernel, private_kernel

HERE = Path(__file__).parent
CASES = sorted(path.parent.name for path in HERE.glob("*/cluster.yaml"))
NODE = "worker-1"
SETTINGS = {
    "log-denied": Settings(deny=DenyAction.REJECT, log_denied=True, log_group=77),
    "reject": Settings(deny=DenyAction.REJECT),
}
MOST_PODS = 12
"""Of more pods than these no matrix is kept: nobody would read it."""

UPDATE = os.environ.get("PODWALL_UPDATE_GOLDEN") == "1"

every_case = pytest.mark.parametrize("case", CASES)
_HASH_WORDS = re.compile(r" (initval|hashsize) \S+")
_QUOTED = re.compile(r'"([^"]*)"')
_SAFE_TEXT = re.compile(r"[A-Za-z0-9 ._:/\[\]()+,=-]*", re.ASCII)
_SAFE_RULE = re.compile(r"[A-Za-z0-9 ._:/\[\]!,*-]*", re.ASCII)

both_modes = pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)


def load(case: str) -> Cluster:
    return Cluster.load(
        [str(HERE / case / "cluster.yaml")], settings=SETTINGS.get(case, Settings())
    )


def texts_of(case: str) -> dict[str, str]:
    """The golden texts of a case by file name, as they should be."""
    cluster = load(case)
    texts = cluster.render(NODE).files
    if len(cluster.snapshot.pods) > MOST_PODS:
        return texts
    return {**texts, "matrix.csv": matrix_csv(cluster.matrix())}


def golden(case: str, name: str) -> str:
    return (HERE / case / name).read_bytes().decode()


@every_case
def test_the_texts_are_what_they_were(case: str) -> None:
    texts = texts_of(case)
    if UPDATE:
        for name, text in texts.items():
            (HERE / case / name).write_bytes(text.encode())
    assert {name: golden(case, name) for name in texts} == texts


@pytest.fixture(scope="module")
def machine() -> Iterator[PrivateKernel]:
    """One private kernel for all cases; each leaves it as empty as it was."""
    with private_kernel() as kernel:
        yield kernel


class Loaded:
    """A case in the kernel, put there by the plain tools and nothing of podwall's."""

    def __init__(self, kernel: PrivateKernel, mode: Mode, case: str) -> None:
        self._kernel = kernel
        self._mode = mode
        kernel.output("ipset", "restore", text=golden(case, "ipset.restore"))
        for stem in ("iptables", "ip6tables"):
            text = golden(case, f"{stem}.restore")
            kernel.output(f"{stem}-{mode.value}-restore", "--noflush", text=text)

    def saved(self) -> dict[str, str]:
        """Everything as the tools save it, without the comments that hold times and versions."""
        return {
            "ipset": _sorted_sets(self._kernel.output("ipset", "save")),
            **{stem: self._save_filter(stem) for stem in ("iptables", "ip6tables")},
        }

    def _save_filter(self, stem: str) -> str:
        text = self._kernel.output(f"{stem}-{self._mode.value}-save", "-t", "filter")
        return "\n".join(line for line in text.splitlines() if not line.startswith("#")) + "\n"

    def restore(self, saved: dict[str, str]) -> None:
        """Empty the kernel and load what was saved."""
        for stem in ("iptables", "ip6tables"):
            empty = "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n"
            self._kernel.output(f"{stem}-{self._mode.value}-restore", text=empty)
        self.destroy_sets()
        self._kernel.output("ipset", "restore", text=saved["ipset"])
        for stem in ("iptables", "ip6tables"):
            self._kernel.output(f"{stem}-{self._mode.value}-restore", text=saved[stem])

    def destroy_sets(self) -> None:
        # nf_tables lets go of the sets of deleted rules a moment later.
        for _ in range(100):
            if self._kernel.run("ipset", "destroy").status == 0:
                return
        self._kernel.output("ipset", "destroy")


def _sorted_sets(text: str) -> str:
    """``ipset save`` lists members in the order of its hashes: sort them, each set for itself.

    The seed and the size of the hash depend on the day, not on the members.
    """
    sets: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("create "):
            sets.append([_HASH_WORDS.sub("", line)])
        else:
            sets[-1].append(line)
    return "".join(f"{line}\n" for head, *rest in sets for line in (head, *sorted(rest)))


@pytest.mark.kernel
@both_modes
@every_case
def test_the_texts_loaded_by_the_real_tools_are_the_ruleset(
    machine: PrivateKernel, case: str, mode: Mode
) -> None:
    dataplane = open_kernel(machine.runner, mode)
    loaded = Loaded(machine, mode, case)
    try:
        plan = diff(dataplane.observe(), load(case).ruleset(NODE))
        assert plan.steps == ()
        saved = loaded.saved()
        loaded.restore(saved)
        assert loaded.saved() == saved
        assert diff(dataplane.observe(), load(case).ruleset(NODE)).steps == ()
    finally:
        for step in cleanup(dataplane.observe()).steps:
            dataplane.run(step)
    assert machine.output("ipset", "save") == ""
    assert "PW" not in machine.output(f"iptables-{mode.value}-save")


def test_nothing_that_a_hostile_cluster_says_gets_out_of_its_quotes() -> None:
    hostile = ("ACCEPT", "COMMIT", "evil", "reboot", "timeout 1 ", "destroy", "$(", "65535")
    for name in ("ipset.restore", "iptables.restore", "ip6tables.restore"):
        lines = [line for line in golden("hostile-names", name).splitlines() if line[:1] != "#"]
        assert lines.count("COMMIT") == (0 if name == "ipset.restore" else 1)
        for line in lines:
            assert line.count('"') % 2 == 0
            assert all(map(_SAFE_TEXT.fullmatch, _QUOTED.findall(line))), line
            bare = _QUOTED.sub("", line)
            assert _SAFE_RULE.fullmatch(bare), line
            assert line == "COMMIT" or not any(word in bare for word in hostile), line


def test_the_cases_show_what_they_are_there_for() -> None:
    assert len(CASES) == 14
    for case, file, shows in (
        ("overlapping-excepts", "ipset.restore", "nomatch"),
        ("everywhere", "ipset.restore", "8000::/1"),
        ("everywhere", "ipset.restore", "0.0.0.0/1"),
        ("many-ports", "iptables.restore", "-m multiport"),
        ("named-ports-that-differ", "ipset.restore", "hash:ip,port"),
        ("dual-stack", "ip6tables.restore", "fd00:10:1::10"),
        ("forty-pods", "iptables.restore", "PW-in-"),
        ("audit", "iptables.restore", "-g PW-audit"),
        ("audit", "ip6tables.restore", "podwall audit"),
        ("log-denied", "iptables.restore", '--nflog-prefix "podwall deny" --nflog-group 77'),
        ("log-denied", "ipset.restore", "create PW6-logged hash:ip,port,ip"),
        ("reject", "ip6tables.restore", "tcp-reset"),
    ):
        assert shows in golden(case, file), (case, shows)
