"""What is kept of denials, and what each question gets of it."""

from __future__ import annotations

from pathlib import Path

from podwall.agent.control.answers import AuditedFlow, AuditedPolicy, DropPair
from podwall.agent.denied.auditing import AuditLedger
from podwall.agent.denied.record import MOST_PAIRS, Record
from podwall.ruleset.ir import LogKind
from tests.builders import policy
from tests.unit.agent.denied.making import named

A, B = policy("dev/a"), policy("dev/b")


def record(directory: Path) -> Record:
    found = Record(AuditLedger(directory / "audit.json", lambda: 100.0))
    found.load()
    return found


def test_denials_are_counted_by_pair_and_kind(tmp_path: Path) -> None:
    kept = record(tmp_path)
    kept.add([named(when=5.0), named(when=9.0), named("dev/far", when=7.0)])
    kept.add([named(when=8.0, kind=LogKind.AUDIT)])
    rest = ("dev/db", "80/tcp", "ingress")
    assert kept.pairs() == (
        (
            DropPair("deny", "dev/web", *rest, 2, 5.0, 9.0),
            DropPair("deny", "dev/far", *rest, 1, 7.0, 7.0),
            DropPair("audit", "dev/web", *rest, 1, 8.0, 8.0),
        ),
        0,
    )
    assert (kept.count(LogKind.DENY), kept.count(LogKind.AUDIT)) == (3, 1)
    assert len(kept.ring) == 4


def test_a_scan_of_many_ends_is_bounded_and_what_is_left_out_is_summed_up(tmp_path: Path) -> None:
    kept = record(tmp_path)
    kept.add([named(f"10.0.0.{number}") for number in range(MOST_PAIRS + 7)])
    pairs, forgotten = kept.pairs()
    assert (len(pairs), forgotten) == (MOST_PAIRS, 7)


def test_a_flow_stands_under_each_of_the_policies_that_would_deny_it_together(
    tmp_path: Path,
) -> None:
    kept = record(tmp_path)
    kept.follow({A.key: A, B.key: B})
    kept.add([named(when=5.0, kind=LogKind.AUDIT, policies=("dev/a", "dev/b"))])
    kept.add([named("dev/far", when=6.0, kind=LogKind.AUDIT, policies=("dev/b",))])
    both = AuditedFlow("dev/web", "dev/db", "80/tcp", "ingress", 1, 5.0, 5.0, ("dev/a", "dev/b"))
    one = AuditedFlow("dev/far", "dev/db", "80/tcp", "ingress", 1, 6.0, 6.0, ("dev/b",))
    assert kept.audited() == (
        100.0,
        (
            AuditedPolicy("dev/a", 100.0, (), (both,)),
            AuditedPolicy("dev/b", 100.0, (), (both, one)),
        ),
        0,
    )


def test_a_denial_by_an_enforced_policy_is_not_in_the_ledger(tmp_path: Path) -> None:
    kept = record(tmp_path)
    kept.follow({A.key: A})
    kept.add([named(policies=("dev/a",))])
    assert kept.audited()[1] == (AuditedPolicy("dev/a", 100.0, (), ()),)


def test_what_audited_policies_would_have_denied_is_there_after_a_restart(tmp_path: Path) -> None:
    kept = record(tmp_path)
    kept.follow({A.key: A})
    kept.add([named(when=5.0, kind=LogKind.AUDIT, policies=("dev/a",))])
    before = kept.audited()
    kept.save()
    again = record(tmp_path)
    assert again.audits
    assert again.audited() == before
