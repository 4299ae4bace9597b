"""The conformance suite on the real kernel, by real packets, in labs of network namespaces.

Every case is a test of its own, but they share a few labs, which work through all cases of the
session side by side from the moment that the first result is asked for. ``PODWALL_CONFORMANCE=all``
runs every case in every kind of lab; otherwise iptables in nf_tables mode with routed pods, the
most usual, has all core cases, and the other kinds one of everything.

``PODWALL_CONFORMANCE_LABS`` is how many labs of the first kind there are (4); of the others there
are half as many. Labs mostly wait, so more of them than processors pay. Under pytest-xdist each of
its workers has one lab of each kind, and runs just the cases that it is given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conformance.case import Case, single
from tests.conformance.cases import CORE
from tests.conformance.fleet import KINDS, OPEN, ROUTED_NFT, Fleet, Kind, cases_for, story
from tests.conformance.kernel_lab import Miss, Report

pytestmark = pytest.mark.kernel

EVERYTHING = os.environ.get("PODWALL_CONFORMANCE", "core") == "all"
LABS = int(os.environ.get("PODWALL_CONFORMANCE_LABS", "4"))
UNDER_XDIST = "PYTEST_XDIST_WORKER" in os.environ


class Fleets:
    """The fleets of this session, each started when it is first needed."""

    def __init__(self, stack: ExitStack, wanted: dict[Kind, list[Case]]) -> None:
        self._stack = stack
        self._wanted = wanted
        self._fleets: dict[Kind, Fleet] = {}

    def report(self, kind: Kind, case: Case) -> Report:
        if kind not in self._fleets:
            labs = LABS if kind == ROUTED_NFT else (LABS + 1) // 2
            fleet = self._stack.enter_context(Fleet(kind, 1 if UNDER_XDIST else labs))
            self._fleets[kind] = fleet
            if not UNDER_XDIST:
                fleet.submit(self._wanted.get(kind, ()))
        return self._fleets[kind].report(case)


@pytest.fixture(scope="module")
def fleets(request: pytest.FixtureRequest) -> Iterator[Fleets]:
    wanted: dict[Kind, list[Case]] = {}
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.originalname == KERNEL_TEST:
            kind, case = item.callspec.params["kind"], item.callspec.params["case"]
            assert isinstance(kind, Kind)
            assert isinstance(case, Case)
            wanted.setdefault(kind, []).append(case)
    with ExitStack() as stack:
        yield Fleets(stack, wanted)


@pytest.mark.parametrize(
    ("kind", "case"),
    [
        pytest.param(kind, case, id=f"{kind}-{case.name}")
        for kind in KINDS
        for case in cases_for(kind, EVERYTHING)
    ],
)
def test_the_kernel_meets_every_expectation(fleets: Fleets, kind: Kind, case: Case) -> None:
    report = fleets.report(kind, case)
    if report.error or report.misses:
        pytest.fail(story(case, report), pytrace=False)


KERNEL_TEST = test_the_kernel_meets_every_expectation.__name__

CLOSING = [
    case
    for case in CORE
    if case.name.startswith(("types/", "ports/ingress-number", "blocks/egress-v6-except"))
    and any(not each.allowed for step in case.steps for each in step.expect)
]


@pytest.mark.parametrize("case", CLOSING, ids=lambda case: case.name)
def test_without_enforcement_whatever_should_be_closed_is_missed(
    fleets: Fleets, case: Case
) -> None:
    """The suite can fail: in a lab whose nodes are not programmed exactly the closed is missed."""
    report = fleets.report(OPEN, case)
    assert not report.error
    assert set(report.misses) == {
        Miss(number, index, "answered")
        for number, step in enumerate(case.steps)
        for index, each in enumerate(step.expect)
        if not each.allowed
    }


def test_a_lab_says_so_when_it_cannot_run_a_case(fleets: Fleets) -> None:
    report = fleets.report(OPEN, single("no/such-case", "S1", ()))
    assert "no/such-case" in report.error


def test_a_failure_is_told_with_sentence_and_explanation() -> None:
    case = next(case for case in CORE if case.name == "types/no-types-no-rules")
    closed = next(i for i, each in enumerate(case.steps[0].expect) if not each.allowed)
    text = story(case, Report((Miss(0, closed, "answered"),)))
    assert f"expected that {case.steps[0].expect[closed]}, but it was answered" in text
    assert "types/no-types-no-rules (S4 S6)" in text
    assert "isolated by red/p" in text
    assert "The way through the kernel" in text


def test_every_kind_of_lab_has_enough_cases() -> None:
    counts = {str(kind): len(cases_for(kind, everything=False)) for kind in KINDS}
    assert counts["nft-routed"] >= 600
    assert min(counts["legacy-routed"], counts["nft-bridge"]) >= 120
    assert counts["legacy-bridge"] >= 15
    clauses = {clause for case in CORE for clause in case.clauses}
    for kind in KINDS[:-1]:
        assert clauses == {each for case in cases_for(kind, False) for each in case.clauses}
