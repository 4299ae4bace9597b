"""The driver of the real kernel: iptables, ipset and connection tracking, by their programs.

Reading takes three processes, each step one. Steps are sent as the renderers write them; what the
driver adds is what only shows at run time: another program that holds the lock, a set or chain that
somebody else's rule still uses, a host without IPv6.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import assert_never

from podwall.dataplane.base import Connection
from podwall.dataplane.command import DEFAULT_TIMEOUT, Completed, Runner, check
from podwall.dataplane.conntrack import HELPER, cut_members, parse_entries
from podwall.dataplane.counters import CountedRule, parse_counters
from podwall.dataplane.enforced import host_addresses
from podwall.dataplane.fence import spec_words
from podwall.dataplane.ipset import parse as ipset_parse
from podwall.dataplane.ipset.render import CutMember, render_cut, render_release, render_set_step
from podwall.dataplane.iptables import parse as iptables_parse
from podwall.dataplane.iptables.mode import Mode, Programs, chains_in, detect_mode, find_programs
from podwall.dataplane.iptables.render import render_chain_step
from podwall.dataplane.iptables.split import chains_in_force, split_step
from podwall.dataplane.refusal import IN_USE, NO_SUCH_SET, TOO_LONG, batch_error
from podwall.dataplane.saved import Saved, without_sets
from podwall.errors import BatchRefused, CommandFailed, KernelError
from podwall.model.net import Address, Family
from podwall.ruleset.ir import IPSet
from podwall.ruleset.names import cut_set
from podwall.ruleset.plan import ChainStep, Observed, ObservedFamily, SetStep, Step

log = logging.getLogger(__name__)

LOCK_SECONDS = 10
"""How long legacy programs wait for the xtables lock."""

RETRY_PAUSES = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Seconds between attempts to destroy sets in use: nf_tables frees deleted rules a bit later."""


