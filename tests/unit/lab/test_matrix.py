"""The matrix as data, grouped, and as text."""

from __future__ import annotations

import io

import msgspec
from rich.console import Console

from podwall.cluster.snapshot import build_snapshot
from podwall.lab.grouping import ALLOWED, DENIED, DIFFERENT, group
from podwall.lab.matrix import Matrix, build_matrix, changes
from podwall.lab.report import render_changes, render_matrix
from podwall.lab.topology import Outcome, Probe, Shape, all_probes, plan_topology
from podwall.model.net import Family, Protocol
from tests.builders import node, pod

ANSWERED, SILENT = Outcome.ANSWERED, Outcome.SILENT


def probes(pods: int, families: tuple[Family, ...] = (Family.V4,)) -> list[Probe]:
    snapshot = build_snapshot(
        pods=[
            pod(
                f"default/web-{n}",
                f"10.244.1.{n + 2}",
                f"fd00::{n + 2:x}",
                node="n1",
                ports=["80/tcp"],
            )
            for n in range(pods)
        ],
        nodes=[node("n1", "192.168.88.1", "fd00:88::1")],
    )
    return list(all_probes(plan_topology(snapshot, Shape(families=families))))


def matrix_of(asked: list[Probe], **outcomes: Outcome) -> Matrix:
    """All answered as expected but for ``outcomes``, by ``SRC_DST_SERVICE`` of pod numbers."""

    def key(probe: Probe) -> str:
        src, dst = (each.name.rpartition("-")[2] for each in (probe.src, probe.dst))
        return f"_{src}_{dst}_{'icmp' if probe.port is None else probe.port}"

    found = [outcomes.get(key(probe), ANSWERED) for probe in asked]
    return build_matrix(asked, [True] * len(asked), found)


