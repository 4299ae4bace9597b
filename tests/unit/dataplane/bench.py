"""A data path with the tools beside it, so that a test can also be "another program".

It works on any runner, so the same tests run on the fake kernel and on real ones.
"""

from __future__ import annotations

from podwall.dataplane.command import Completed, Runner, check
from podwall.dataplane.iptables.mode import Mode, Programs
from podwall.dataplane.kernel import KernelDataPlane, open_kernel
from podwall.model.net import Family


class Bench:
    """One kernel in one mode: ``dataplane`` is podwall's way to it, the rest is other people's."""

    def __init__(self, runner: Runner, mode: Mode) -> None:
        self.runner = runner
        self.mode = mode
        self.programs = Programs(mode, mode.value)
        self.dataplane: KernelDataPlane = open_kernel(runner, mode, lock_seconds=1)

    def restore(self, family: Family, *lines: str) -> None:
        """Send lines for the filter table as another program would."""
        text = "\n".join(["*filter", *lines, "COMMIT", ""])
        argv = [self.programs.restore(family), "--noflush"]
        check(argv, self.runner.run(argv, input=text))

    def rules(self, family: Family) -> list[str]:
        """The filter table as the tool prints it, without comments."""
        argv = [self.programs.save(family), "-t", "filter"]
        lines = check(argv, self.runner.run(argv)).splitlines()
        return [line for line in lines if not line.startswith("#")]

    def ipset(self, *lines: str) -> Completed:
        """Send lines to ipset as another program would."""
        return self.runner.run(["ipset", "restore"], input="".join(f"{each}\n" for each in lines))

    def sets(self) -> list[str]:
        """All sets as ipset prints them, sorted, without what is random or counts down."""
        lines = check(["ipset", "save"], self.runner.run(["ipset", "save"])).splitlines()
        return sorted(line.partition(" bucketsize")[0] for line in lines)
