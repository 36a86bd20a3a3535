"""Every place of the page, at a desk and on a tablet: nothing overflows, everything can be touched, and has a name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.edge_agent.desk_page.fake_desk import STATIC, FakeDesk
from tests.edge_agent.desk_page.hands import scan, verdict
from tests.edge_agent.desk_page.take_screenshots import SCENES, a_day

SIZES = {"desk": (1024, 768), "upright": (800, 1280), "sideways": (1180, 820), "small": (600, 960)}
TOUCH_PX = 48
MOST_BYTES = 150_000

# Names as a screen reader computes them, in short: label, aria-label, text, alt; and what else axe asks first.
FAULTS = """
() => {
  const faults = [];
  const seen = (node) => node.checkVisibility() && !node.closest(".unseen, .skip");
  const byId = (id) => document.getElementById(id);
  const name = (node) => (node.getAttribute("aria-label") || byId(node.getAttribute("aria-labelledby"))?.textContent
    || [...(node.labels ?? [])].map((one) => one.textContent).join("") || node.textContent || "").trim();
  const said = (node) => node.outerHTML.slice(0, 120);
  const wrong = (where, bad, words) => {
    for (const node of document.querySelectorAll(where)) if (bad(node)) faults.push(`${words}: ${said(node)}`);
  };
  wrong("button, a[href], input, select, textarea, summary, dialog", (node) => seen(node) && !name(node), "no name");
  wrong("img", (node) => !node.hasAttribute("alt"), "no alt");
  wrong("svg", (node) => node.getAttribute("aria-hidden") !== "true", "svg is read");
  wrong("li", (node) => !["UL", "OL"].includes(node.parentElement.tagName), "li alone");
  wrong("[tabindex]", (node) => node.tabIndex > 0, "tabindex");
  for (const one of ["aria-describedby", "aria-labelledby", "for"])
    wrong(`[${one}]`, (node) => !byId(node.getAttribute(one)), `${one} points nowhere`);
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  ids.filter((id, at) => ids.indexOf(id) !== at).forEach((id) => faults.push(`id twice: ${id}`));
  const heads = [...document.querySelectorAll("main h1")].filter(seen).length;
  if (heads !== 1) faults.push(`${heads} first headings`);
  if (!document.documentElement.lang || !document.title) faults.push("no language or title");
  for (const one of ["assertive", "polite"])
    if (!document.querySelector(`[aria-live=${one}]`)) faults.push(`no ${one} live region`);
  return faults;
}
"""
SMALL = """
(least) => [...document.querySelectorAll("button, a[href], input, select, textarea, summary")]
  .filter((node) => node.checkVisibility() && !node.closest(".unseen, .skip"))
  .map((node) => [(node.closest("label") ?? node).getBoundingClientRect(), node])
  .filter(([box]) => box.height < least - 0.5 || box.width < least - 0.5)
  .map(([box, node]) => `${Math.round(box.width)}x${Math.round(box.height)} ${node.outerHTML.slice(0, 100)}`)
"""


@pytest.fixture
def a_page(context_of: Callable[..., BrowserContext], fake: FakeDesk) -> Callable[..., Page]:
    def make(size: str = "desk", **more: object) -> Page:
        width, height = SIZES[size]
        page = context_of(viewport={"width": width, "height": height}, **more).new_page()
        fake.state["camera"]["source"] = "station"
        a_day(fake)
        page.goto("/")
        page.locator("#code").wait_for()
        return page

    return make


@pytest.mark.parametrize("scene", SCENES)
def test_nothing_overflows_and_everything_has_a_name_and_can_be_touched(a_page, fake: FakeDesk, scene: str) -> None:
    page = a_page()
    SCENES[scene](page, fake)
    assert page.evaluate(FAULTS) == []
    for width, height in SIZES.values():
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(SMALL, TOUCH_PX) == []


@pytest.mark.parametrize("size", ["desk", "upright"])
@pytest.mark.parametrize("language", ["en", "de", "fr"])
def test_what_to_do_next_is_in_sight_without_scrolling(a_page, fake: FakeDesk, language: str, size: str) -> None:
    fake.state["language"] = language
    fake.state["update"] = {"state": "waits", "detail": "", "release": 13, "deferred_until": None}
    page = a_page(size, locale="sv-SE")
    height = SIZES[size][1]
    page.locator(".banner").wait_for()
    scan(page, "LG-000004")
    page.locator(".stage.is-live").wait_for()
    fake.problems_next = [[{"code": "wrong_view", "text": "", "value": 0.1, "limit": 0.6}]]
    page.wait_for_timeout(500)
    page.keyboard.press("Space")
    page.locator(".problem").wait_for()
    for place in (".shutter", ".now .actions button >> nth=0", ".now .actions button >> nth=1"):
        box = page.locator(place).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= height
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    page.keyboard.press("u")
    page.wait_for_timeout(500)
    page.keyboard.press("f")
    verdict(page)
    button = page.locator(".hero button").bounding_box()
    assert button is not None
    assert button["y"] + button["height"] <= height
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]


@pytest.mark.parametrize("language", ["en", "de", "fr"])
@pytest.mark.parametrize("away", [False, True])
def test_the_top_of_the_page_covers_no_name(a_page, fake: FakeDesk, language: str, away: bool) -> None:
    fake.state["language"] = language
    page = a_page("upright", locale="sv-SE")
    if away:
        fake.stop()
        page.locator(".banner.bad").wait_for()
    left, right = page.evaluate(
        "() => [document.querySelector('.top nav').getBoundingClientRect().left, Math.max(...[...document"
        ".querySelectorAll('.brand strong, .brand small')].map((one) => one.getBoundingClientRect().right))]"
    )
    assert right <= left


def test_the_keys_are_named_on_a_tablet_too(a_page) -> None:
    page = a_page("upright", has_touch=True)
    page.get_by_role("button", name="Keys").click()
    assert page.locator(".keys kbd").first.is_visible()
    assert page.locator(".keys kbd").last.inner_text() == "?"


def test_windows_have_names_and_give_the_focus_back(a_page) -> None:
    page = a_page()
    for name, title in (("Keys", "Keys"), ("Settings", "Settings"), ("Online", "Station")):
        page.get_by_role("button", name=name).click()
        page.get_by_role("dialog", name=title).wait_for()
        assert page.evaluate(FAULTS) == []
        assert page.evaluate(SMALL, TOUCH_PX) == []
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.textContent").strip().startswith(name)
    page.locator("#code").focus()
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keys").wait_for()


def test_everything_can_be_reached_with_tab_and_the_focus_shows(a_page) -> None:
    page = a_page()
    page.locator("#code").focus()
    seen = []
    for _ in range(16):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]")
        )
    reached = [outline for tag, outline in seen if tag != "BODY"]  # past the last one lies the browser
    assert len(reached) >= 12
    assert set(reached) == {"solid"}


def test_the_page_follows_the_dark_scheme(a_page) -> None:
    grounds = {
        scheme: a_page(color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    }
    assert grounds["light"] != grounds["dark"]


def test_the_whole_page_weighs_little(context_of, fake: FakeDesk) -> None:
    page = context_of().new_page()
    sizes: dict[str, int] = {}
    page.on(
        "response", lambda answer: sizes.update({answer.url: len(answer.body())}) if "/v1/" not in answer.url else None
    )
    page.goto("/")
    page.locator("#code").wait_for()
    page.wait_for_load_state("networkidle", timeout=5_000)
    assert len(sizes) > 20
    assert sum(sizes.values()) < MOST_BYTES
    assert sum(path.stat().st_size for path in STATIC.rglob("*.js")) < MOST_BYTES
