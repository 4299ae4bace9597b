"""What a question to the reconciler gets to see."""

from __future__ import annotations

import msgspec

from podwall.dataplane.kernel import KernelDataPlane
from podwall.errors import KernelError
from podwall.model.settings import Settings
from podwall.ruleset.live import LiveNode
from podwall.ruleset.plan import Observed


class Picture(msgspec.Struct, frozen=True):
    """The reconciler's state between two batches; nothing of it may be kept or changed.

    ``live`` is ``None`` until the cluster was seen in full, ``dataplane`` until the tools of the
    host were found.
    """

    node: str
    settings: Settings
    live: LiveNode | None
    dataplane: KernelDataPlane | None

    def observe(self) -> Observed:
        """What the kernel holds of ours now.

        Raises:
            KernelError: the kernel cannot be read.
        """
        if self.dataplane is None:
            raise KernelError("the tools that write this host's rules were not found yet")
        return self.dataplane.observe()
