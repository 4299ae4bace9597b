"""What every data path can do: show what it holds, run a step, and cut connections.

The driver of the real kernel and the fake one in memory both do it; what enforces a ruleset knows
only this. A data path for one family alone is a normal thing: a host may have no IPv6.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

import msgspec

from podwall.dataplane.ipset.render import CutMember
from podwall.model.flow import Flow
from podwall.model.net import Address, Family
from podwall.ruleset.plan import Observed, Step


class Connection(msgspec.Struct, frozen=True):
    """A tracked connection.

    ``flow`` is what policies judge: from the client's own address to the server that DNAT chose,
    with the server's port (S31). ``handle`` names exactly this entry to the data path.
    """

    flow: Flow
    handle: str


class DataPlane(Protocol):
    """A kernel, as far as podwall is concerned."""

    @property
    def families(self) -> tuple[Family, ...]:
        """The address families that there are; steps and sets of others have no effect."""
        ...

    def observe(self) -> Observed:
        """Read what is there of ours.

        Raises:
            KernelError: a tool is missing, failed or did not end.
        """
        ...

    def run(self, step: Step) -> None:
        """Run one step of a plan.

        Raises:
            BatchRefused: the kernel or its tool refuses a line. A chain step then changed nothing;
                of a set step the lines before may stay.
            LockTimeout: another program held the xtables lock; nothing was changed.
            KernelError: a tool is missing, failed or did not end.
        """
        ...

    def repair(self) -> int:
        """Remove from sets of ours what podwall never puts there; how many things it removed.

        Such things are no part of :class:`~podwall.ruleset.plan.Observed`, which has no words for
        them: they are known from the last :meth:`observe`. What cannot be removed stays for the
        next call.

        Raises:
            KernelError: a tool is missing, failed for no line's sake or did not end.
        """
        ...

    def remains(self) -> Sequence[CutMember]:
        """What is left of connections that were cut, as the last :meth:`observe` saw it."""
        ...

    def release(self, members: Iterable[CutMember]) -> None:
        """Stop refusing what is left of these connections.

        Raises:
            KernelError: the set of cut connections cannot be changed.
        """
        ...

    def connections(self, among: Collection[Address] | None = None) -> Sequence[Connection]:
        """The tracked connections of the families that there are.

        With ``among`` only those that have one of these addresses at an end; perhaps some more.

        Raises:
            KernelError: the connection tracking table cannot be read.
        """
        ...

    def cut(self, connections: Iterable[Connection]) -> int:
        """End connections so that neither side can go on with them; how many there still were.

        Raises:
            KernelError: the set of cut connections or the table cannot be changed.
        """
        ...
