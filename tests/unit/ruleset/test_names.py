"""Names and comments: bounded, safe, told apart by what they mean."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwall.model.net import Family
from podwall.model.policy import Direction, PolicyKey, RuleId
from podwall.ruleset import names
from podwall.ruleset.comments import rule_comment, safe_comment
from podwall.ruleset.ir import SetRole
from tests.builders import net

SAFE_NAME = st.from_regex(r"PW[46]?-[a-z0-9.-]+", fullmatch=True)


@given(st.text(max_size=400), st.text(max_size=50))
def test_whatever_a_user_writes_names_are_short_and_plain(title: str, content: str) -> None:
    namer = names.Namer()
    set_name = namer.set_name(Family.V6, SetRole.PEERS, title, content)
    chain = namer.profile_name(Direction.EGRESS, title, content)
    assert len(set_name) <= names.SET_LIMIT
    assert len(chain) <= names.CHAIN_LIMIT
    assert set(set_name + chain) <= set("PWabcdefghijklmnopqrstuvwxyz0123456789.-")
    assert names.set_role(set_name) is SetRole.PEERS


def test_equal_contents_share_a_name_and_different_ones_do_not() -> None:
    namer = names.Namer()
    first = namer.set_name(Family.V4, SetRole.PEERS, "role=db", ("a",))
    assert namer.set_name(Family.V4, SetRole.PEERS, "role=db", ("a",)) == first
    assert namer.set_name(Family.V4, SetRole.PEERS, "role=db", ("b",)) != first
    assert names.Namer().set_name(Family.V4, SetRole.PEERS, "role=db", ("a",)) == first


def test_two_contents_whose_hashes_collide_get_two_names() -> None:
    with mock.patch.object(names, "digest", lambda content: str(len(repr(content))).zfill(13)):
        namer = names.Namer()
        first = namer.set_name(Family.V4, SetRole.PEERS, "role=db", "aa")
        second = namer.set_name(Family.V4, SetRole.PEERS, "role=db", "bb")
        again = namer.set_name(Family.V4, SetRole.PEERS, "role=db", "aa")
    assert first != second
    assert again == first


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("PW6-cut", SetRole.CUT),
        ("PW4-b-10.0.0.0-abc", SetRole.BLOCKS),
        ("PW4-cutting", None),
        ("PW5-p-x", None),
        ("KUBE-LOOP-BACK", None),
    ],
)
def test_the_role_of_a_set_is_read_from_its_name(name: str, role: SetRole | None) -> None:
    assert names.set_role(name) is role


RULE = RuleId(PolicyKey("default", "db"), Direction.INGRESS, 2)


def test_a_rule_comment_names_policy_direction_and_index() -> None:
    assert rule_comment(RULE) == "default/db ingress[2]"


@given(st.text(max_size=600))
def test_a_comment_never_needs_escaping_and_never_grows_too_long(text: str) -> None:
    comment = safe_comment(text)
    assert len(comment) <= 255
    assert not set(comment) & set("\"'\\\n\r\t\0`$;")
    assert comment.isascii()


@given(st.text(max_size=300), st.text(max_size=300))
def test_different_names_never_share_a_comment(one: str, other: str) -> None:
    comments = [
        rule_comment(RuleId(PolicyKey("ns", each), Direction.EGRESS, 0)) for each in (one, other)
    ]
    assert (comments[0] == comments[1]) == (one == other)


def test_a_dispatch_chain_is_named_by_its_block_and_fits_in_both_families() -> None:
    longest = names.dispatch_chain(Direction.EGRESS, net("255.255.255.240/28"))
    assert longest == "PW-eg-255.255.255.240-28"
    six = names.dispatch_chain(Direction.INGRESS, net("fd00:10:244:ffff:ffff:ffff:ffff:fff0/124"))
    assert len(six) <= names.CHAIN_LIMIT
    assert names.dispatch_chain(Direction.INGRESS) == "PW-ingress"
