"""Texts: how wide they are, how they are cut, and what Mermaid and Graphviz make of them."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwall.draw.dot import dot_text, render_dot
from podwall.draw.graph import GraphMaker, Shape
from podwall.draw.mermaid import mermaid_text, render_mermaid
from podwall.draw.metrics import ELLIPSIS, Style, clean, fit, width_of, wrap
from podwall.draw.yamlwords import scalar
from podwall.manifest.yaml_scalars import plain_scalar
from tests.unit.draw.gallery import HOSTILE

STYLES = st.sampled_from(Style)
ROOMS = st.floats(40, 600)


@given(st.text(max_size=200), ROOMS, STYLES)
def test_what_is_fitted_fits(text: str, room: float, style: Style) -> None:
    shown = fit(clean(text), room, style)
    assert width_of(shown, style) <= room
    assert shown == clean(text) or ELLIPSIS in shown


@given(st.text(max_size=300), ROOMS, STYLES, st.integers(1, 5))
def test_what_is_wrapped_fits_and_nothing_is_lost(
    text: str, room: float, style: Style, most: int
) -> None:
    lines = wrap(clean(text), room, style, most)
    assert len(lines) <= most
    assert all(width_of(each, style) <= room for each in lines)
    if not any(ELLIPSIS in each for each in lines):
        assert "".join(lines).replace(" ", "") == clean(text).replace(" ", "")


def test_both_ends_of_a_long_name_stay() -> None:
    shown = fit("payments-service-of-the-very-long-name-7f9c", 150, Style.BODY)
    assert re.fullmatch(r"payment.*…\S*7f9c", shown)


@given(st.text(max_size=60))
def test_nothing_that_moves_text_is_left(text: str) -> None:
    assert clean(text).isprintable()


def test_bidirectional_overrides_are_written_as_their_numbers() -> None:
    assert clean("a\u202egnp\n") == "a\\u202egnp\\n"


@given(st.text(max_size=80))
def test_a_mermaid_label_cannot_be_left(text: str) -> None:
    assert not set(mermaid_text(text)) & set('"<>[]{}|`\\&\n')


def test_a_mermaid_chart_has_subgraphs_nodes_and_edges() -> None:
    maker = GraphMaker()
    pods = maker.node("web", shape=Shape.PODS, cluster="namespace a")
    rest = maker.node('"all" others', shape=Shape.REST)
    maker.edge(rest, pods, "TCP 80")
    text = render_mermaid(maker.graph())
    assert text.startswith("flowchart LR\n")
    assert 'subgraph c0["namespace a"]' in text
    assert '|"TCP 80"|' in text
    assert 'n2("#34;all#34; others")' in text


@given(st.text(max_size=80))
def test_a_string_of_graphviz_cannot_be_left(text: str) -> None:
    inside = dot_text(text)[1:-1]
    assert not re.search(r'(?<!\\)(?:\\\\)*"', inside)
    assert not re.search(r"(?<!\\)(?:\\\\)*\\$", inside)
    assert "\n" not in inside


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_whatever_things_are_called() -> None:
    maker = GraphMaker()
    for name in HOSTILE:
        node = maker.node(name, name, cluster=name)
        maker.edge(node, node, name)
    text = render_dot(maker.graph(), HOSTILE[0])
    done = subprocess.run(["dot", "-Tcanon"], input=text.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@given(st.from_regex(r"[A-Za-z0-9._/:#~ -]{1,20}", fullmatch=True))
def test_a_plain_word_of_yaml_is_one_for_kubernetes_too(text: str) -> None:
    written = scalar(text)
    assert written.startswith('"') or plain_scalar(written) == text
