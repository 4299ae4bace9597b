"""What people do with the page: look, click, filter, search, and all of it by keyboard."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from podwall.api import Cluster
from podwall.page import Content
from tests.browser.chromium import AXE, Window
from tests.browser.pages import EVIL, made_hostile, write

CACHE, CART = "data/statefulset/cache", "shop/deployment/cart"


def cell(source: str, target: str) -> str:
    """The selector of a cell by what a screen reader says of it."""
    return f'td[aria-label^="{source} to {target}: "]'


def focused(page: Page) -> str:
    """What a screen reader calls that which has the focus."""
    script = "document.activeElement.getAttribute('aria-label') || document.activeElement.id"
    return str(page.evaluate(script))


def titles(content: Content) -> list[str]:
    return [
        each.name if each.kind in ("node", "address") else f"{each.namespace}/{each.name}"
        for each in content.parties
    ]


def words(content: Content, answer: int) -> str:
    texts = [content.reaches[each].text for each in content.answers[answer]]
    return " | ".join({"all": "everything", "-": "nothing"}.get(each, each) for each in texts)


def test_every_cell_says_what_the_matrix_says(
    window: Window, shop_page: str, content: Content
) -> None:
    page = window.open(shop_page)
    shown = page.eval_on_selector_all(
        "td[data-row]", "all => all.map((each) => each.getAttribute('aria-label'))"
    )
    names = titles(content)
    wanted = {
        f"{names[source]} to {names[target]}: {words(content, answer)}"
        for target, row in enumerate(content.cells[0])
        for source, answer in enumerate(row)
        if answer >= 0 and content.answers[answer]
    }
    assert {each for each in shown if not each.endswith(": not asked")} == wanted


def test_a_click_explains_a_cell_as_the_oracle_decides_it(
    window: Window, shop_page: str, shop: Cluster
) -> None:
    page = window.open(shop_page)
    page.click(cell(CART, CACHE))
    details = page.locator("#details")
    expect(details.locator("h3")).to_have_text(f"{CART} → {CACHE}")
    found = details.locator(".connection")
    assert found.count() >= 2
    for each in found.all():
        verdict, service = (each.locator("summary").first.text_content() or "").split()[:2]
        ends = (each.locator("p.aside").first.text_content() or "").split(" → ")
        assert (verdict == "allowed") is shop.allowed(ends[0], ends[1], service)
    heads = found.first.locator("h4").all_text_contents()
    assert [each.split()[0] for each in heads[:2]] == ["Egress", "Ingress"]
    found.first.get_by_text("The way through the kernel").click()
    expect(found.first.locator(".way .part").first).to_be_visible()
    assert "PW-" in (found.first.locator(".way").text_content() or "")


def test_the_matrix_is_walked_and_explained_without_a_mouse(window: Window, shop_page: str) -> None:
    page = window.open(shop_page)
    assert page.locator('td[tabindex="0"]').count() == 1
    page.keyboard.press("m")
    first = focused(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    second = focused(page)
    assert first != second
    assert page.locator('td[tabindex="0"]').count() == 1
    page.keyboard.press("Enter")
    assert focused(page) == "details-head"
    source, target = second.split(": ")[0].split(" to ")
    assert page.text_content("#details-head") == f"{source} → {target}"
    expect(page.locator("#announce")).to_contain_text(f"{source} to {target}")
    page.keyboard.press("Escape")
    assert focused(page) == second
    page.keyboard.press("End")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowUp")
    assert focused(page) == first


def test_keys_lead_to_the_search_the_policies_and_the_help(window: Window, shop_page: str) -> None:
    page = window.open(shop_page)
    page.keyboard.press("/")
    assert focused(page) == "find"
    page.keyboard.type("/?")
    assert page.input_value("#find") == "/?"
    page.keyboard.press("Escape")
    assert page.input_value("#find") == ""
    page.click("h1")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    page.click("h1")
    page.keyboard.press("p")
    page.keyboard.press("Enter")
    expect(page.locator("details.policy").first).to_have_attribute("open", "")


def test_filters_stand_in_the_address_and_come_back_with_it(window: Window, shop_page: str) -> None:
    page = window.open(shop_page)
    page.select_option("#filter-namespace", "data")
    page.select_option("#filter-end", "to")
    rows = page.locator('[role="grid"] tr th[scope="row"]')
    assert [each.split()[0] for each in rows.all_text_contents()] == ["cache", "orders-db", "queue"]
    page.fill("#filter-label", "role=cache")
    page.press("#filter-label", "Enter")
    assert [each.split()[0] for each in rows.all_text_contents()] == ["cache"]
    fragment = page.url.partition("#")[2]
    again = window.open(shop_page, fragment)
    assert again.input_value("#filter-label") == "role=cache"
    assert [each.split()[0] for each in rows.all_text_contents()] == ["cache"]
    again.click("text=Clear")
    assert rows.count() > 3
    assert "#" not in again.url


def test_a_port_turns_every_cell_into_yes_or_no(
    window: Window, shop_page: str, shop: Cluster
) -> None:
    page = window.open(shop_page, "port=6379")
    shown = page.eval_on_selector_all(
        'td[data-row]:not([aria-label$="not asked"])',
        "all => all.map((each) => each.getAttribute('aria-label').split(': ')[1])",
    )
    assert set(shown) == {"allowed", "denied"}
    allowed = page.get_attribute(cell(CART, CACHE), "aria-label") or ""
    assert shop.allowed("shop/deployment/cart", "data/cache-0", "6379/tcp")
    assert allowed.endswith(": allowed")
    page.fill("#filter-port", "nonsense")
    page.press("#filter-port", "Enter")
    expect(page.locator("#filter-port")).to_have_attribute("aria-invalid", "true")


def test_a_verdict_leaves_the_rows_and_columns_that_have_it(window: Window, shop_page: str) -> None:
    page = window.open(shop_page, "verdict=all")
    for row in page.locator('[role="grid"] tbody tr:not(.group)').all():
        assert row.locator("td.k-all:not(.faded)").count() >= 1


def test_namespaces_fold_to_one_row_and_one_column(window: Window, shop_page: str) -> None:
    page = window.open(shop_page)
    before = page.locator("td[data-row]").count()
    page.locator('thead .folder[data-namespace="shop"]').click()
    assert page.locator("td[data-row]").count() < before
    folder = page.locator('thead .folder[data-namespace="shop"]')
    expect(folder).to_have_attribute("aria-expanded", "false")
    page.click('td[aria-label^="namespace shop to data/statefulset/cache: "]')
    assert page.locator("#details .pairs li").count() == 4
    page.locator("#details .pairs button").first.click()
    expect(page.locator("#details .connection").first).to_be_visible()


def test_a_search_tells_what_reaches_a_pod_and_what_it_reaches(
    window: Window, shop_page: str
) -> None:
    page = window.open(shop_page)
    page.fill("#find", "cache-0")
    card = page.locator("#found details.card").first
    expect(card.locator(".name")).to_have_text(CACHE)
    reaches, reached = card.locator(".two > div").all()
    assert CART in (reaches.locator("ul").text_content() or "")
    assert CART not in (reached.locator("ul").text_content() or "")
    assert "data/cache" in (card.text_content() or "")
    reaches.get_by_role("button", name=CART, exact=True).click()
    assert page.text_content("#details-head") == f"{CART} → {CACHE}"
    page.fill("#find", "cart-to")
    page.get_by_role("button", name="shop/cart-to-payment", exact=True).click()
    expect(page.locator('[id="policy-shop-cart-to-payment"]')).to_have_attribute("open", "")
    page.fill("#find", "no such thing")
    assert page.text_content("#found-head") == "Nothing is called no such thing"


def test_policies_show_their_rules_findings_and_pictures(
    window: Window, shop_page: str, content: Content
) -> None:
    page = window.open(shop_page)
    assert page.locator("details.policy").count() == len(content.policies)
    told = next(each for each in content.policies if each.findings)
    card = page.locator(f'[id="policy-{told.namespace}-{told.name}"]')
    card.locator("summary").click()
    expect(card).to_contain_text(told.findings[0].message)
    picture = card.locator(".frame img")
    assert (picture.get_attribute("alt") or "").startswith(told.pictures[0].title)
    page.wait_for_function("document.querySelector('.frame img').naturalWidth > 100")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_until_a_person_chooses(
    window: Window, shop_page: str, scheme: str
) -> None:
    page = window.page
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    window.open(shop_page)

    def brightness() -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    assert (brightness() > 384) is (scheme == "light")
    page.click("#theme")
    assert page.text_content("#theme") == "Theme: light"
    assert brightness() > 384
    page.click("#theme")
    assert brightness() < 384
    window.open(shop_page)
    assert brightness() < 384


def test_hostile_texts_are_only_ever_text(
    window: Window, content: Content, tmp_path_factory: pytest.TempPathFactory
) -> None:
    page = window.open(write(tmp_path_factory.mktemp("hostile"), made_hostile(content)))
    assert EVIL in (page.text_content("h1") or "")
    page.locator("td.k-some").first.click()
    for way in page.locator(".way > summary").all():
        way.click(force=True)
    for summary in page.locator("details.policy > summary").all():
        summary.click()
    page.fill("#find", "cache")
    page.select_option("#filter-namespace", index=1)
    assert page.locator("script").count() == 2
    assert page.locator("img:not([src^='blob:'])").count() == 0
    assert EVIL in (page.text_content("#details") or "")
    assert EVIL in (page.text_content("#policies") or "")
    assert EVIL in (page.text_content("#found") or "")


def test_the_file_asks_for_nothing_but_itself(window: Window, shop_page: str) -> None:
    page = window.open(shop_page)
    page.locator("details.policy > summary").first.click()
    expect(page.locator(".frame img")).to_be_visible()
    asked = [each for each in window.requests if not each.startswith(("about:", "blob:"))]
    assert asked == [shop_page]


@pytest.mark.parametrize("width", [360, 800])
def test_a_narrow_screen_scrolls_the_matrix_and_not_the_page(
    window: Window, shop_page: str, width: int
) -> None:
    window.page.set_viewport_size({"width": width, "height": 700})
    page = window.open(shop_page)
    page.locator("td.k-some").first.click()
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width
    visible = page.evaluate("document.querySelector('#matrix').clientWidth")
    assert page.evaluate("document.querySelector('th[scope=row]').offsetWidth") < visible / 2


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not there; scripts/browser fetches it")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_that_keeps_anybody_out(
    window: Window, shop_page: str, scheme: str
) -> None:
    page = window.page
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    window.open(shop_page)
    page.locator("td.k-some").first.click()
    page.locator("details.policy > summary").nth(7).click()
    page.fill("#find", "cache")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run().then((result) => result.violations)")
    assert [
        (each["id"], each["nodes"][0]["html"][:200], each["nodes"][0]["failureSummary"])
        for each in found
    ] == []
