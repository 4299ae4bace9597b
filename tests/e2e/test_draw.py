"""``podwall draw``: what it writes where, and what it refuses."""

from __future__ import annotations

import re
import struct
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from podwall.cli.main import main
from podwall.dataplane.command import SystemRunner
from podwall.lab import client, state
from tests.e2e.agent_site import NODE, site
from tests.e2e.doc_blocks import ROOT

EXAMPLE = str(ROOT / "examples" / "test-network-policy")
SHOP = str(ROOT / "examples" / "shop")
HOSTILE = str(ROOT / "tests" / "golden" / "hostile-names")
IMAGES = {
    "policy.svg": (EXAMPLE,),
    "shop.svg": (SHOP, "--namespace", "shop"),
    "translation.svg": (SHOP, "--policy", "shop/payment", "--kind", "translation"),
    "chains.svg": (EXAMPLE, "--kind", "chains"),
}
"""The pictures of the documentation, and what they are of."""


@pytest.mark.parametrize("name", IMAGES)
def test_the_pictures_of_the_documentation_are_what_is_drawn(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    assert main(["draw", *IMAGES[name], "-o", str(out)]) == 0
    kept = ROOT / "docs" / "img" / name
    assert out.read_bytes() == kept.read_bytes(), f"podwall draw {IMAGES[name]} -o {kept}"


def test_without_a_terminal_the_picture_goes_to_standard_output() -> None:
    done = SystemRunner().run([sys.executable, "-m", "podwall", "draw", EXAMPLE], input=None)
    assert (done.status, done.stderr) == (0, "")
    assert ElementTree.fromstring(done.stdout).tag.endswith("svg")


def test_the_name_of_the_file_says_the_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, start in (
        ("a.svg", b"<svg "),
        ("a.png", b"\x89PNG\r\n\x1a\n"),
        ("a.mmd", b"flowchart LR\n"),
        ("a.dot", b"digraph podwall {\n"),
    ):
        out = tmp_path / name
        assert main(["draw", EXAMPLE, "-o", str(out)]) == 0
        assert out.read_bytes().startswith(start)
    assert main(["draw", EXAMPLE, "-o", str(tmp_path / "picture")]) == 2
    assert "add --format" in capsys.readouterr().err


def test_a_png_is_sharp_but_never_so_large_that_nobody_can_open_it(tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    assert main(["draw", SHOP, "--kind", "chains", "--theme", "dark", "-o", str(out)]) == 0
    width, height = struct.unpack(">II", out.read_bytes()[16:24])
    assert 3000 < max(width, height) <= 12_000


def test_a_png_without_its_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    assert main(["draw", EXAMPLE, "-o", str(tmp_path / "a.png")]) == 2
    assert "pip install 'podwall[png]'" in capsys.readouterr().err


class _Index(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src") and value]


@pytest.mark.parametrize("source", [SHOP, HOSTILE], ids=["shop", "hostile"])
def test_a_directory_gets_a_picture_of_everything_and_a_page_of_them(
    source: str, tmp_path: Path
) -> None:
    out = tmp_path / "pictures"
    assert main(["draw", source, "-o", f"{out}/"]) in (0, 2)
    files = sorted(path.name for path in out.iterdir())
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,200}", each) for each in files)
    for kind in ("policy_", "translation_", "chains_"):
        assert any(each.startswith(kind) for each in files)
    index = _Index()
    index.feed((out / "index.html").read_text(encoding="utf-8"))
    assert set(index.links) == set(files) - {"index.html"}
    assert "script" not in index.tags
    for name in files:
        if name.endswith(".svg"):
            ElementTree.parse(out / name)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--policy", "shop/nothing"), "--policy shop/nothing: there is no such policy; known: "),
        (("--namespace", "nowhere"), "--namespace nowhere: it has no policy"),
        (("--kind", "all"), "name a directory"),
        (("--kind", "translation"), "a translation is of one policy"),
        (("--kind", "chains", "--node", "moon"), "there is no node moon; known: node-1"),
        (("-o", "/proc/nowhere/a.svg"), "-o /proc/nowhere/a.svg: "),
    ],
)
def test_what_cannot_be_drawn_is_said(
    words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["draw", SHOP, *words]) == 2
    assert says in capsys.readouterr().err


def test_manifests_without_policies_cannot_be_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")
    assert main(["draw", str(tmp_path)]) == 2
    assert "there is no policy to draw" in capsys.readouterr().err


def test_of_several_nodes_the_one_that_was_drawn_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.svg"
    assert main(["draw", SHOP, "--nodes", "3", "--kind", "chains", "-o", str(out)]) == 0
    assert "one of 3; --node chooses another" in capsys.readouterr().err
    words = ["draw", SHOP, "--nodes", "3", "--kind", "chains", "--node", "node-2"]
    assert main([*words, "--family", "6", "-o", str(out)]) == 0
    assert "chains of node-2, IPv6" in out.read_text(encoding="utf-8")


@pytest.mark.kernel
def test_the_chains_of_a_lab_say_how_many_packets_met_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert main(["lab", "up", EXAMPLE]) == 0
    out = tmp_path / "a.svg"
    try:
        words = ["--from", "default/batch", "--to", "default/db-0", "--port", "6379/tcp"]
        assert main(["lab", "probe", *words]) == 0
        assert main(["draw", "--lab", "--kind", "chains", "-o", str(out)]) == 0
    finally:
        for note in state.notes():
            client.take_down(note.name)
    assert "without counters" not in capsys.readouterr().err
    counted = re.findall(r">(\d+) packets?, \d+ (?:bytes|kB)<", out.read_text(encoding="utf-8"))
    assert any(int(each) > 0 for each in counted)


@pytest.mark.kernel
def test_a_live_node_is_drawn_with_its_own_chains_and_counters(tmp_path: Path) -> None:
    with site(tmp_path) as own:
        done = own.inside("draw", "--live", "--kind", "chains")
        assert done.returncode == 0, done.stderr
    texts = [each.text for each in ElementTree.fromstring(done.stdout).iter() if each.text]
    assert f"chains of {NODE}, IPv4" in texts
    assert any(re.fullmatch(r"no packet|\d+ packets?, .*", each) for each in texts)
