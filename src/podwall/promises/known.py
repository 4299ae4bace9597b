"""Fields that nobody knows are errors here."""

from __future__ import annotations

import itertools

from podwall.model.decode import Path, Problems, near_miss
from podwall.model.decode.fields import Data

_MOST = 256


def refuse_unknown(data: Data, known: tuple[str, ...], path: Path, problems: Problems) -> None:
    """Note every field that is none of ``known``, and which of them may be meant."""
    for field in itertools.islice(data, _MOST):
        if field not in known:
            meant = near_miss(field, known)
            hint = f"did you mean {meant}?" if meant else f"known are {', '.join(known)}"
            problems.error((*path, field), "unknown field", hint)
