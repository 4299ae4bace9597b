"""``podwall test`` as its users have it: from files, with a report, and with real packets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from podwall.cli import proving
from podwall.cli.main import main
from podwall.lab.engine import Engine

ROOT = Path(__file__).parents[2]
SHOP = str(ROOT / "examples" / "shop")
PROMISES = str(ROOT / "examples" / "expectations" / "shop.yaml")
HEAD = "apiVersion: podwall.dev/v1\nkind: Expectations\nexpectations:\n"
TWO = """
- {name: kept, from: shop/deployment/cart, to: shop/deployment/payment, port: 8083, expect: allowed}
- {name: broken, from: namespace/shop, to: data/statefulset/cache, port: 6379, expect: denied}
"""


@pytest.fixture
def two(tmp_path: Path) -> str:
    """A promise that is kept and one that is not."""
    path = tmp_path / "two.yaml"
    path.write_text(HEAD + TWO.lstrip())
    return str(path)


def test_the_shop_keeps_its_promises(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", SHOP, "--expect", PROMISES]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "9 promises kept, 44 pairs asked"
    assert all(line.startswith("kept  ") for line in printed[:-1])


def test_a_broken_promise_is_shown_with_its_pairs_and_reasons(
    two: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", SHOP, "--expect", two]) == 1
    printed = capsys.readouterr().out
    assert "BROKEN  broken" in printed
    assert f"{two}:5" in printed
    assert "but 6 of 12 pairs are allowed" in printed
    assert "ingress of data/cache-0 is allowed by data/cache ingress[0]" in printed
    assert "  and 1 more" in printed
    assert printed.splitlines()[-1] == "2 promises, 1 broken, 14 pairs asked"


def test_json_has_the_same(two: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", SHOP, "--expect", two, "-o", "json"]) == 1
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["kept"], found["broken"]) == (1, 1)
    kept, broken = found["promises"]
    assert kept["kept"]
    assert kept["line"] == 4
    assert (broken["pairs"], broken["broken"], len(broken["examples"])) == (12, 6, 5)
    assert broken["examples"][0]["verdict"] == "allowed"


def test_a_junit_report_is_written_as_well(
    two: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.xml"
    assert main(["test", SHOP, "--expect", two, "--junit", str(report)]) == 1
    assert "BROKEN" in capsys.readouterr().out
    root = ElementTree.fromstring(report.read_bytes())
    assert (root.get("tests"), root.get("failures")) == ("2", "1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((SHOP,), "--expect is needed"),
        (("--expect", PROMISES), "no manifests: name files, directories"),
        ((SHOP, "--expect", "/nowhere.yaml"), "error: /nowhere.yaml: it cannot be read"),
        ((SHOP, "--expect", SHOP), "it holds no object of kind Expectations"),
        ((SHOP, "--expect", PROMISES, "--junit", "/nowhere/r.xml"), "--junit /nowhere/r.xml: No"),
        (("-", "--expect", "-"), "standard input holds manifests or expectations"),
        (("--live", "--lab", "--expect", PROMISES), "leave out --live"),
    ],
)
def test_what_cannot_be_used_ends_with_status_2(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", *words]) == 2
    assert message in capsys.readouterr().err


def test_mistakes_in_expectations_are_told_all_at_once_and_nothing_is_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(
        HEAD + "- {from: a, to: b, expect: maybe}\n- {from: a, too: b, expect: denied}\n"
    )
    assert main(["test", SHOP, "--expect", str(path)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert f"{path}:4: Expectations: expectations[0].expect:" in told.err
    assert f"{path}:5: Expectations: expectations[1].too: unknown field" in told.err


def test_kept_promises_about_manifests_that_were_not_understood_are_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: '-'}\n"
    (tmp_path / "broken.yaml").write_text(policy)
    assert main(["test", SHOP, str(tmp_path), "--expect", PROMISES]) == 2
    assert "9 promises kept" in capsys.readouterr().out


@pytest.mark.kernel
def test_real_packets_do_what_the_promises_about_the_shop_say(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["test", SHOP, "--nodes", "2", "--expect", PROMISES, "--lab", "-o", "json"]
    assert main(words) == 0
    promises = json.loads(capsys.readouterr().out)["promises"]
    assert all(each["probes"]["sent"] >= each["pairs"] for each in promises)
    assert all(each["probes"]["contrary"] == [] for each in promises)
    assert all(each["probes"]["unproved"] == 0 for each in promises)


@pytest.mark.kernel
def test_packets_that_differ_from_the_oracle_are_told_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_rules(*_: object) -> Engine:
        engine = kernel_engine()
        return Engine(program=lambda *_: None, allows=engine.allows)

    kernel_engine = proving.kernel_engine
    monkeypatch.setattr(proving, "kernel_engine", without_rules)
    path = tmp_path / "one.yaml"
    path.write_text(
        HEAD
        + "- {from: shop/deployment/catalog, to: shop/deployment/payment, "
        + "port: 8083, expect: denied}\n"
    )
    report = tmp_path / "report.xml"
    assert main(["test", SHOP, "--expect", str(path), "--lab", "--junit", str(report)]) == 1
    printed = capsys.readouterr().out
    assert "packets differ: shop/catalog-" in printed
    assert "8083/tcp got through, though the policies deny it" in printed
    assert "got through" in report.read_text()


@pytest.mark.kernel
def test_promises_about_all_kinds_of_ends_can_be_proved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ends.yaml"
    path.write_text(
        HEAD
        + """
- {from: any, to: data/statefulset/queue, port: 22, expect: denied}
- {from: node/node-1, to: data/statefulset/orders-db, port: icmp, expect: denied}
- {from: shop/deployment/payment, to: "203.0.113.0/25", port: 443, expect: allowed}
- {from: platform/daemonset/node-agent, to: data/queue-0, port: 5672, expect: denied}
- {from: namespace/shop, to: any, port: 25, expect: denied}
""".lstrip()
    )
    words = ["test", SHOP, "--nodes", "3", "--expect", str(path), "--lab", "-o", "json"]
    status = main(words)
    promises = json.loads(capsys.readouterr().out)["promises"]
    assert [each["probes"]["contrary"] for each in promises] == [[]] * 5
    assert sum(each["probes"]["sent"] for each in promises) > 100
    assert status in (0, 1)
