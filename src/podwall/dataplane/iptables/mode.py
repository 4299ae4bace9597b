"""Which iptables a host uses: the legacy tables or nf_tables.

A kernel holds both at once, and every packet meets both, but each has its own tools and neither
sees the other's rules. Podwall must write where the node's other components write, or its place
before their rules means nothing. So the mode is found out from what is there, in this order: the
chain that kubelet leaves as a hint, then whichever holds chains of ours, so that a rule of another
program never moves us and leaves our old rules in force, then whichever holds more rules, then the
plain ``iptables``.
"""

from __future__ import annotations

import enum
import logging

import msgspec

from podwall.dataplane.command import Runner
from podwall.dataplane.fence import OUR_CHAIN
from podwall.errors import KernelError, ToolMissing
from podwall.model.net import Family

log = logging.getLogger(__name__)

HINTS = ("KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY")
"""Chains of the mangle table that kubelet makes in the mode that it uses."""


TABLES = ("filter", "mangle")
"""The tables that tell which mode is in use."""


class Mode(enum.Enum):
    """The two kinds of iptables; the value is the word in the names of the programs."""

    LEGACY = "legacy"
    NFT = "nft"

    @property
    def other(self) -> Mode:
        """The mode that is not this one."""
        return Mode.NFT if self is Mode.LEGACY else Mode.LEGACY


class Programs(msgspec.Struct, frozen=True):
    """The names of one mode's programs; ``word`` is empty where the plain names are this mode."""

    mode: Mode
    word: str

    def save(self, family: Family) -> str:
        """The program that prints the tables of a family."""
        return self._name(family, "save")

    def restore(self, family: Family) -> str:
        """The program that takes batches for a family."""
        return self._name(family, "restore")

    def _name(self, family: Family, verb: str) -> str:
        stem = "iptables" if family is Family.V4 else "ip6tables"
        return "-".join(word for word in (stem, self.word, verb) if word)


def detect_mode(runner: Runner) -> Mode:
    """The mode that the host uses.

    Raises:
        ToolMissing: there is no iptables at all.
    """
    plain = _plain_mode(runner)
    saved = {mode: _saved(runner, mode) for mode in Mode}
    hinted = [mode for mode, text in saved.items() if any(f"\n:{hint} " in text for hint in HINTS)]
    if len(hinted) == 1:
        return hinted[0]
    ours = [mode for mode, text in saved.items() if _our_chains(text)]
    if len(ours) == 1:
        return ours[0]
    rules = {mode: text.count("\n-A ") for mode, text in saved.items()}
    if rules[Mode.LEGACY] != rules[Mode.NFT]:
        return max(rules, key=lambda mode: rules[mode])
    if plain is None:
        raise ToolMissing("iptables", "iptables")
    return plain


def find_programs(runner: Runner, mode: Mode) -> Programs:
    """The programs of ``mode``: by their own names, or the plain ones if these are that mode.

    Raises:
        ToolMissing: the host has no iptables of this mode.
    """
    try:
        runner.run([f"iptables-{mode.value}", "--version"])
    except ToolMissing:
        if _plain_mode(runner) is not mode:
            raise
        return Programs(mode, "")
    return Programs(mode, mode.value)


def chains_in(runner: Runner, mode: Mode) -> tuple[str, ...]:
    """Names of our chains in ``mode``, of both families, sorted; they are in the filter table."""
    return _our_chains(_saved(runner, mode))


def _our_chains(text: str) -> tuple[str, ...]:
    found = set()
    inside = False
    for line in text.split("\n"):
        if line.startswith("*"):
            inside = line == "*filter"
        elif inside and line.startswith(":"):
            found.add(line[1:].partition(" ")[0])
    return tuple(sorted(name for name in found if OUR_CHAIN.match(name)))


def _plain_mode(runner: Runner) -> Mode | None:
    """What the plain ``iptables`` is; before 1.8 there was only legacy, and no word for it."""
    try:
        version = runner.run(["iptables", "--version"])
    except ToolMissing:
        return None
    return Mode.NFT if "nf_tables" in version.stdout else Mode.LEGACY


def _saved(runner: Runner, mode: Mode) -> str:
    """The tables of both families; empty where the mode's programs are missing or fail.

    No table is named at first, so that looking does not make the kernel register legacy tables.
    """
    texts = []
    for stem in ("iptables", "ip6tables"):
        program = f"{stem}-{mode.value}-save"
        try:
            saved = runner.run([program])
            texts.append(saved.stdout)
            if saved.status:
                # In an ordinary user's namespace the list of legacy tables cannot be read.
                texts += (runner.run([program, "-t", table]).stdout for table in TABLES)
        except KernelError as error:
            log.debug("%s tables of %s cannot be read: %s", mode.value, stem, error)
    return "\n".join(["", *texts])
