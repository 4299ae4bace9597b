"""What becomes of the pairs of workloads when policies are enforced: which ports close, which open.

This is about pods and nodes, one line a pair, for the end of a report. Whoever wants to know more
of a change asks ``podwall whatif``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.explain.matrix import compute_matrix, parties_of
from podwall.explain.reach import Reach, either, minus
from podwall.model.policy import Mode
from podwall.model.settings import Settings


class Shift(msgspec.Struct, frozen=True):
    """What of one workload another can reach now and could not before, or the other way round.

    ``whole`` says that nothing is left, or that there was nothing before.
    """

    source: str
    target: str
    reach: Reach
    whole: bool

    def __str__(self) -> str:
        return f"{self.source} → {self.target}: {self.reach}"


class Changes(msgspec.Struct, frozen=True):
    """What closes and what opens, in the order of the matrix, and how many pairs were compared."""

    closes: tuple[Shift, ...]
    opens: tuple[Shift, ...]
    pairs: int


def compare(
    before: Snapshot,
    after: Snapshot,
    settings: Settings = Settings(),
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Changes:
    """Compare two states of the policies of one cluster, workload by workload."""
    old = compute_matrix(before, parties_of(before, True), settings, progress)
    new = compute_matrix(after, parties_of(after, True), settings, progress)
    closes: dict[tuple[str, str], Shift] = {}
    opens: dict[tuple[str, str], Shift] = {}
    pairs: set[tuple[str, str]] = set()
    for one, other in zip(old.cells, new.cells, strict=True):
        if not one.reaches:
            continue  # A pod and itself.
        pair = one.source, one.target
        pairs.add(pair)
        was, now = either(one.reaches), either(other.reaches)
        _note(closes, pair, minus(was, now), whole=now.nothing)
        _note(opens, pair, minus(now, was), whole=was.nothing)
    return Changes(tuple(closes.values()), tuple(opens.values()), len(pairs))


def _note(
    shifts: dict[tuple[str, str], Shift], pair: tuple[str, str], reach: Reach, *, whole: bool
) -> None:
    """Add what shifts in one family; two families of a pair are one line."""
    if reach.nothing:
        return
    known = shifts.get(pair)
    if known is None:
        shifts[pair] = Shift(*pair, reach, whole)
    else:
        shifts[pair] = Shift(*pair, either((known.reach, reach)), known.whole and whole)


def enforced(snapshot: Snapshot) -> Snapshot:
    """The same cluster with every audited policy enforced."""
    policies = {
        key: msgspec.structs.replace(policy, mode=Mode.ENFORCE)
        for key, policy in snapshot.policies.items()
    }
    return msgspec.structs.replace(snapshot, policies=policies)


def whole_pairs(shifts: Iterable[Shift]) -> int:
    """Of how many pairs everything shifts."""
    return sum(each.whole for each in shifts)
