"""What all tests share: how hypothesis searches.

Examples have no deadline, since a shared machine has slow moments. ``HYPOTHESIS_PROFILE=thorough``
searches ten times as long, for nights and for changes of the oracle or the compiler.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("default", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
