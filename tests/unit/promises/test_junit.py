"""The JUnit report."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from podwall.cluster.snapshot import build_snapshot
from podwall.promises.judging import judge_promises
from podwall.promises.junit import render_junit
from tests.builders import namespace, pod, policy
from tests.unit.promises.expectations import promises

TEXT = """
- {name: kept, from: a/web, to: a/db, port: 80, expect: denied}
- {name: broken <&> now, from: a/web, to: a/db, port: 80, expect: allowed}
- {name: nobody, from: a/gone, to: a/db, port: 80, expect: allowed}
"""


def report(directory: Path, text: str = TEXT, **more: object) -> ElementTree.Element:
    cluster = build_snapshot(
        [pod("a/web", "10.0.0.1"), pod("a/db", "10.0.0.2")],
        [namespace("a")],
        [policy("a/deny", ingress=[])],
    )
    rendered = render_junit(judge_promises(cluster, promises(directory, text)), **more)  # type: ignore[arg-type]
    assert rendered.startswith('<?xml version="1.0" encoding="utf-8"?>\n<testsuites ')
    return ElementTree.fromstring(rendered.encode())


def test_every_promise_is_a_test_case_of_its_file(tmp_path: Path) -> None:
    root = report(tmp_path, seconds=1.25)
    (suite,) = root
    file = str(tmp_path / "expectations.yaml")
    assert suite.get("name") == file
    counts = {"tests": "3", "failures": "2", "errors": "0"}
    for each in (root, suite):
        assert {key: each.get(key) for key in counts} == counts
    assert root.get("time") == "1.250"
    assert [case.get("name") for case in suite] == ["kept", "broken <&> now", "nobody"]
    assert {case.get("classname") for case in suite} == {file}
    kept, broken, nobody = suite
    assert len(kept) == 0
    assert broken[0].get("message") == "it is denied"
    assert "ingress of a/db is isolated by a/deny; no rule allows any ingress" in str(
        broken[0].text
    )
    assert nobody[0].get("message") == "there is no pod a/gone; did you mean a/web?"


def test_what_packets_did_otherwise_fails_a_promise_that_is_kept(tmp_path: Path) -> None:
    root = report(tmp_path, proofs={0: ["a/web → a/db 80/tcp got through"]})
    assert root.get("failures") == "3"
    assert root[0][0][0].get("message") == "a/web → a/db 80/tcp got through"


def test_names_that_xml_cannot_carry_are_escaped(tmp_path: Path) -> None:
    hostile = '- {name: "a\\x1b[31m\\u0001\\uffff\\u202e", from: a/web, to: a/db, expect: denied}'
    root = report(tmp_path, hostile)
    assert root[0][0].get("name", "").isprintable()
