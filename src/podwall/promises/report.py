"""What came of promises: lines for people, plain values for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from podwall.promises.judging import Breach, Judgement


def summary(judgement: Judgement) -> str:
    """What came of a promise, in a few words: ``3 of 20 pairs are denied``."""
    if judgement.fault:
        return judgement.fault
    pairs = "1 pair" if judgement.pairs == 1 else f"{judgement.pairs} pairs"
    if judgement.kept:
        return pairs
    verdict = judgement.breaches[0].verdict.value
    if judgement.pairs == 1:
        return f"it is {verdict}"
    are = "is" if judgement.broken == 1 else "are"
    return f"{judgement.broken} of {pairs} {are} {verdict}"


def failure_lines(judgement: Judgement) -> Iterator[str]:
    """What to know of a broken promise, beginning with what was promised."""
    promise = judgement.promise
    yield f"promised: {promise.question} is {promise.expect.value}"
    yield f"but {summary(judgement)}"
    for each in judgement.breaches:
        yield f"  {each}"
        for reason in each.why:
            yield f"    {reason}"
    more = judgement.broken - len(judgement.breaches)
    if more > 0:
        yield f"  and {more} more"


def to_dict(judgement: Judgement) -> dict[str, object]:
    """A promise and what came of it, as ``-o json`` prints it."""
    promise = judgement.promise
    return {
        "name": promise.name,
        "file": promise.place.file,
        "line": promise.place.line,
        "from": str(promise.source),
        "to": str(promise.target),
        "ports": list(map(str, promise.services)),
        "expect": promise.expect.value,
        "kept": judgement.kept,
        "pairs": judgement.pairs,
        "broken": judgement.broken,
        "fault": judgement.fault or None,
        "examples": list(map(_breach_dict, judgement.breaches)),
    }


def count_line(judgements: Sequence[Judgement]) -> str:
    """How many promises were kept: the last line of a report."""
    broken = sum(not each.kept for each in judgements)
    promises = "1 promise" if len(judgements) == 1 else f"{len(judgements)} promises"
    pairs = sum(each.pairs for each in judgements)
    asked = "1 pair" if pairs == 1 else f"{pairs} pairs"
    if not broken:
        return f"{promises} kept, {asked} asked"
    return f"{promises}, {broken} broken, {asked} asked"


def _breach_dict(breach: Breach) -> dict[str, object]:
    return {
        "from": breach.source,
        "to": breach.target,
        "port": breach.service,
        "addresses": [str(breach.flow.src), str(breach.flow.dst)],
        "verdict": breach.verdict.value,
        "why": list(breach.why),
    }