class KernelDataPlane:
    """Implements :class:`~podwall.dataplane.base.DataPlane`; :func:`open_kernel` makes it.

    Attributes:
        notes: what a user should know about this host, one sentence each.
        strays: names of chains of ours that are in the other mode, where they are in force as well
            and no plan sees them.
    """

    def __init__(
        self,
        runner: Runner,
        programs: Programs,
        families: Sequence[Family] = tuple(Family),
        notes: Sequence[str] = (),
        strays: Sequence[str] = (),
        lock_seconds: int = LOCK_SECONDS,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        self.notes = tuple(notes)
        self.strays = tuple(strays)
        self._runner = runner
        self._programs = programs
        self._families = tuple(families)
        self._lock_seconds = lock_seconds
        self._timeout = timeout
        self._stray_lines: tuple[str, ...] = ()
        self._remains: tuple[CutMember, ...] = ()

    @property
    def mode(self) -> Mode:
        """The kind of iptables that is written to."""
        return self._programs.mode

    @property
    def families(self) -> tuple[Family, ...]:
        """See :attr:`DataPlane.families`."""
        return self._families

    @property
    def repairs(self) -> tuple[str, ...]:
        """What :meth:`repair` would send to ipset, by the last :meth:`observe`."""
        return self._stray_lines

    def observe(self) -> Observed:
        """See :meth:`DataPlane.observe`."""
        return self.interpret(self.read())

    def read(self) -> Saved:
        """What the tools print of this host's sets and of the filter tables.

        Raises:
            KernelError: a tool is missing, failed or did not end.
        """
        sets = self._output(["ipset", "save"])
        return Saved(sets, {family: self._saved_filter(family) for family in self._families})

    def interpret(self, saved: Saved, known: Mapping[str, IPSet] = {}) -> Observed:
        """What is there of ours, by what :meth:`read` gave.

        The sets in ``known`` are not read again: whoever names them has seen that they are so. What
        :meth:`repair` and :meth:`remains` are about is known from here.
        """
        text = without_sets(saved.ipset, known) if known else saved.ipset
        sets = ipset_parse.parse_save(text)
        self._stray_lines = (
            *(f"del {each.set} {each.text} -exist" for each in sets.strays),
            *(f"destroy {name}" for name in sets.foreign),
        )
        self._remains = sets.cut
        observed = {
            family: _interpret_family(family, saved, sets, known)
            if family in self._families
            else ObservedFamily(family)
            for family in Family
        }
        return Observed(observed[Family.V4], observed[Family.V6])

    def counters(self, family: Family) -> Mapping[str, tuple[CountedRule, ...]]:
        """The rules of our chains and how many packets and bytes met each since it was written.

        Raises:
            KernelError: a tool is missing, failed or did not end.
        """
        return parse_counters(self._saved_filter(family, "-c"), family)

    def _saved_filter(self, family: Family, *options: str) -> str:
        argv = [self._programs.save(family), "-t", "filter", *options]
        text = self._output(argv)
        if "is incompatible, use 'nft' tool" in text:
            raise CommandFailed(argv, 0, "the filter table holds rules that iptables cannot read")
        return text

    def run(self, step: Step) -> None:
        """See :meth:`DataPlane.run`."""
        match step:
            case SetStep():
                self._restore_sets(render_set_step(self._present_families(step), emptied=True))
            case ChainStep():
                if step.family in self._families:
                    self._run_chains(step)
            case _:
                assert_never(step)

    def repair(self) -> int:
        """See :meth:`DataPlane.repair`.

        What cannot be removed is logged and tried again by the next call.
        """
        lines = [spec_words(line) for line in self._stray_lines]
        if lines:
            log.warning("removing from our sets what podwall never writes: %s", "; ".join(lines))
            self._stray_lines = tuple(self._send_sets(_text(lines), _leave_and_tell))
        return len(lines) - len(self._stray_lines)

    def remains(self) -> tuple[CutMember, ...]:
        """See :meth:`DataPlane.remains`."""
        return self._remains

    def release(self, members: Iterable[CutMember]) -> None:
        """See :meth:`DataPlane.release`."""
        released = sorted(members)
        for family in self._families:
            mine = [each for each in released if each.server.family is family]
            if mine:
                self._restore_sets(render_release(cut_set(family), mine))

    def read_remains(self) -> tuple[CutMember, ...]:
        """What is left of connections that were cut, as it is now.

        Raises:
            KernelError: ipset is missing, failed or did not end.
        """
        found: list[CutMember] = []
        for family in self._families:
            argv = ["ipset", "save", cut_set(family)]
            completed = self._call(argv, None)
            if completed.status == 0:
                found += ipset_parse.parse_save(completed.stdout).cut
            elif NO_SUCH_SET not in completed.stderr:
                check(argv, completed)
        return tuple(found)

    def connections(self, among: Collection[Address] | None = None) -> list[Connection]:
        """See :meth:`DataPlane.connections`."""
        if among is None:
            return parse_entries(self._output([*HELPER, "list"]), self._families)
        argv = [*HELPER, "among"]
        text = check(argv, self._call(argv, "".join(f"{each}\n" for each in sorted(among))))
        return parse_entries(text, self._families)

    def own_addresses(self) -> frozenset[Address]:
        """Every address of the host.

        Raises:
            KernelError: they cannot be read.
        """
        return host_addresses(self._runner)

    def in_other_mode(self) -> KernelDataPlane:
        """The same host by the programs of the other iptables mode.

        Raises:
            ToolMissing: the host has none of that mode.
        """
        return KernelDataPlane(
            self._runner,
            find_programs(self._runner, self.mode.other),
            self._families,
            lock_seconds=self._lock_seconds,
            timeout=self._timeout,
        )

    def cut(self, connections: Iterable[Connection]) -> int:
        """See :meth:`DataPlane.cut`."""
        doomed = list(connections)
        for family in self._families:
            if members := cut_members(doomed, family):
                self._restore_sets(render_cut(cut_set(family), members))
        argv = [*HELPER, "delete"]
        handles = "\n".join(each.handle for each in doomed)
        return int(check(argv, self._call(argv, handles)))

    def _present_families(self, step: SetStep) -> SetStep:
        """``step`` without the sets of families that the host does not have."""
        if len(self._families) == len(Family):
            return step
        prefixes = tuple(f"PW{family.value}-" for family in self._families)
        return SetStep(
            create=tuple(each for each in step.create if each.name.startswith(prefixes)),
            add=tuple(each for each in step.add if each.set.name.startswith(prefixes)),
            delete=tuple(each for each in step.delete if each.set.name.startswith(prefixes)),
            destroy=tuple(each for each in step.destroy if each.startswith(prefixes)),
        )

    def _run_chains(self, step: ChainStep) -> None:
        """Run a step in one transaction; where the kernel takes none that long, in several."""
        try:
            self._restore_chains(step.family, render_chain_step(step))
        except BatchRefused as error:
            if TOO_LONG not in error.stderr:
                raise
            parts = split_step(step, chains_in_force(self._saved_filter(step.family)))
            if len(parts) == 1:
                raise
            log.info("a batch of %d chains is too long, sent in %d", len(step.replace), len(parts))
            for part in parts:
                self._restore_chains(step.family, render_chain_step(part))

    def _restore_chains(self, family: Family, text: str) -> None:
        """Send a batch; a chain that another program's rule still leads to is emptied and kept."""
        argv = [self._programs.restore(family), "--noflush"]
        if self.mode is Mode.LEGACY:
            argv += ["-w", str(self._lock_seconds)]
        while True:
            completed = self._call(argv, text)
            if completed.status == 0:
                return
            error = batch_error(argv, completed, text, self._lock_seconds)
            line = _line_of(error)
            if not line.startswith("-X "):
                raise error
            log.warning("chain %s is empty but stays: another rule leads to it", line[3:])
            text = text.replace(f"\n{line}\n", "\n")

    def _restore_sets(self, text: str) -> None:
        """Send a batch; sets that cannot be destroyed yet are tried again, then left."""
        busy = self._send_sets(text, _is_busy)
        for seconds in RETRY_PAUSES:
            if not busy:
                return
            time.sleep(seconds)
            busy = self._send_sets(_text(busy), _is_busy)
        if busy:
            log.warning("sets stay because a rule names them: %s", ", ".join(busy))

    def _send_sets(self, text: str, is_left: Callable[[str, str], bool]) -> list[str]:
        """Send a batch to its end; the refused lines that may be left are handed back.

        ``is_left`` is asked about each, with what ipset said; any other is raised.
        """
        argv = ["ipset", "restore"]
        left: list[str] = []
        while text:
            completed = self._call(argv, text)
            if completed.status == 0:
                break
            error = batch_error(argv, completed, text, self._lock_seconds)
            line = _line_of(error)
            if not line or not is_left(line, completed.stderr):
                raise error
            left.append(line)
            text = text.split(f"{line}\n", 1)[1]
        return left

    def _output(self, argv: Sequence[str]) -> str:
        return check(argv, self._call(argv, None))

    def _call(self, argv: Sequence[str], text: str | None) -> Completed:
        return self._runner.run(argv, input=text, timeout=self._timeout)


def _interpret_family(
    family: Family, saved: Saved, sets: ipset_parse.SavedSets, known: Mapping[str, IPSet]
) -> ObservedFamily:
    chains = iptables_parse.parse_save(saved.tables[family], family)
    present = sets.of_family(family)
    present.update((name, each) for name, each in known.items() if each.family is family)
    return ObservedFamily(family, present, chains.chains, chains.hooks)


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _is_busy(line: str, said: str) -> bool:
    """Whether a set could not be destroyed because it is in use."""
    return line.startswith("destroy ") and IN_USE in said


def _leave_and_tell(line: str, said: str) -> bool:
    log.warning("%r is left for later: %s", line, said.strip())
    return True


def _line_of(error: KernelError) -> str:
    """The line that a refusal blames, or nothing."""
    if not isinstance(error, BatchRefused) or error.line is None:
        return ""
    return error.text.split("\n")[error.line - 1]


def open_kernel(
    runner: Runner,
    mode: Mode | None = None,
    lock_seconds: int = LOCK_SECONDS,
    timeout: float = DEFAULT_TIMEOUT,
) -> KernelDataPlane:
    """Find out what the host has, and make a driver for it.

    Args:
        runner: starts the programs, in the network namespace that is meant.
        mode: the iptables mode; found out from the host where it is not given.
        lock_seconds: how long legacy programs wait for the xtables lock.
        timeout: seconds that any program may take.

    Raises:
        ToolMissing: iptables, ip6tables or ipset is not installed.
        KernelError: a tool failed or did not end.
    """
    chosen = mode or detect_mode(runner)
    programs = find_programs(runner, chosen)
    families = _families(runner)
    notes = []
    if Family.V6 not in families:
        notes.append("this host has no IPv6: nothing is enforced for it")
    strays = chains_in(runner, chosen.other)
    if strays:
        more = f" and {len(strays) - 3} more" if len(strays) > 3 else ""
        notes.append(
            f"chains of ours are in iptables' {chosen.other.value} mode too "
            f"({', '.join(strays[:3])}{more}): packets meet them as well as those of "
            f"{chosen.value} mode; remove them with podwall cleanup --mode {chosen.other.value}"
        )
    for note in notes:
        log.warning(note)
    return KernelDataPlane(runner, programs, families, notes, strays, lock_seconds, timeout)


def open_kernels(
    runner: Runner, lock_seconds: int = LOCK_SECONDS, timeout: float = DEFAULT_TIMEOUT
) -> tuple[KernelDataPlane, ...]:
    """A driver for each mode that holds chains of ours: to remove every trace of them.

    Where there are none, the one for the mode that the host uses, since sets may be left. Modes
    whose programs are missing are left out.

    Raises:
        ToolMissing: there is no iptables at all.
        KernelError: a tool failed or did not end.
    """
    modes = [mode for mode in Mode if chains_in(runner, mode)] or [detect_mode(runner)]
    families = _families(runner)
    return tuple(
        KernelDataPlane(
            runner, find_programs(runner, mode), families, (), (), lock_seconds, timeout
        )
        for mode in modes
    )


def _families(runner: Runner) -> tuple[Family, ...]:
    """The families that the kernel speaks; where it does, missing tools are an error, not a no."""
    if runner.run(["test", "-e", "/proc/net/if_inet6"]).status == 0:
        return tuple(Family)
    # Without a /proc that is ours IPv6 would look missing, and be left open.
    if runner.run(["test", "-e", "/proc/net/dev"]).status != 0:
        raise KernelError("/proc/net is not there, so nothing tells whether this host has IPv6")
    return (Family.V4,)
