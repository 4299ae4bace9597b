"""A policy that is written and read again is the policy that it was."""

from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from podwall.errors import CompileError
from podwall.manifest import load
from podwall.manifest.written import Notes, policy_data, render_policy
from podwall.model.decode import decode_policy
from podwall.model.policy import AnyPeer, AnyPort, Direction, Policy, PolicyRule
from podwall.model.selector import EVERYTHING, selector
from tests.builders import allow, block, named, pods, policy, port
from tests.strategies import policies


def read(text: str) -> Policy:
    manifests = load(["-"], stdin=io.BytesIO(text.encode()))
    assert not manifests.diagnostics
    (found,) = manifests.policies
    return found


def is_sayable(each: Policy) -> bool:
    return all(rule.peers and rule.ports for rule in (*each.ingress, *each.egress))


def plainest(each: Policy) -> Policy:
    """The same without what stands beside a wildcard, which no manifest can say."""

    def rules(found: tuple[PolicyRule, ...]) -> tuple[PolicyRule, ...]:
        return tuple(
            msgspec.structs.replace(
                rule,
                peers=(AnyPeer(),) if AnyPeer() in rule.peers else rule.peers,
                ports=(AnyPort(),) if AnyPort() in rule.ports else rule.ports,
            )
            for rule in found
        )

    return msgspec.structs.replace(each, ingress=rules(each.ingress), egress=rules(each.egress))


@given(policies().filter(is_sayable))
def test_a_written_policy_loads_back_equal(each: Policy) -> None:
    assert read(render_policy(each)) == plainest(each)
    assert decode_policy(policy_data(each)).value == plainest(each)


ODD = ("y", "no", "On", "null", "1e3", "012", "0x1f", "1_0", "1.5", "2026-01-01", "0b1")


@pytest.mark.parametrize("value", ODD)
def test_values_that_yaml_takes_for_something_else_stay_text(value: str) -> None:
    odd = policy("a/p", {"app": value}, ingress=[allow(pods({"x": value}, namespaces="a"))])
    assert read(render_policy(odd)) == odd


@given(st.lists(st.text(max_size=500), max_size=4))
@example(["a\nspec: {}", "b\r- c", "d\x85e", "\u2028f", "\ud800", "#", ""])
def test_comments_stay_comments_whatever_they_hold(notes: list[str]) -> None:
    plain = policy("a/p", {"app": "x"}, ingress=[allow(block("10.0.0.0/8"), ports=[port(80)])])
    text = render_policy(plain, Notes(notes, {(Direction.INGRESS, 0): notes}))
    assert read(text) == plain
    assert max(map(len, text.splitlines())) < 500


def test_comments_stand_before_what_they_are_about() -> None:
    example = policy(
        "a/p",
        {"app": "x"},
        ingress=[
            allow(pods(selector({"app": "z"}), namespaces="a"), ports=[port(80, 90)]),
            allow(block("10.0.0.0/8", "10.1.0.0/16"), ports=[named("web")]),
        ],
        egress=[],
    )
    notes = Notes(["why"], {(Direction.INGRESS, 1): ["the office"]})
    assert render_policy(example, notes) == (
        "# why\n"
        "apiVersion: networking.k8s.io/v1\n"
        "kind: NetworkPolicy\n"
        "metadata:\n"
        "  name: p\n"
        "  namespace: a\n"
        "spec:\n"
        "  podSelector:\n"
        "    matchLabels:\n"
        "      app: x\n"
        "  policyTypes:\n"
        "  - Ingress\n"
        "  - Egress\n"
        "  ingress:\n"
        "  - from:\n"
        "    - podSelector:\n"
        "        matchLabels:\n"
        "          app: z\n"
        "    ports:\n"
        "    - protocol: TCP\n"
        "      port: 80\n"
        "      endPort: 90\n"
        "  # the office\n"
        "  - from:\n"
        "    - ipBlock:\n"
        "        cidr: 10.0.0.0/8\n"
        "        except:\n"
        "        - 10.1.0.0/16\n"
        "    ports:\n"
        "    - protocol: TCP\n"
        "      port: web\n"
    )


def test_s10_what_no_manifest_can_say_is_refused() -> None:
    rule = allow(block("10.0.0.0/8"))
    nobody = policy("a/p", ingress=[msgspec.structs.replace(rule, peers=())])
    with pytest.raises(CompileError, match=r"a/p ingress\[0\] allows nobody"):
        render_policy(nobody)
    elsewhere = policy("a/p", ingress=[allow(pods(EVERYTHING, namespaces="b"))])
    with pytest.raises(CompileError, match="namespace b of a policy in a"):
        render_policy(elsewhere)
