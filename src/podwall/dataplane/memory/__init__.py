"""A kernel in memory that takes the same texts as the real tools and enforces the same rules.

It stands in for programs, not for the driver: :class:`MemoryKernel` is a
:class:`~podwall.dataplane.command.Runner`, so the real driver, its renderers and its parsers all
run on it. It passes the driver's own test-suite, which runs on real kernels as well. What it is
not: it moves no packets, and of rules it knows only what they refer to.
"""

from podwall.dataplane.memory.kernel import MemoryKernel, memory_dataplane

__all__ = ["MemoryKernel", "memory_dataplane"]
