"""podwall whatif as a command: what it prints, its exit statuses, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from podwall.cli.main import main
from podwall.lab import client, state
from podwall.lab.topology import Listen
from podwall.lab.traffic import stream_between
from podwall.model.net import Family, Protocol
from tests.e2e.agent_site import NODE, PODS, site, until
from tests.e2e.doc_blocks import ROOT

SHOP = str(ROOT / "examples" / "shop")
OPEN = str(ROOT / "examples" / "changes" / "open-catalog-to-payment.yaml")
CLOSE = str(ROOT / "examples" / "changes" / "close-storefront.yaml")


def test_text_says_what_opens_and_by_which_rules(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["whatif", SHOP, "--with", OPEN]) == 0
    text = capsys.readouterr().out
    assert "+ shop/deployment/catalog → shop/deployment/payment  8083/tcp" in text
    assert "egress: shop/catalog-to-payment egress[0] allows it" in text
    assert "ingress: shop/payment-from-catalog ingress[0] allows it" in text
    assert "closes" not in text


def test_blocks_show_in_addresses_outside(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["whatif", SHOP, "--with", CLOSE, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["opens"] == []
    assert {each["to"] for each in found["closes"]} == {"shop/deployment/storefront"}
    assert any("anywhere else" in each["from"] for each in found["closes"])
    assert not any("in 198.51.100.0/24" in each["from"] for each in found["closes"])
    assert main(["whatif", SHOP, "--with", CLOSE, "--no-outside", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["closes"] == []


@pytest.mark.parametrize(
    ("change", "fail_on", "status"),
    [
        (OPEN, "opens", 1),
        (OPEN, "closes", 0),
        (OPEN, "any", 1),
        (CLOSE, "opens", 0),
        (CLOSE, "closes", 1),
        (CLOSE, "any", 1),
    ],
)
def test_the_status_says_what_was_asked_for(change: str, fail_on: str, status: int) -> None:
    assert main(["whatif", SHOP, "--with", change, "--fail-on", fail_on]) == status


def test_several_files_and_directories_are_one_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["whatif", SHOP, "--with", OPEN, "--with", CLOSE, "-o", "markdown"]) == 0
    both = capsys.readouterr().out
    assert "#### Opens (1)" in both
    assert "#### Closes (" in both
    assert main(["whatif", SHOP, "--with", str(Path(OPEN).parent), "-o", "markdown"]) == 0
    assert capsys.readouterr().out == both


def test_a_namespace_that_a_change_only_uses_keeps_its_labels(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Database rules ask for team=shop: without that label the shop's connections would close.
    assert main(["whatif", SHOP, "--with", OPEN, "--fail-on", "closes"]) == 0
    capsys.readouterr()
    words = ["whatif", SHOP, "--label", "namespace/shop", "team=other", "-o", "json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert "data/statefulset/orders-db" in {each["to"] for each in found["closes"]}


def test_a_policy_that_is_only_audited_changes_nothing_until_it_is_enforced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    audited = str(ROOT / "examples" / "audit")
    assert main(["whatif", SHOP, "--with", audited, "--fail-on", "any"]) == 0
    text, said = capsys.readouterr()
    assert "neither opens nor closes" in text
    assert "only audited, so they change nothing: platform/" in said
    name = said.split("nothing: ")[1].split(",")[0].split(";")[0]
    words = ["whatif", SHOP, audited, "--enforce", name, "--fail-on", "closes"]
    assert main(words) == 1
    assert "isolated now by" in capsys.readouterr().out


def test_a_new_workload_is_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change = tmp_path / "new.yaml"
    change.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: probe, namespace: platform}\n",
        encoding="utf-8",
    )
    assert main(["whatif", SHOP, "--with", str(change), "--fail-on", "any"]) == 0
    text = capsys.readouterr().out
    assert "comes with the change: 1 pod, platform/probe" in text
    assert "what opens with them" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([SHOP], "no change is named: use --with, --without"),
        (["--with", OPEN], "no manifests: name files"),
        ([SHOP, "--without", "shop/apy"], "there is no policy 'shop/apy'; did you mean shop/api"),
        ([SHOP, "--label", "shop/deployment/cart"], "--label shop/deployment/cart: name labels"),
        ([SHOP, "--label", "shop/deployment/cart", "tier"], "'tier' is no label, as in tier=web"),
        (["--label", "shop/deployment/cart", "a=b", SHOP], "manifests go before --label"),
        (
            [SHOP, "--label", "shop/deployment/cart", "a=b c"],
            "--label shop/deployment/cart: 'a=b c': 'b c' cannot be the value of a label",
        ),
        ([SHOP, "--enforce", "shop/api"], "policy shop/api is enforced already"),
        (["-", "--with", "-"], "standard input can be read once"),
        ([SHOP, "--with", "absent.yaml"], "absent.yaml"),
    ],
)
def test_what_cannot_be_used_is_status_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["whatif", *words]) == 2
    assert said in capsys.readouterr().err


def test_mistakes_in_the_change_are_said_and_end_with_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = tmp_path / "wrong.yaml"
    change.write_text(Path(OPEN).read_text().replace("port: http", "port: 70000"))
    assert main(["whatif", SHOP, "--with", str(change)]) == 2
    text, said = capsys.readouterr()
    assert "wrong.yaml:" in said
    assert "neither opens nor closes" in text


@pytest.mark.kernel
def test_a_lab_also_says_which_connections_would_be_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert main(["lab", "up", f"{SHOP}/00-namespaces.yaml", f"{SHOP}/10-services.yaml"]) == 0
    try:
        lab = client.find("default")
        pods = [each.party.name for each in lab.status().places]
        (catalog,) = [each for each in pods if "catalog" in each][:1]
        (database,) = [each for each in pods if "orders-db" in each][:1]
        listen = Listen(Protocol.TCP, 5432)
        with stream_between(lab, catalog, database, listen, Family.V4) as stream:
            assert stream.stats().connected
            capsys.readouterr()
            defaults = f"{SHOP}/20-defaults.yaml"
            assert main(["whatif", "--lab", "--with", defaults, "-o", "json"]) == 0
            cuts = json.loads(capsys.readouterr().out)["cuts"]
            assert main(["whatif", "--lab", "--with", defaults]) == 0
            text = capsys.readouterr().out
        lab.close()
    finally:
        for note in state.notes():
            client.take_down(note.name)
    assert not cuts["kept_by_a_switch"]
    (cut,) = cuts["cut"]
    assert (cut["from"], cut["to"], cut["service"]) == (catalog, database, "5432/tcp")
    assert f"x {catalog} → {database} 5432/tcp" in text


@pytest.mark.kernel
def test_a_live_node_says_which_connections_would_be_cut_and_its_agent_cuts_those(
    tmp_path: Path,
) -> None:
    allowed, elsewhere = ("6379", "40001"), ("22", "40002")
    with site(tmp_path) as own:
        for service, sport in (allowed, elsewhere):
            own.kernel.output(
                *("conntrack", "-I", "-p", "tcp", "-s", "10.244.1.3", "-d", "10.244.1.2"),
                *("--sport", sport, "--dport", service, "--state", "ESTABLISHED"),
                *("-t", "1000", "-u", "ASSURED"),
            )
        change = ("--label", "default/web", "app=other")
        done = own.inside("whatif", "--live", *change, "-o", "json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["cuts"]
        assert found["nodes"] == [NODE]
        (cut,) = found["cut"]
        assert (cut["from"], cut["to"], cut["service"]) == ("default/web", "default/db", "6379/tcp")
        own.server.ask("PATCH", f"{PODS}/web", {"metadata": {"labels": {"app": "other"}}})
        until(lambda: "dport=6379" not in own.kernel.output("conntrack", "-L"), own.log)
