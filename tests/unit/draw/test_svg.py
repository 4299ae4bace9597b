"""The SVG stands alone, is safe wherever it is embedded, and can be read in both themes."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from podwall.api import Cluster
from podwall.draw import Theme, policy_picture
from podwall.draw.scene import Ink, Look
from podwall.draw.theme import DARK, LIGHT, Palette
from tests.unit.draw.gallery import EXAMPLES, HOSTILE, pictures_of
from tests.unit.draw.test_pictures import hostile

SVG = "{http://www.w3.org/2000/svg}"
ELEMENTS = {"svg", "title", "desc", "style", "rect", "text", "path"}
ATTRIBUTES = {
    *("class", "width", "height", "viewBox", "role", "aria-labelledby", "id", "x", "y", "rx", "d"),
    *("transform", "stroke-dasharray", "style"),
}
PALETTES = pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])


def shop() -> Cluster:
    return Cluster.load([str(EXAMPLES[1])])


def check_harmless(text: str) -> ElementTree.Element:
    root = ElementTree.fromstring(text)
    for each in root.iter():
        assert each.tag.removeprefix(SVG) in ELEMENTS
        assert set(each.attrib) <= ATTRIBUTES
    assert "url(" not in text
    assert "@import" not in text
    assert re.findall(r"https?:[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    return root


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_it_is_xml_that_needs_nothing_from_elsewhere(path: Path) -> None:
    for picture in pictures_of(Cluster.load([str(path)]).snapshot, most=4):
        root = check_harmless(picture.svg())
        assert root.findtext(f"{SVG}title") == picture.title
        assert root.findtext(f"{SVG}desc") == picture.description
        assert root.get("role") == "img"


def test_hostile_names_are_only_ever_text() -> None:
    for picture in pictures_of(hostile(), most=5):
        text = picture.svg()
        check_harmless(text)
        # No override, control character or stray surrogate: what moves text would lie.
        assert all(each.isprintable() or each == "\n" for each in text)
        assert "\u0301" not in text


def test_hostile_names_are_shown_as_they_are_where_they_can_be() -> None:
    key = next(each for each in hostile().policies if each.name == HOSTILE[3])
    root = ElementTree.fromstring(policy_picture(hostile(), [key]).svg())
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert any(each and HOSTILE[3] in each for each in texts)


def test_what_was_cut_is_told_in_full_to_who_points_at_it() -> None:
    snapshot = hostile()
    key = next(each for each in snapshot.policies if each.name == "W" * 300)
    root = ElementTree.fromstring(policy_picture(snapshot, [key]).svg())
    wholes = [each.findtext(f"{SVG}title") for each in root.iter(f"{SVG}text")]
    assert any(each and "W" * 300 in each for each in wholes)
    assert all("W" * 200 not in (each.text or "") for each in root.iter(f"{SVG}text"))


def test_all_classes_and_ids_begin_with_the_prefix() -> None:
    picture = policy_picture(shop().snapshot, list(shop().snapshot.policies))
    text = picture.svg(prefix="p7-a")
    for classes in re.findall(r'(?:class|id)="([^"]*)"', text):
        assert all(each == "p7-a" or each.startswith("p7-a-") for each in classes.split())
    style = ElementTree.fromstring(text).findtext(f"{SVG}style") or ""
    rules = [line for line in style.splitlines() if "{" in line and not line.startswith("@")]
    assert rules
    assert all(each.startswith(".p7-a ") for each in rules)


@pytest.mark.parametrize("prefix", ["", "1", "a b", "a{}", "é", 'a"'])
def test_a_prefix_that_could_get_out_of_its_place_is_refused(prefix: str) -> None:
    picture = policy_picture(shop().snapshot, list(shop().snapshot.policies))
    with pytest.raises(ValueError, match="cannot begin"):
        picture.svg(prefix=prefix)


def test_a_theme_is_fixed_or_follows_the_reader() -> None:
    picture = policy_picture(shop().snapshot, list(shop().snapshot.policies))
    assert "prefers-color-scheme" in picture.svg()
    assert "prefers-color-scheme" not in picture.svg("dark")
    dark = DARK.fills[Look.PAGE].fill
    assert dark in picture.svg(Theme.DARK)
    assert dark not in picture.svg("light")
    with pytest.raises(ValueError, match="sepia"):
        picture.svg("sepia")


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


SIGNS = {Look.BLOCK, Look.WALL, Look.HEAT, Look.HOLE}
"""What has no text in it, but means something by its shape."""


@PALETTES
def test_every_ink_can_be_read_on_every_fill(palette: Palette) -> None:
    for look, fill in palette.fills.items():
        if look in SIGNS or fill.fill == "none":
            continue
        for ink in Ink:
            assert contrast(palette.inks[ink], fill.fill) >= 4.5, (look, ink)


@PALETTES
def test_every_border_and_sign_stands_out_from_what_is_around_it(palette: Palette) -> None:
    around = [palette.fills[each].fill for each in (Look.PAGE, Look.FRAME, Look.CARD)]
    for look, fill in palette.fills.items():
        line = fill.fill if look in SIGNS - {Look.HOLE} else fill.stroke
        for each in around if line else ():
            assert contrast(line, each) >= 3, look
