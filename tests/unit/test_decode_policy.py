"""What the decoder makes of NetworkPolicies, and that what it cannot read stays closed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from podwall.model.decode import Decoded, Severity, decode_policy
from podwall.model.net import PortRange, Protocol, parse_cidr
from podwall.model.policy import (
    AllPortsOf,
    AnyPeer,
    AnyPort,
    Direction,
    IPBlock,
    Mode,
    NamedPort,
    NumberedPorts,
    Peer,
    PodPeer,
    Policy,
    Port,
)
from podwall.model.selector import EVERYTHING, Operator, Requirement, selector

INGRESS, EGRESS = Direction.INGRESS, Direction.EGRESS


def decode(spec: str, **meta: Any) -> Decoded[Policy | None]:
    metadata = {"name": "web", "namespace": "dev", **meta}
    document = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": yaml.safe_load(spec),
    }
    before = copy.deepcopy(document)
    decoded = decode_policy(document)
    assert document == before
    return decoded


def policy(spec: str) -> Policy:
    """The policy of a spec; must decode, with or without problems."""
    value = decode(spec).value
    assert value is not None
    return value


def peers(from_: str) -> tuple[Peer, ...]:
    found = policy(f"{{podSelector: {{}}, ingress: [{{from: {from_}}}]}}")
    (rule,) = found.ingress
    return rule.peers


def ports(ports_: str) -> tuple[Port, ...]:
    found = policy(f"{{podSelector: {{}}, ingress: [{{ports: {ports_}}}]}}")
    (rule,) = found.ingress
    return rule.ports


def errors(spec: str) -> list[str]:
    return [str(each) for each in decode(spec).errors]


def warnings(spec: str) -> list[str]:
    found = decode(spec).problems
    return [str(each) for each in found if each.severity is Severity.WARNING]


# Isolation


def test_s4_an_empty_ingress_list_isolates_and_allows_nothing() -> None:
    found = policy("{podSelector: {}, policyTypes: [Ingress], ingress: []}")
    assert (found.isolates, found.ingress) == ((INGRESS,), ())


def test_s5_an_empty_rule_allows_everybody_on_every_port() -> None:
    (rule,) = policy("{podSelector: {}, ingress: [{}]}").ingress
    assert (rule.peers, rule.ports) == ((AnyPeer(),), (AnyPort(),))


@pytest.mark.parametrize(
    ("spec", "isolates"),
    [
        ("{podSelector: {}}", (INGRESS,)),
        ("{podSelector: {}, policyTypes: []}", (INGRESS,)),
        ("{podSelector: {}, policyTypes: null, egress: []}", (INGRESS,)),
        ("{podSelector: {}, egress: null}", (INGRESS,)),
        ("{podSelector: {}, egress: [{}]}", (INGRESS, EGRESS)),
        ("{podSelector: {}, egress: [5]}", (INGRESS, EGRESS)),
        ("{podSelector: {}, egress: wrong}", (INGRESS, EGRESS)),
        ("{podSelector: {}, policyTypes: [Egress]}", (EGRESS,)),
        ("{podSelector: {}, policyTypes: [Egress, Ingress]}", (INGRESS, EGRESS)),
    ],
)
def test_s6_absent_policy_types_follow_the_sections(
    spec: str, isolates: tuple[Direction, ...]
) -> None:
    assert policy(spec).isolates == isolates


def test_s7_an_ingress_section_of_an_egress_policy_is_dropped_with_a_warning() -> None:
    spec = "{podSelector: {}, policyTypes: [Egress], ingress: [{}]}"
    assert policy(spec).ingress == ()
    assert warnings(spec) == [
        "spec.ingress: policyTypes does not list Ingress, so this section is ignored"
    ]


def test_s8_an_unknown_policy_type_is_ignored_with_a_warning_and_never_taken_for_egress() -> None:
    spec = "{podSelector: {}, policyTypes: [Ingress, egress, Both], egress: [{}]}"
    found = policy(spec)
    assert (found.isolates, found.egress) == ((INGRESS,), ())
    assert warnings(spec)[:2] == [
        'spec.policyTypes[1]: "egress" is unknown and is ignored, did you mean Egress?',
        'spec.policyTypes[2]: "Both" is unknown and is ignored, expected Ingress or Egress',
    ]


def test_s8_nothing_but_unknown_types_falls_back_to_the_defaults_and_is_an_error() -> None:
    spec = "{podSelector: {}, policyTypes: [Both], egress: [{}]}"
    assert policy(spec).isolates == (INGRESS, EGRESS)
    assert errors(spec) == [
        "spec.policyTypes: none of these types is known, expected Ingress or Egress"
    ]


def test_a_single_type_instead_of_a_list_is_an_error_and_counts() -> None:
    spec = "{podSelector: {}, policyTypes: Egress}"
    assert policy(spec).isolates == (EGRESS,)
    assert errors(spec) == ['spec.policyTypes: "Egress" is a string, expected a list']


@pytest.mark.parametrize("types", ["{a: 1}", "5", "[5]", "[null]"])
def test_s10_types_that_are_not_understood_at_all_isolate_by_default(types: str) -> None:
    spec = f"{{podSelector: {{}}, policyTypes: {types}}}"
    assert policy(spec).isolates == (INGRESS,)
    assert errors(spec)


def test_s10_a_spec_that_is_no_mapping_closes_every_pod_in_both_directions() -> None:
    found = policy("just a text")
    assert (found.subject, found.isolates) == (EVERYTHING, (INGRESS, EGRESS))
    assert found.problems == ('spec: "just a text" is a string, expected a mapping',)


def test_an_absent_spec_means_what_it_means_to_the_api_and_warns() -> None:
    found = policy("null")
    assert (found.subject, found.isolates, found.ingress) == (EVERYTHING, (INGRESS,), ())
    assert len(warnings("null")) == 1


# The subject


def test_an_absent_pod_selector_selects_everything_and_warns() -> None:
    assert policy("{ingress: [{}]}").subject == EVERYTHING
    assert warnings("{ingress: [{}]}")[0].startswith("spec.podSelector: it is missing")


def test_s10_a_half_understood_subject_drops_the_other_half_so_that_it_selects_more() -> None:
    spec = "{podSelector: {matchLabels: {app: web, debug: true}}}"
    assert policy(spec).subject == selector({"app": "web"})
    (error,) = errors(spec)
    assert error.startswith("spec.podSelector.matchLabels.debug: true is a boolean, expected a str")
    assert "quotes" in error


@pytest.mark.parametrize("found", ["all", "[]", "{matchLabels: x}", "{matchExpressions: {}}"])
def test_s10_a_subject_of_the_wrong_type_selects_every_pod(found: str) -> None:
    spec = f"{{podSelector: {found}}}"
    assert policy(spec).subject == EVERYTHING
    assert len(errors(spec)) == 1


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("{key: app, operator: in, values: [a]}", "did you mean In?"),
        ("{key: app, operator: Equals, values: [a]}", "expected In, NotIn, Exists, DoesNotExist"),
        ("{key: app, operator: In}", "In needs at least one"),
        ("{key: app, operator: NotIn, values: []}", "NotIn needs at least one"),
        ("{key: app, operator: Exists, values: [a]}", "Exists takes none"),
        ("{key: app, operator: DoesNotExist, values: [a]}", "DoesNotExist takes none"),
        ("{operator: Exists}", "expected a label key"),
        ("{key: 'a b', operator: Exists}", "is not a label key"),
        ("{key: app, operator: In, values: [1]}", "1 is a number"),
        ("{key: app, operator: In, values: ['a b']}", "is not a label value"),
        ("text", "expected a mapping"),
    ],
)
def test_a_wrong_expression_is_an_error_and_no_requirement(expression: str, reason: str) -> None:
    spec = f"{{podSelector: {{matchExpressions: [{expression}]}}}}"
    assert policy(spec).subject == EVERYTHING
    (error,) = errors(spec)
    assert error.startswith("spec.podSelector.matchExpressions[0]")
    assert reason in error


def test_expressions_and_labels_become_one_normal_form() -> None:
    spec = """
    podSelector:
      matchLabels: {app: web}
      matchExpressions:
      - {key: tier, operator: NotIn, values: [b, a]}
      - {key: canary, operator: DoesNotExist}
    """
    assert policy(spec).subject == selector(
        {"app": "web"},
        [
            Requirement("tier", Operator.NOT_IN, ("a", "b")),
            Requirement("canary", Operator.DOES_NOT_EXIST),
        ],
    )
    assert decode(spec).problems == ()


def test_labels_straight_in_the_selector_get_a_hint() -> None:
    assert warnings("{podSelector: {role: db}}") == [
        "spec.podSelector.role: unknown field, it is ignored, labels belong into matchLabels"
    ]


# Peers


@pytest.mark.parametrize("from_", ["null", "[]"])
def test_s11_absent_or_empty_from_means_everybody(from_: str) -> None:
    assert peers(from_) == (AnyPeer(),)


def test_s13_a_pod_selector_alone_means_the_policys_own_namespace() -> None:
    assert peers("[{podSelector: {matchLabels: {a: b}}}]") == (
        PodPeer("dev", selector({"a": "b"})),
    )


def test_s14_an_empty_namespace_selector_means_all_pods_of_all_namespaces() -> None:
    assert peers("[{namespaceSelector: {}}]") == (PodPeer(EVERYTHING, EVERYTHING),)


def test_s15_both_selectors_of_a_peer_stay_together() -> None:
    both = "[{namespaceSelector: {matchLabels: {n: x}}, podSelector: {matchLabels: {p: y}}}]"
    assert peers(both) == (PodPeer(selector({"n": "x"}), selector({"p": "y"})),)


@pytest.mark.parametrize(
    "peer",
    [
        "{}",
        "null",
        "text",
        "[]",
        "{podSelector: null}",
        "{podselector: {}}",
        "{podSelector: text}",
        "{podSelector: {matchLabels: {a: true}}}",
        "{podSelector: {matchExpressions: [{key: a, operator: Is}]}}",
        "{namespaceSelector: {matchLabels: 5}}",
        "{podSelector: {}, namespaceSelector: 5}",
        "{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}",
        "{ipBlock: {cidr: 10.0.0.0/8}, namespaceSelector: {}}",
        "{ipBlock: {}}",
        "{ipBlock: 10.0.0.0/8}",
        "{ipBlock: {cidr: 10.0.0.0}}",
        "{ipBlock: {cidr: 10.0.0.0/33}}",
        "{ipBlock: {cidr: everything}}",
        "{ipBlock: {cidr: 10}}",
        "{ipBlock: {cidr: 10.0.0.0/8, except: 10.1.0.0/16}}",
        "{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, nonsense]}}",
        "{ipBlock: {cidr: 10.0.0.0/8, except: [null]}}",
    ],
)
def test_s10_a_peer_that_is_not_understood_allows_nobody_and_the_rest_counts(peer: str) -> None:
    spec = f"{{podSelector: {{}}, ingress: [{{from: [{peer}]}}]}}"
    found = policy(spec)
    assert found.isolates == (INGRESS,)
    assert found.ingress[0].peers == ()
    assert errors(spec)
    assert len(found.problems) == len(errors(spec))
    assert peers(f"[{peer}, {{podSelector: {{}}}}]") == (PodPeer("dev", EVERYTHING),)


def test_s10_a_from_that_is_no_list_allows_nobody() -> None:
    assert peers("{podSelector: {}}") == ()


def test_a_null_selector_beside_another_counts_as_absent_and_warns() -> None:
    spec = "{podSelector: {}, ingress: [{from: [{podSelector: {}, namespaceSelector: null}]}]}"
    assert policy(spec).ingress[0].peers == (PodPeer("dev", EVERYTHING),)
    assert warnings(spec) == [
        "spec.ingress[0].from[0].namespaceSelector: it is null, which is the same as absent; "
        "write {} to select everything"
    ]


def test_s28_host_bits_and_leading_zeros_are_normalised_and_host_bits_warn() -> None:
    assert peers("[{ipBlock: {cidr: 10.0.0.5/8, except: [010.001.0.0/16]}}]") == (
        IPBlock(parse_cidr("10.0.0.0/8"), (parse_cidr("10.1.0.0/16"),)),
    )
    spec = "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.5/8}}]}]}"
    assert errors(spec) == []
    assert warnings(spec) == [
        'spec.ingress[0].from[0].ipBlock.cidr: "10.0.0.5/8" has host bits, it is read as 10.0.0.0/8'
    ]


@pytest.mark.parametrize("hole", ["11.0.0.0/16", "10.0.0.0/8", "0.0.0.0/0", "fd00::/64"])
def test_s28_an_except_outside_its_block_or_equal_to_it_makes_the_peer_invalid(hole: str) -> None:
    assert peers(f"[{{ipBlock: {{cidr: 10.0.0.0/8, except: ['{hole}']}}}}]") == ()


# Ports


@pytest.mark.parametrize("found", ["null", "[]"])
def test_s32_absent_or_empty_ports_mean_every_protocol(found: str) -> None:
    assert ports(found) == (AnyPort(),)


@pytest.mark.parametrize(
    ("entry", "port"),
    [
        ("{protocol: UDP}", AllPortsOf(Protocol.UDP)),
        ("{}", AllPortsOf(Protocol.TCP)),
        ("{port: 80}", NumberedPorts(Protocol.TCP, PortRange(80, 80))),
        ("{port: 80, protocol: null}", NumberedPorts(Protocol.TCP, PortRange(80, 80))),
        ("{port: 80, protocol: SCTP}", NumberedPorts(Protocol.SCTP, PortRange(80, 80))),
        ("{port: 80, endPort: 80}", NumberedPorts(Protocol.TCP, PortRange(80, 80))),
        ("{port: 1, endPort: 65535}", NumberedPorts(Protocol.TCP, PortRange(1, 65535))),
        ("{port: http}", NamedPort(Protocol.TCP, "http")),
        ("{port: a-1, protocol: UDP}", NamedPort(Protocol.UDP, "a-1")),
    ],
)
def test_s33_s34_s40_port_entries_and_their_defaults(entry: str, port: Port) -> None:
    assert ports(f"[{entry}]") == (port,)


@pytest.mark.parametrize(
    "entry",
    [
        "null",
        "80",
        "{port: 0}",
        "{port: 65536}",
        "{port: -1}",
        "{port: 80.5}",
        "{port: true}",
        "{port: [80]}",
        "{port: '80'}",
        "{port: ''}",
        "{port: Http}",
        "{port: a--b}",
        "{port: -a}",
        "{port: a-}",
        "{port: a.b}",
        "{port: abcdefghijklmnop}",
        "{port: '1-2'}",
        "{protocol: tcp, port: 80}",
        "{protocol: ICMP}",
        "{protocol: 6}",
        "{protocol: ''}",
        "{endPort: 90}",
        "{port: http, endPort: 90}",
        "{port: 80, endPort: 79}",
        "{port: 80, endPort: '90'}",
        "{port: 80, endPort: 65536}",
    ],
)
def test_s10_s40_a_port_entry_that_is_wrong_allows_nothing(entry: str) -> None:
    spec = f"{{podSelector: {{}}, ingress: [{{ports: [{entry}]}}]}}"
    assert policy(spec).ingress[0].ports == ()
    assert len(errors(spec)) == 1
    assert errors(spec)[0].startswith("spec.ingress[0].ports[0]")


def test_s10_ports_that_are_no_list_allow_nothing() -> None:
    assert ports("80") == ()


def test_a_message_says_where_what_and_what_was_expected() -> None:
    spec = "{podSelector: {}, ingress: [{}, {ports: [{port: 80}, {port: 80, endPort: 79}]}]}"
    assert errors(spec) == [
        "spec.ingress[1].ports[1].endPort: 79 is below port 80, expected a number from 80 to 65535"
    ]


# Rules


@pytest.mark.parametrize("rules", ["text", "5", "{from: []}"])
def test_s10_a_section_that_is_no_list_allows_nothing(rules: str) -> None:
    found = policy(f"{{podSelector: {{}}, ingress: {rules}}}")
    assert (found.isolates, found.ingress) == ((INGRESS,), ())
    assert found.problems


def test_s10_a_rule_that_is_no_mapping_is_left_out_and_the_others_keep_their_index() -> None:
    found = policy("{podSelector: {}, ingress: [null, {}]}")
    assert [rule.id.index for rule in found.ingress] == [1]
    assert len(found.problems) == 1


@pytest.mark.parametrize(
    ("spec", "field", "meant"),
    [
        ("{podselector: {}}", "spec.podselector", "podSelector"),
        ("{podSelector: {matchlabels: {}}}", "spec.podSelector.matchlabels", "matchLabels"),
        ("{podSelector: {}, ingres: []}", "spec.ingres", "ingress"),
        ("{podSelector: {}, ingress: [{port: []}]}", "spec.ingress[0].port", "ports"),
        ("{podSelector: {}, ingress: [{to: []}]}", "spec.ingress[0].to", "from"),
        ("{podSelector: {}, egress: [{from: []}]}", "spec.egress[0].from", "to"),
        (
            "{podSelector: {}, ingress: [{ports: [{end_port: 5}]}]}",
            "spec.ingress[0].ports[0].end_port",
            "endPort",
        ),
    ],
)
def test_an_unknown_field_is_dropped_and_warns_with_what_was_meant(
    spec: str, field: str, meant: str
) -> None:
    assert f"did you mean {meant}?" in next(each for each in warnings(spec) if field in each)
    assert errors(spec) == []


# The object around it


def test_a_policy_without_namespace_is_in_the_default_one() -> None:
    data = {"metadata": {"name": "web"}, "spec": {"podSelector": {}}}
    found = decode_policy(data, default_namespace="dev").value
    assert found is not None
    assert str(found.key) == "dev/web"


def test_an_invalid_name_is_an_error_and_the_policy_still_isolates() -> None:
    decoded = decode("{podSelector: {}}", name="Web\n-A INPUT")
    assert decoded.value is not None
    assert decoded.value.isolates == (INGRESS,)
    assert decoded.value.key.name == "Web\\n-A INPUT"
    assert [each.path for each in decoded.errors] == [("metadata", "name")]


def test_long_invalid_names_stay_bounded_and_apart() -> None:
    keys = [decode("{}", name="A" * 10_000 + end).value for end in "xy"]
    names = [each.key.name for each in keys if each is not None]
    assert len(set(names)) == 2
    assert max(map(len, names)) < 253


@pytest.mark.parametrize("name", [None, 5, True, [], {}, ""])
def test_a_name_that_is_no_text_leaves_no_policy(name: object) -> None:
    decoded = decode("{}", name=name)
    assert decoded.value is None
    assert [each.path for each in decoded.errors] == [("metadata", "name")]


@pytest.mark.parametrize("data", [None, [], "text", 5, True])
def test_something_else_than_a_mapping_is_no_policy(data: object) -> None:
    decoded = decode_policy(data)
    assert decoded.value is None
    assert len(decoded.errors) == 1


# Hostile input


def test_messages_escape_control_characters_and_cut_long_texts() -> None:
    nasty = "\x1b[2J\u202e" + "x" * 100_000
    decoded = decode_policy({"metadata": {"name": "web"}, "spec": {nasty: nasty, "ingress": nasty}})
    for problem in decoded.problems:
        assert str(problem).isprintable()
        assert len(str(problem)) < 400


def test_a_number_with_thousands_of_digits_is_only_called_large() -> None:
    data = {"metadata": {"name": "web"}, "spec": {"podSelector": 10**5000}}
    (error,) = decode_policy(data).errors
    assert error.found == "it is a very large number"


def test_the_number_of_problems_is_bounded_and_the_rest_is_counted() -> None:
    data = {"metadata": {"name": "web"}, "spec": {"ingress": [5] * 100_000}}
    decoded = decode_policy(data)
    assert len(decoded.errors) == 101
    assert str(decoded.errors[-1]) == "99900 more errors, not shown"
    assert decoded.value is not None
    assert decoded.value.isolates == (INGRESS,)


@pytest.mark.parametrize("mode", Mode)
def test_s51_the_mode_is_an_annotation(mode: Mode) -> None:
    decoded = decode("podSelector: {}", annotations={"podwall.dev/mode": mode.value, "a": "b"})
    assert decoded.value is not None
    assert (decoded.value.mode, decoded.problems) == (mode, ())


@pytest.mark.parametrize("annotations", [None, {}, {"podwall.dev/mode": None}, {"a": "audit"}])
def test_s51_without_a_mode_a_policy_is_enforced(annotations: Any) -> None:
    decoded = decode("podSelector: {}", annotations=annotations)
    assert decoded.value is not None
    assert (decoded.value.mode, decoded.problems) == (Mode.ENFORCE, ())


@pytest.mark.parametrize("mode", ["Audit", "audit ", "", "off", True, 1, ["audit"]])
def test_s51_a_mode_that_is_none_is_enforced_and_an_error_that_names_the_annotation(
    mode: Any,
) -> None:
    decoded = decode("podSelector: {}", annotations={"podwall.dev/mode": mode})
    assert decoded.value is not None
    assert decoded.value.mode is Mode.ENFORCE
    [problem] = decoded.errors
    assert problem.path == ("metadata", "annotations", "podwall.dev/mode")
    assert str(problem).endswith("so the policy is enforced; expected enforce or audit")
    assert decoded.value.problems == (str(problem),)


def test_s51_annotations_that_are_no_mapping_are_an_error_and_the_policy_is_enforced() -> None:
    decoded = decode("podSelector: {}", annotations="podwall.dev/mode=audit")
    assert decoded.value is not None
    assert decoded.value.mode is Mode.ENFORCE
    assert [each.path for each in decoded.errors] == [("metadata", "annotations")]


def test_s51_an_annotation_that_looks_like_ours_is_warned_of() -> None:
    decoded = decode("podSelector: {}", annotations={"podwall.dev/moed": "audit"})
    assert decoded.value is not None
    assert decoded.value.mode is Mode.ENFORCE
    [problem] = decoded.problems
    assert problem.severity is Severity.WARNING
    assert "expected podwall.dev/mode" in str(problem)
