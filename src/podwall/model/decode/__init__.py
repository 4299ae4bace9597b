"""Plain data in, model values out: the one place where API defaults are filled in (S9).

Each ``decode_*`` function takes what a YAML or JSON parser or the API server gave and returns a
:class:`Decoded`: the value, and every problem that was found on the way. None of them raises for
bad content, and none gives up at the first mistake. What cannot be understood is left out in the
direction that is closed (S10): a policy that is half nonsense still isolates, and its nonsense
allows nothing. Unknown fields are dropped as an API server prunes them, with a warning.

Messages are bounded and free of control characters whatever the input holds, and so are the names
of the values, so that both can be printed as they are.
"""

from __future__ import annotations

from podwall.model.decode.fields import Data, mapping
from podwall.model.decode.meta import decode_labels, decode_name, decode_namespace_of, metadata
from podwall.model.decode.names import near_miss, printable_name
from podwall.model.decode.node import decode_namespace, decode_node, make_namespace
from podwall.model.decode.pod import decode_pod, owning_workload
from podwall.model.decode.policy import decode_policy
from podwall.model.decode.problem import (
    Decoded,
    Path,
    Problem,
    Problems,
    Severity,
    describe,
    escaped,
    path_text,
    shown,
)
from podwall.model.decode.selectors import decode_selector

__all__ = [
    "Data",
    "Decoded",
    "Path",
    "Problem",
    "Problems",
    "Severity",
    "decode_labels",
    "decode_name",
    "decode_namespace",
    "decode_namespace_of",
    "decode_node",
    "decode_pod",
    "decode_policy",
    "decode_selector",
    "describe",
    "escaped",
    "make_namespace",
    "mapping",
    "metadata",
    "near_miss",
    "owning_workload",
    "path_text",
    "printable_name",
    "shown",
]
