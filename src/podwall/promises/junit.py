"""Promises as a JUnit report: the XML that CI systems show tests from.

The form is that of Ant's and Jenkins' schema: a ``testsuite`` for each file of expectations, a
``testcase`` for each promise, a ``failure`` in those that are broken. XML cannot carry control
characters at all, so what is no text there is escaped as in other messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from podwall.model.decode import escaped
from podwall.promises.judging import Judgement
from podwall.promises.report import failure_lines, summary

SUITE = "podwall test"
"""The name of the report."""

Lines = Callable[[Judgement], Sequence[str]]


def render_junit(
    judgements: Sequence[Judgement],
    proofs: Mapping[int, Sequence[str]] = {},
    seconds: float = 0.0,
) -> str:
    """The report as XML.

    ``proofs`` holds, by index of the judgement, what real packets did against expectation;
    ``seconds`` is how long all of it took.
    """
    failed = sum(not each.kept or bool(proofs.get(i)) for i, each in enumerate(judgements))
    root = Element("testsuites", _counts(SUITE, len(judgements), failed, seconds))
    for file in dict.fromkeys(each.promise.place.file for each in judgements):
        inside = [(i, each) for i, each in enumerate(judgements) if each.promise.place.file == file]
        bad = sum(not each.kept or bool(proofs.get(i)) for i, each in inside)
        suite = SubElement(root, "testsuite", _counts(_text(file), len(inside), bad, 0.0))
        for index, judgement in inside:
            _add_case(suite, judgement, proofs.get(index, ()))
    indent(root)
    body: str = tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def _counts(name: str, tests: int, failures: int, seconds: float) -> dict[str, str]:
    return {
        "name": name,
        "tests": str(tests),
        "failures": str(failures),
        "errors": "0",
        "time": f"{seconds:.3f}",
    }


def _add_case(suite: Element, judgement: Judgement, proof: Sequence[str]) -> None:
    place = judgement.promise.place
    case = SubElement(
        suite,
        "testcase",
        {"name": _text(judgement.promise.name), "classname": _text(place.file), "time": "0.000"},
    )
    if judgement.kept and not proof:
        return
    message = summary(judgement) if not judgement.kept else proof[0]
    failure = SubElement(case, "failure", {"message": _text(message), "type": "broken promise"})
    lines = [f"{place}: {judgement.promise.name}"]
    if not judgement.kept:
        lines += failure_lines(judgement)
    failure.text = "\n".join(map(_text, (*lines, *proof)))


def _text(text: str) -> str:
    return text if text.isprintable() else escaped(text)