def text_of(matrix: Matrix, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render_matrix(matrix, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_matrix_agrees_if_everything_happened_as_expected():
    asked = probes(2)
    assert matrix_of(asked).agrees
    different = matrix_of(asked, _0_1_80=SILENT)
    assert not different.agrees
    assert [different.key(cell) for cell in different.differences] == [
        ("default/web-0", "default/web-1", 4, "80/tcp")
    ]


def test_an_answer_from_somebody_else_is_a_difference_even_where_one_was_expected():
    assert len(matrix_of(probes(2), _0_1_80=Outcome.MISDIRECTED).differences) == 1


def test_a_refused_connection_did_not_get_through():
    asked = probes(2)
    matrix = build_matrix(asked, [False] * len(asked), [Outcome.REFUSED] * len(asked))
    assert matrix.agrees


def test_the_plain_form_names_both_ends_and_both_verdicts():
    plain = matrix_of(probes(2), _0_1_80=SILENT).to_dict()
    assert plain["differences"] == 1
    assert isinstance(plain["cells"], list)
    assert {
        "source": "default/web-0",
        "destination": "default/web-1",
        "family": "ipv4",
        "protocol": "tcp",
        "port": 80,
        "expected": "allowed",
        "happened": "denied",
        "outcome": "silent",
        "differs": True,
    } in plain["cells"]


def test_changes_are_the_questions_that_are_answered_otherwise():
    asked = probes(2)
    before, after = matrix_of(asked), matrix_of(asked, _0_1_icmp=SILENT)
    (change,) = changes(before, after)
    assert (change.src, change.dst, change.service) == ("default/web-0", "default/web-1", "icmp")
    assert (change.before, change.after) == (True, False)
    assert not changes(after, after)


def test_questions_that_only_one_matrix_asks_are_no_changes():
    assert not changes(matrix_of(probes(2)), matrix_of(probes(3), _2_0_80=SILENT))


def test_pods_that_are_alike_share_a_column_and_a_row():
    grid = group(matrix_of(probes(5)))
    assert [len(each.members) for each in grid.sources] == [5, 1, 1]
    assert [len(each.members) for each in grid.targets] == [5, 1, 1]


def test_one_different_answer_sets_its_source_and_its_destination_apart():
    matrix = matrix_of(probes(5), _0_3_80=SILENT)
    grid = group(matrix)
    columns = [[matrix.parties[each].name for each in one.members] for one in grid.sources[:2]]
    assert columns == [["default/web-0"], [f"default/web-{n}" for n in (1, 2, 3, 4)]]
    row = next(i for i, one in enumerate(grid.targets) if len(one.members) == 1)
    assert grid.rows(row) == [
        (("80/tcp",), {0: DIFFERENT, 1: ALLOWED, 2: ALLOWED, 3: ALLOWED}),
        (("icmp",), {0: ALLOWED, 1: ALLOWED, 2: ALLOWED, 3: ALLOWED}),
    ]


def test_what_only_one_family_lets_through_is_marked_so():
    asked = probes(2, (Family.V4, Family.V6))
    v4_only = [probe.family is Family.V4 for probe in asked]
    outcomes = [ANSWERED if wanted else SILENT for wanted in v4_only]
    grid = group(build_matrix(asked, v4_only, outcomes))
    marks = {mark for each in grid.targets for mark in each.answers.values()}
    # The hosts outside have one family each: the IPv6 one reaches nobody.
    assert marks == {"4", ALLOWED, DENIED}


def test_the_text_names_everybody_and_sums_up():
    text = text_of(matrix_of(probes(3), _0_1_80=SILENT))
    assert "default/web-0" in text
    assert "default/web-{" in text or "default/web-1" in text
    assert "anywhere else" in text
    assert "expected allowed, but it was silent" in text
    assert "1 not as expected" in text


def test_the_text_of_an_agreeing_matrix_has_no_cross_but_in_its_legend():
    text = text_of(matrix_of(probes(3)))
    assert text.count(DIFFERENT) == 1
    assert "all as expected" in text


def test_a_wide_matrix_is_continued_below_and_never_wider_than_the_terminal():
    asked = probes(12)
    outcomes = [
        SILENT
        if probe.src.name.rpartition("-")[2] == probe.dst.name.rpartition("-")[2]
        else ANSWERED
        for probe in asked
    ]
    # Every pod is denied by another neighbour, so that no two are alike.
    denied = {(n, (n + 1) % 12) for n in range(12)}
    expected = []
    for index, probe in enumerate(asked):
        ends = tuple(each.name.rpartition("-")[2] for each in (probe.src, probe.dst))
        pair = tuple(int(end) for end in ends if end.isdecimal())
        outcomes[index] = SILENT if pair in denied else ANSWERED
        expected.append(pair not in denied)
    text = text_of(build_matrix(asked, expected, outcomes), width=80)
    assert text.count("to ↓  from →") > 1
    assert max(map(len, text.splitlines())) <= 80


def test_a_text_for_no_terminal_has_no_colour():
    assert "\x1b" not in text_of(matrix_of(probes(2), _0_1_80=SILENT))


def test_names_are_printed_as_they_are_whatever_they_hold():
    matrix = matrix_of(probes(2), _0_1_80=SILENT)
    first = msgspec.structs.replace(matrix.parties[0], name="default/[/red]x[bold]")
    strange = msgspec.structs.replace(matrix, parties=(first, *matrix.parties[1:]))
    assert text_of(strange).count("default/[/red]x[bold]") >= 3


def test_an_empty_matrix_says_so():
    assert "nothing was probed" in text_of(Matrix((), ()))


def test_changes_are_told_in_words():
    asked = probes(2)
    found = changes(matrix_of(asked, _0_1_80=SILENT), matrix_of(asked, _1_0_icmp=SILENT))
    console = Console(file=io.StringIO(), width=100)
    console.print(render_changes(found))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "default/web-0 → default/web-1 80/tcp: now allowed" in text
    assert "default/web-1 → default/web-0 icmp: now denied" in text
    assert "2 answers changed: 1 now allowed, 1 now denied" in text


def test_icmp_is_one_service_in_both_families():
    asked = probes(2, (Family.V4, Family.V6))
    protocols = {probe.protocol for probe in asked if probe.port is None}
    assert protocols == {Protocol.ICMP, Protocol.ICMPV6}
    assert {cell.service for cell in matrix_of(asked).cells} == {"80/tcp", "icmp"}
