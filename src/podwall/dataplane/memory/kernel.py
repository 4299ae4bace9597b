"""The programs of the fake kernel, and the faults that tests make them have."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence

from podwall.dataplane.command import DEFAULT_TIMEOUT, Completed
from podwall.dataplane.conntrack import HELPER
from podwall.dataplane.iptables.mode import Mode
from podwall.dataplane.kernel import KernelDataPlane, open_kernel
from podwall.dataplane.memory.errors import Refused
from podwall.dataplane.memory.sets import Sets
from podwall.dataplane.memory.tables import Tables
from podwall.errors import ToolMissing
from podwall.model.flow import Flow
from podwall.model.net import Family

_IPTABLES = re.compile(r"(ip6?tables)(?:-(legacy|nft))?(?:-(save|restore))?\Z")
_DONE = Completed("", "", 0)


class MemoryKernel:
    """A kernel with its tools, as a :class:`~podwall.dataplane.command.Runner`.

    Attributes:
        sets: the ipsets.
        tables: the iptables tables of each mode and family.
        own: addresses of the host.
        tracked: the lines of the connection tracking table, as the helper prints them.
        commands: every command that was run, in order.
        plain: the mode of the programs without a mode in their name.
        missing: programs that are not installed.
        locked: another program holds the xtables lock.
        longest: lines of the longest batch that nf_tables mode takes.
        has_ipv6: whether the kernel speaks IPv6.
        interrupt: called with the program, line number and line before each line of a batch, and
            with line 0 before each command; what it raises goes through, like a kill at that point.
    """

    def __init__(self, plain: Mode = Mode.NFT) -> None:
        self.sets = Sets(self._in_use)
        self.tables = {(mode, family): Tables() for mode in Mode for family in Family}
        self.own: list[str] = []
        self.tracked: list[str] = []
        self.commands: list[tuple[str, ...]] = []
        self.plain = plain
        self.missing: set[str] = set()
        self.locked = False
        self.longest = sys.maxsize
        self.has_ipv6 = True
        self.interrupt: Callable[[str, int, str], None] = lambda _program, _number, _line: None

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | bytes | None = None,  # noqa: A002
        timeout: float = DEFAULT_TIMEOUT,  # noqa: ARG002
    ) -> Completed:
        """See :meth:`Runner.run`."""
        words = tuple(argv)
        program = words[0]
        self.commands.append(words)
        self.interrupt(program, 0, "")
        if program in self.missing:
            raise ToolMissing(program, program.partition("-")[0])
        text = input.decode() if isinstance(input, bytes) else input or ""
        if found := _IPTABLES.match(program):
            stem, word, verb = found.groups()
            mode = Mode(word) if word else self.plain
            family = Family.V4 if stem == "iptables" else Family.V6
            return self._iptables(words, mode, family, verb, text)
        if program == "ipset":
            return self._ipset(words, text)
        if program == "test":
            there = self.has_ipv6 or words[-1] != "/proc/net/if_inet6"
            return _DONE if there else Completed("", "", 1)
        if program == "ip":
            return Completed("".join(f"1: lo    inet {each}/8\n" for each in self.own), "", 0)
        if words[:-1] == HELPER:
            return self._conntrack(words[-1], text)
        raise ToolMissing(program, program)

    def track(self, flow: Flow, client_port: int = 40000, service: str | None = None) -> None:
        """Add an established connection; ``service`` is the address before DNAT, if there was."""
        port = flow.port or 0
        handle = f"2/-/-/{len(self.tracked):08x}"
        original = f"{flow.src} {service or flow.dst} {client_port} {port}"
        reply = f"{flow.dst} {flow.src} {port} {client_port}"
        family = flow.src.family.value
        self.tracked.append(f"{family} {flow.protocol} {original} {reply} {handle}")

    def _in_use(self, ipset: str) -> bool:
        return any(tables.references(ipset) for tables in self.tables.values())

    def _iptables(
        self, words: tuple[str, ...], mode: Mode, family: Family, verb: str | None, text: str
    ) -> Completed:
        tables = self.tables[mode, family]
        if verb is None:
            kind = "nf_tables" if mode is Mode.NFT else "legacy"
            return Completed(f"{words[0]} v1.8.9 ({kind})\n", "", 0)
        if verb == "save":
            only = words[words.index("-t") + 1] if "-t" in words else None
            return Completed(tables.save(only, "-c" in words), "", 0)
        if self.locked and mode is Mode.LEGACY:
            seconds = words[words.index("-w") + 1] if "-w" in words else "0"
            return Completed("", _lock_text(seconds), 4)
        lines = text.count("\n")
        if mode is Mode.NFT and lines > self.longest:
            said = f"sendmsg() failed: Message too long\n{words[0]}: line {lines - 1} failed\n"
            return Completed("", said, 1)
        try:
            tables.restore(
                text,
                "--noflush" not in words,
                self.sets.by_name,
                lambda number, line: self.interrupt(words[0], number, line),
            )
        except Refused as error:
            return _iptables_refusal(words[0], mode, error, text)
        return _DONE

    def _ipset(self, words: tuple[str, ...], text: str) -> Completed:
        if words[1:] == ("save",):
            return Completed(self.sets.save(), "", 0)
        if words[1] == "save":
            if words[2] not in self.sets.by_name:
                said = "The set with the given name does not exist"
                return Completed("", f"ipset v7.17: {said}\n", 1)
            return Completed(self.sets.save(words[2]), "", 0)
        try:
            self.sets.restore(text, lambda number, line: self.interrupt("ipset", number, line))
        except Refused as error:
            said = f"ipset v7.17: Error in line {error.line}: {error.reason}\n"
            return Completed("", said, 1)
        return _DONE

    def _conntrack(self, verb: str, text: str) -> Completed:
        if verb == "list":
            return Completed("".join(f"{line}\n" for line in self.tracked), "", 0)
        if verb == "among":
            wanted = set(text.split())
            lines = [line for line in self.tracked if wanted.intersection(line.split(" ")[2:9])]
            return Completed("".join(f"{line}\n" for line in lines), "", 0)
        doomed = set(text.split())
        kept = [line for line in self.tracked if line.rpartition(" ")[2] not in doomed]
        deleted = len(self.tracked) - len(kept)
        self.tracked = kept
        return Completed(f"{deleted}\n", "", 0)


def _lock_text(seconds: str) -> str:
    return (
        "Can't lock /run/xtables.lock: Resource temporarily unavailable\n"
        "Another app is currently holding the xtables lock. "
        f"Stopped waiting after {seconds}s.\n"
    )


def _iptables_refusal(program: str, mode: Mode, error: Refused, text: str) -> Completed:
    """The refusal in the words of each mode: legacy learns at COMMIT what the kernel refuses."""
    if error.at_commit and mode is Mode.LEGACY:
        removal = text.split("\n")[error.line - 1].startswith("-X ")
        commit = text[: text.rindex("COMMIT")].count("\n") + 1
        return Completed("", f"{program}: line {error.line if removal else commit} failed\n", 1)
    if error.at_commit:
        what = f"line {error.line}: RULE_APPEND failed ({error.reason}): rule in chain"
        return Completed("", f"{program} v1.8.9 (nf_tables): \n{what}\n", 4)
    if error.reason.endswith("by that name.") or error.reason.startswith("Bad rule"):
        return Completed("", f"{program}: line {error.line} failed: {error.reason}\n", 1)
    said = f"{program} v1.8.9: {error.reason}\nError occurred at line: {error.line}\n"
    return Completed("", said, 2)


def memory_dataplane(kernel: MemoryKernel, mode: Mode = Mode.NFT) -> KernelDataPlane:
    """The real driver on a fake kernel."""
    return open_kernel(kernel, mode)
