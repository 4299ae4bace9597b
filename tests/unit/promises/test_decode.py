"""Expectations from YAML: what can be written, and what is said about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from podwall.api import read_promises
from podwall.explain.ends import Service
from podwall.model.flow import Verdict
from podwall.model.net import Protocol, parse_cidr
from podwall.model.objects import PodKey
from podwall.model.selector import EVERYTHING, selector
from podwall.promises.model import Anyone, Block, LabelledPods, OneNode, OnePod, Who, Workload
from tests.unit.promises.expectations import mistakes, promises, read


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("shop/web-0", OnePod(PodKey("shop", "web-0"))),
        ("web-0", OnePod(PodKey("default", "web-0"))),
        ("pod/shop/web-0", OnePod(PodKey("shop", "web-0"))),
        ("shop/deployment/web", Workload("shop", "deployment", "web")),
        ("shop/StatefulSet/db", Workload("shop", "statefulset", "db")),
        ("deployment/web", Workload("default", "deployment", "web")),
        ("namespace/shop", LabelledPods("shop", EVERYTHING)),
        ("node/worker-1", OneNode("worker-1")),
        ("10.0.0.0/8", Block(parse_cidr("10.0.0.0/8"))),
        ("172.17.0.9", Block(parse_cidr("172.17.0.9/32"))),
        ('"fd00::/8"', Block(parse_cidr("fd00::/8"))),
        ('"fd00::1"', Block(parse_cidr("fd00::1/128"))),
        ("any", Anyone()),
        ("{pod: web-0, namespace: shop}", OnePod(PodKey("shop", "web-0"))),
        ("{pod: shop/web-0}", OnePod(PodKey("shop", "web-0"))),
        ("{workload: deployment/web, namespace: a}", Workload("a", "deployment", "web")),
        ("{workload: a/rollout/web}", Workload("a", "rollout", "web")),
        ("{node: worker-1}", OneNode("worker-1")),
        ("{address: 10.0.0.1}", Block(parse_cidr("10.0.0.1/32"))),
        ("{cidr: 10.0.0.0/9}", Block(parse_cidr("10.0.0.0/9"))),
        ("{any: true}", Anyone()),
        ("{namespace: shop}", LabelledPods("shop", EVERYTHING)),
        (
            "{podSelector: {matchLabels: {a: b}}}",
            LabelledPods(EVERYTHING, selector({"a": "b"})),
        ),
        (
            "{namespaceSelector: {matchLabels: {t: x}}, podSelector: {}}",
            LabelledPods(selector({"t": "x"}), EVERYTHING),
        ),
    ],
)
def test_an_end_can_be_written_in_many_ways(tmp_path: Path, written: str, meant: Who) -> None:
    (found,) = promises(tmp_path, f"- {{from: {written}, to: any, expect: denied}}")
    assert found.source == meant


def test_ports_are_one_or_several_or_all(tmp_path: Path) -> None:
    one, two, every = promises(
        tmp_path,
        """
        - {from: a, to: b, port: 6379, expect: allowed}
        - {from: a, to: b, ports: [53/udp, icmp, 53/udp], expect: denied}
        - {from: a, to: b, expect: denied}
        """,
    )
    assert one.services == (Service(Protocol.TCP, 6379),)
    assert two.services == (Service(Protocol.UDP, 53), Service(Protocol.ICMP))
    assert every.services == ()
    assert (one.expect, every.expect) == (Verdict.ALLOWED, Verdict.DENIED)
    assert [each.place.line for each in (one, two, every)] == [4, 5, 6]


def test_a_promise_without_a_name_is_called_by_what_it_says(tmp_path: Path) -> None:
    (found,) = promises(tmp_path, "- {from: web-0, to: any, ports: [80, icmp], expect: denied}")
    assert found.name == "pod default/web-0 → any 80/tcp, icmp is denied"


def test_names_without_a_namespace_are_in_that_of_the_file(tmp_path: Path) -> None:
    head = (
        "apiVersion: podwall.dev/v1\nkind: Expectations\n"
        "metadata: {namespace: shop}\nexpectations:\n"
    )
    found = read(tmp_path, "- {from: web-0, to: deployment/db, expect: denied}", head)
    (promise,) = found.promises
    assert promise.source == OnePod(PodKey("shop", "web-0"))
    assert promise.target == Workload("shop", "deployment", "db")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {to: b, expect: denied}", "expectations[0].from: it is missing, expected a pod"),
        ("- {from: a, to: b}", "expectations[0].expect: it is missing, expected allowed or denied"),
        ("- {from: a, to: b, expect: deny}", '"deny" is a string, expected allowed or denied'),
        (
            "- {from: a, to: b, prot: 1, expect: denied}",
            "expectations[0].prot: unknown field, did you mean port?",
        ),
        (
            "- {from: a, to: b, port: 1, ports: [2], expect: denied}",
            "there is a port as well, expected one of the two",
        ),
        ("- {from: a, to: b, port: 70000, expect: denied}", "70000 is a number, expected a port"),
        ("- {from: a, to: b, port: true, expect: denied}", "true is a boolean, expected a port"),
        ("- {from: a, to: b, port: http, expect: denied}", '"http" is a string, expected a port'),
        ("- {from: a, to: b, ports: [], expect: denied}", "there are none, expected a list"),
        ("- {from: 5, to: b, expect: denied}", "5 is a number, expected a pod (shop/web-0)"),
        ("- {from: {}, to: b, expect: denied}", "it is empty, expected one of pod, workload"),
        ("- {from: a//b, to: b, expect: denied}", '"a//b" is no end'),
        ("- {from: a/b/c/d, to: b, expect: denied}", '"a/b/c/d" is no end'),
        ("- {from: 10.0.0.0/33, to: b, expect: denied}", "prefix length must be 0 to 32"),
        ("- {from: {cidr: 10.0.0.0}, to: b, expect: denied}", "prefix length is missing"),
        ("- {from: {address: x}, to: b, expect: denied}", "'x' is not an IP address"),
        ("- {from: {any: 1}, to: b, expect: denied}", "1 is a number, expected true"),
        ("- {from: {pod: a/b/c}, to: b, expect: denied}", "expected NAME or NAMESPACE/NAME"),
        ("- {from: {pod: 7}, to: b, expect: denied}", "expected a string"),
        ("- {from: {workload: web}, to: b, expect: denied}", "expected KIND/NAME"),
        ("- {from: {pod: a, node: b}, to: b, expect: denied}", "it does not go with pod"),
        ("- {from: {node: a, namespace: b}, to: b, expect: denied}", "it does not go with node"),
        ("- {from: {pods: a}, to: b, expect: denied}", "unknown field, did you mean pod?"),
        (
            "- {from: {podSelector: {app: web}}, to: b, expect: denied}",
            "expectations[0].from.podSelector.app: unknown field, labels belong into matchLabels",
        ),
        (
            "- {from: {namespace: a, namespaceSelector: {}}, to: b, expect: denied}",
            "there is a namespace as well",
        ),
        ("- web", '"web" is a string, expected a mapping'),
        ("- {from: a, from: c, to: b, expect: denied}", "the field is there more than once"),
        ("- {from: a, to: b", "it is not YAML"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_path(tmp_path: Path, text: str, message: str) -> None:
    (told,) = mistakes(tmp_path, text)
    assert told.startswith("expectations.yaml:4: ") or "not YAML" in told
    assert message in told


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    told = mistakes(
        tmp_path,
        """
        - {from: a, to: b, expect: maybe}
        - from: a
          too: b
          expect: denied
        """,
        head="kind: Expectations\nexpectations:\n",
    )
    assert told == [
        "expectations.yaml:1: Expectations: apiVersion: it is missing, expected podwall.dev/v1",
        "expectations.yaml:3: Expectations: expectations[0].expect: "
        '"maybe" is a string, expected allowed or denied',
        "expectations.yaml:4: Expectations: expectations[1].to: it is missing, "
        "expected a pod (shop/web-0), a workload (shop/deployment/web), namespace/NAME, "
        "node/NAME, an address, a block or any",
        "expectations.yaml:5: Expectations: expectations[1].too: unknown field, did you mean to?",
    ]


def test_an_empty_list_of_promises_promises_nothing_and_is_a_mistake(tmp_path: Path) -> None:
    head = "apiVersion: podwall.dev/v1\nkind: Expectations\n"
    (told,) = mistakes(tmp_path, "expectations: []", head)
    assert "expectations: there are none, expected a list of promises" in told


def test_a_file_without_expectations_is_a_mistake_but_other_kinds_beside_are_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "all.yaml"
    path.write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")
    (wrong,) = read_promises([str(path)]).diagnostics
    assert "it holds no object of kind Expectations" in str(wrong)
    promise = "expectations: [{from: a, to: b, expect: denied}]\n"
    path.write_text(
        f"{path.read_text()}---\napiVersion: podwall.dev/v1\nkind: Expectations\n{promise}"
    )
    found = read_promises([str(path)])
    assert found.diagnostics == ()
    assert len(found.promises) == 1


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (wrong,) = read_promises([str(tmp_path / "missing.yaml")]).diagnostics
    assert "it cannot be read: No such file or directory" in str(wrong)
