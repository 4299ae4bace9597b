"""Files in, objects out: YAML and JSON manifests, workloads, and what is wrong with them.

:func:`load` reads everything it is given and reports all mistakes of a run at once, each as
``file:line: Kind ns/name: spec.path: what, what was expected``.
"""

from __future__ import annotations

from podwall.manifest.diagnostic import Diagnostic, UnusableInput
from podwall.manifest.loader import load
from podwall.manifest.manifests import Manifests, Origin
from podwall.model.decode import Severity

__all__ = ["Diagnostic", "Manifests", "Origin", "Severity", "UnusableInput", "load"]
