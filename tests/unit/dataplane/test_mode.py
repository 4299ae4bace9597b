"""Podwall writes where the node's other components write."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from podwall.dataplane.command import DEFAULT_TIMEOUT, Completed
from podwall.dataplane.iptables.mode import Mode, Programs, detect_mode, find_programs
from podwall.dataplane.kernel import open_kernel, open_kernels
from podwall.dataplane.memory import MemoryKernel
from podwall.errors import CommandFailed, ToolMissing
from podwall.model.net import Family
from podwall.ruleset.ir import Chain, ChainRole, Hook, IPSet, SetRole, SetType
from podwall.ruleset.plan import ChainStep, SetStep

V4, V6 = Family.V4, Family.V6
ALL_OF_NFT = {
    f"{stem}-nft{verb}" for stem in ("iptables", "ip6tables") for verb in ("", "-save", "-restore")
}


def load(kernel: MemoryKernel, mode: Mode, *lines: str, table: str = "filter") -> None:
    text = "\n".join([f"*{table}", *lines, "COMMIT", ""])
    kernel.run([f"iptables-{mode.value}-restore", "--noflush"], input=text)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("hint", ["KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"])
def test_the_hint_of_kubelet_decides(mode: Mode, hint: str) -> None:
    kernel = MemoryKernel(plain=mode.other)
    load(kernel, mode, f":{hint} - [0:0]", table="mangle")
    load(kernel, mode.other, *["-A INPUT -j ACCEPT"] * 5)
    assert detect_mode(kernel) is mode


@pytest.mark.parametrize("mode", Mode)
def test_without_a_hint_the_mode_with_more_rules_decides(mode: Mode) -> None:
    kernel = MemoryKernel(plain=mode.other)
    load(kernel, mode, *["-A INPUT -j ACCEPT"] * 2)
    load(kernel, mode.other, "-A INPUT -j ACCEPT")
    assert detect_mode(kernel) is mode


@pytest.mark.parametrize("mode", Mode)
def test_what_we_wrote_before_decides_however_many_rules_others_add(mode: Mode) -> None:
    kernel = MemoryKernel(plain=mode.other)
    load(kernel, mode, ":PW-FORWARD - [0:0]")
    load(kernel, mode.other, *["-A INPUT -j ACCEPT"] * 80)
    assert detect_mode(kernel) is mode


@pytest.mark.parametrize("mode", Mode)
def test_the_hint_of_kubelet_decides_against_what_we_wrote_before(mode: Mode) -> None:
    kernel = MemoryKernel()
    load(kernel, mode, ":KUBE-IPTABLES-HINT - [0:0]", table="mangle")
    load(kernel, mode.other, ":PW-FORWARD - [0:0]")
    assert detect_mode(kernel) is mode


def test_chains_of_ours_in_both_modes_leave_it_to_the_rules() -> None:
    kernel = MemoryKernel(plain=Mode.NFT)
    for mode in Mode:
        load(kernel, mode, ":PW-FORWARD - [0:0]")
    load(kernel, Mode.LEGACY, "-A INPUT -j ACCEPT")
    assert detect_mode(kernel) is Mode.LEGACY


@pytest.mark.parametrize("table", ["nat", "mangle"])
def test_a_chain_with_a_name_like_ours_in_another_table_is_not_ours(table: str) -> None:
    kernel = MemoryKernel(plain=Mode.NFT)
    load(kernel, Mode.LEGACY, ":PW-FORWARD - [0:0]", table=table)
    assert detect_mode(kernel) is Mode.NFT
    dataplane = open_kernel(kernel, Mode.NFT)
    assert (dataplane.strays, dataplane.notes) == ((), ())


@pytest.mark.parametrize("mode", Mode)
def test_on_an_empty_host_the_plain_program_decides(mode: Mode) -> None:
    assert detect_mode(MemoryKernel(plain=mode)) is mode


def test_hints_in_both_modes_leave_it_to_the_rules() -> None:
    kernel = MemoryKernel(plain=Mode.NFT)
    for mode in Mode:
        load(kernel, mode, ":KUBE-IPTABLES-HINT - [0:0]", table="mangle")
    load(kernel, Mode.LEGACY, "-A INPUT -j ACCEPT")
    assert detect_mode(kernel) is Mode.LEGACY


def test_looking_at_a_mode_makes_no_tables_in_it() -> None:
    kernel = MemoryKernel()
    detect_mode(kernel)
    assert all(tables.save() == "" for tables in kernel.tables.values())


class WithoutTableList(MemoryKernel):
    """A namespace of an ordinary user, in which legacy tables must be asked for by name."""

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | bytes | None = None,  # noqa: A002
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Completed:
        if argv[0].endswith("tables-legacy-save") and "-t" not in argv:
            return Completed("", "Failed to list table names: Permission denied\n", 1)
        return super().run(argv, input=input, timeout=timeout)


def test_legacy_tables_are_found_where_they_cannot_be_listed() -> None:
    kernel = WithoutTableList(plain=Mode.NFT)
    load(kernel, Mode.LEGACY, ":KUBE-IPTABLES-HINT - [0:0]", table="mangle")
    assert detect_mode(kernel) is Mode.LEGACY


def test_a_host_with_plain_programs_only_uses_these() -> None:
    kernel = MemoryKernel(plain=Mode.NFT)
    kernel.missing = ALL_OF_NFT
    assert find_programs(kernel, Mode.NFT) == Programs(Mode.NFT, "")
    assert Programs(Mode.NFT, "").restore(V6) == "ip6tables-restore"
    kernel.plain = Mode.LEGACY
    with pytest.raises(ToolMissing):
        find_programs(kernel, Mode.NFT)


def test_a_host_without_iptables_is_told_which_package_is_missing() -> None:
    kernel = MemoryKernel()
    kernel.missing = {"iptables", "iptables-legacy-save", "iptables-nft-save"}
    with pytest.raises(ToolMissing, match="iptables"):
        detect_mode(kernel)


def test_our_chains_in_the_other_mode_are_pointed_out() -> None:
    kernel = MemoryKernel()
    load(kernel, Mode.LEGACY, ":PW-FORWARD - [0:0]", ":OTHER - [0:0]")
    dataplane = open_kernel(kernel, Mode.NFT)
    assert dataplane.strays == ("PW-FORWARD",)
    [note] = dataplane.notes
    assert "legacy" in note
    assert "PW-FORWARD" in note
    assert "OTHER" not in note


def test_cleaning_up_opens_each_mode_that_holds_chains_of_ours() -> None:
    kernel = MemoryKernel(plain=Mode.NFT)
    assert [each.mode for each in open_kernels(kernel)] == [Mode.NFT]
    load(kernel, Mode.LEGACY, ":PW-FORWARD - [0:0]")
    assert [each.mode for each in open_kernels(kernel)] == [Mode.LEGACY]
    load(kernel, Mode.NFT, ":PW-FORWARD - [0:0]")
    both = open_kernels(kernel)
    assert [(each.mode, each.notes, each.strays) for each in both] == [
        (Mode.LEGACY, (), ()),
        (Mode.NFT, (), ()),
    ]


def test_a_mode_without_tools_is_not_opened_for_cleaning_up() -> None:
    kernel = MemoryKernel(plain=Mode.LEGACY)
    load(kernel, Mode.LEGACY, ":PW-FORWARD - [0:0]")
    load(kernel, Mode.NFT, ":PW-FORWARD - [0:0]")
    kernel.missing = ALL_OF_NFT
    assert [each.mode for each in open_kernels(kernel)] == [Mode.LEGACY]


def test_a_host_without_ipv6_is_said_to_have_none_and_gets_nothing_for_it() -> None:
    kernel = MemoryKernel()
    kernel.has_ipv6 = False
    kernel.missing = {"ip6tables-nft-save", "ip6tables-nft-restore"}
    dataplane = open_kernel(kernel, Mode.NFT)
    assert dataplane.families == (V4,)
    assert "no IPv6" in dataplane.notes[0]
    sets = [
        IPSet(f"PW{family.value}-p-x", SetType.HASH_IP, family, SetRole.PEERS) for family in Family
    ]
    dataplane.run(SetStep(create=tuple(sets)))
    for family in Family:
        chain = Chain("PW-INPUT", ChainRole.ROOT)
        dataplane.run(ChainStep(family, replace=(chain,), hook=((Hook.INPUT, "PW-INPUT"),)))
    observed = dataplane.observe()
    assert list(observed.v4.sets) == ["PW4-p-x"]
    assert list(observed.v4.chains) == ["PW-INPUT"]
    assert list(kernel.sets.by_name) == ["PW4-p-x"]
    assert (observed.v6.sets, observed.v6.chains) == ({}, {})


def test_missing_ipv6_tools_on_a_host_with_ipv6_are_an_error() -> None:
    kernel = MemoryKernel()
    kernel.missing = {"ip6tables-nft-save"}
    with pytest.raises(ToolMissing, match="ip6tables"):
        open_kernel(kernel, Mode.NFT).observe()


class Unreadable(MemoryKernel):
    """A kernel with rules in the filter table that only nft understands."""

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | bytes | None = None,  # noqa: A002
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Completed:
        if argv[0] == "iptables-nft-save":
            return Completed("# Table `filter' is incompatible, use 'nft' tool.\n", "", 0)
        return super().run(argv, input=input, timeout=timeout)


def test_a_table_that_iptables_cannot_read_is_not_taken_for_an_empty_one() -> None:
    dataplane = open_kernel(Unreadable(), Mode.NFT)
    with pytest.raises(CommandFailed, match="iptables cannot read"):
        dataplane.observe()
