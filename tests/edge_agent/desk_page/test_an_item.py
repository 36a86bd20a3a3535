"""One item at a time: scan, shoot, mend, verdict; by keyboard, as operators work."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect

from tests.edge_agent.desk_page.fake_desk import FakeDesk
from tests.edge_agent.desk_page.hands import scan, shoot, shoot_all, shutter, verdict, view_button
from tests.edge_agent.rigs import wait_until

BLURRED = {"code": "blurred", "text": "the photo is blurred", "value": 41.2, "limit": 80.0}
GLARE = {"code": "glare", "text": "there is glare", "value": 0.2, "limit": 0.05}

HASH_OF = """async (url) => {
  const data = await (await fetch(url)).arrayBuffer();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}"""


@pytest.fixture
def page(context_of: Callable[..., BrowserContext]) -> Page:
    opened = context_of().new_page()
    opened.goto("/")
    opened.locator("#code").wait_for()
    return opened


def test_a_whole_item_by_keyboard_alone(page) -> None:
    """Runs against a real desk too, whatever its views are and whatever it thinks of the picture."""
    scan(page, "KEYBOARD-1")
    expect(page.get_by_role("heading", name="KEYBOARD-1")).to_be_visible()
    for _ in range(page.locator(".views li").count()):
        expect(shutter(page)).to_have_attribute("aria-disabled", "false")
        page.wait_for_timeout(420)
        page.keyboard.press("Space")
        page.wait_for_timeout(600)
        if page.get_by_role("button", name="Use anyway").is_visible():
            page.keyboard.press("u")
            page.wait_for_timeout(300)
    verdict(page)
    expect(page.locator(".hero")).to_contain_text("KEYBOARD-1")
    page.wait_for_timeout(800)
    page.keyboard.press("Enter")
    expect(page.locator("#code")).to_be_focused()
    expect(page.locator(".rows").last).to_contain_text("KEYBOARD-1")


def test_the_photo_is_the_cameras_full_picture(page, fake: FakeDesk) -> None:
    scan(page, "SIZE-1")
    shoot(page, "Logo")
    expect(view_button(page, "Logo")).to_contain_text("kept")
    (photo,) = fake.photos.values()
    assert Image.open(io.BytesIO(photo)).size == (1280, 960)


def test_enter_shoots_and_a_key_held_down_shoots_once(page, fake: FakeDesk) -> None:
    scan(page, "HELD-1")
    shoot(page, "Logo", "Enter")
    expect(view_button(page, "Logo")).to_contain_text("kept")
    page.wait_for_timeout(450)
    for _ in range(5):
        page.keyboard.down("Space")
        page.wait_for_timeout(100)
    page.keyboard.up("Space")
    expect(view_button(page, "Stitching")).to_contain_text("kept")
    expect(view_button(page, "Hardware")).to_contain_text("to take")


def test_numbers_jump_to_views_and_the_order_goes_on_from_there(page, fake: FakeDesk) -> None:
    scan(page, "JUMP-1")
    page.locator(".stage").wait_for()
    page.keyboard.press("3")
    shoot(page, "Hardware")
    shoot(page, "Logo")
    expect(page.locator(".stage-caption")).to_contain_text("Stitching")


def test_a_bad_photo_says_why_is_shot_again_and_is_used_anyway(page, fake: FakeDesk) -> None:
    fake.problems_next = [[BLURRED], [BLURRED, GLARE], []]
    scan(page, "BLUR-1")
    shoot(page, "Logo")
    panel = page.locator(".now")
    expect(panel).to_contain_text("The photo is blurred. Hold still and let the camera focus.")
    expect(panel).to_contain_text("measured 41.2, limit 80")
    expect(page.locator("#shout")).to_contain_text("Logo: The photo is blurred.")
    assert fake.photos == {}
    assert panel.locator("img.taken").evaluate("image => image.decode().then(() => image.naturalWidth)") == 1280
    page.wait_for_timeout(420)
    page.keyboard.press("r")
    expect(panel).to_contain_text("There is glare on the item.")
    page.keyboard.press("u")
    expect(view_button(page, "Logo")).to_contain_text("kept, with a note")
    expect(page.locator(".stage-caption")).to_contain_text("Stitching")
    (session,) = fake.sessions.values()
    assert [one["code"] for one in session["views"][0]["problems"]] == ["blurred", "glare"]
    assert session["views"][0]["sha256"] in fake.photos


@pytest.mark.parametrize("source", ["station", "browser"])
def test_the_photo_used_anyway_is_the_one_that_was_refused(page, fake: FakeDesk, source: str) -> None:
    fake.state["camera"]["source"] = source
    page.reload()
    fake.problems_next = [[BLURRED]]
    scan(page, "SAME-1")
    shoot(page, "Logo")
    shown = page.locator("img.taken").get_attribute("src") or ""
    (refused,) = fake.taken
    if source == "station":  # a browser's own photo may be shown, and not fetched
        assert page.evaluate(HASH_OF, shown) == refused
    fake.lose_answers = {"PUT"}  # the station has kept it, and the page must ask again
    page.keyboard.press("u")
    expect(view_button(page, "Logo")).to_contain_text("kept, with a note", timeout=20_000)
    (session,) = fake.sessions.values()
    assert session["views"][0]["sha256"] == refused
    assert fake.taken == [refused] * 3


def test_r_takes_the_last_photo_again_and_esc_keeps_the_earlier_one(page, fake: FakeDesk) -> None:
    scan(page, "AGAIN-1")
    shoot(page, "Logo")
    expect(page.locator(".stage-caption")).to_contain_text("Stitching")
    page.keyboard.press("r")
    expect(page.locator(".stage-caption")).to_contain_text("Logo")
    expect(page.locator(".stage.is-live")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".stage-caption")).to_contain_text("Stitching")
    page.keyboard.press("r")
    shoot(page, "Logo")
    expect(page.locator(".stage-caption")).to_contain_text("Stitching")
    assert len([one for one in fake.asked if one.startswith("PUT")]) == 2


def test_an_item_with_views_missing_goes_to_an_expert(page) -> None:
    scan(page, "HALF-1")
    shoot(page, "Logo")
    page.get_by_role("button", name="Finish without the rest").wait_for()
    page.keyboard.press("f")
    assert verdict(page).inner_text() == "Sent to an expert"
    expect(page.locator(".reasons")).to_contain_text("There is no photo of: Stitching.")


def test_a_second_photo_of_a_view_can_be_added_and_removed(page, fake: FakeDesk) -> None:
    scan(page, "MORE-1")
    page.locator(".stage").wait_for()
    page.keyboard.press("a")
    expect(page.locator(".stage-caption")).to_contain_text("Logo 2")
    shoot(page, "Logo 2")
    expect(view_button(page, "Logo 2")).to_contain_text("kept")
    page.keyboard.press("4")
    page.get_by_role("button", name="Remove").click()
    expect(view_button(page, "Logo 2")).to_have_count(0)
    (session,) = fake.sessions.values()
    assert [one["view"] for one in session["views"]] == ["logo", "stitching", "hardware"]


def test_without_the_automatic_verdict_enter_asks_for_it(page, fake: FakeDesk) -> None:
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Verdict right after the last photo").uncheck()
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    scan(page, "ASK-1")
    shoot_all(page)
    expect(shutter(page)).to_contain_text("Get the verdict")
    page.keyboard.press("Enter")
    assert verdict(page).inner_text() == "Confirmed"
    page.reload()
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_label("Verdict right after the last photo")).not_to_be_checked()


SAID = {
    "en": ("Confirmed", "Not confirmed", "Sent to an expert"),
    "de": ("Bestätigt", "Nicht bestätigt", "An Experten gesendet"),
    "fr": ("Confirmé", "Non confirmé", "Envoyé à un expert"),
}
LOOKS = (("authentic", "good"), ("suspect", "bad"), ("uncertain", "wait"))


@pytest.mark.parametrize("language", SAID)
def test_a_verdict_has_words_colour_shape_and_reasons_in_each_language(context_of, fake: FakeDesk, language) -> None:
    fake.state["language"] = language
    page = context_of(locale="sv-SE").new_page()
    seen = []
    for verdict_, _ in LOOKS:
        reasons = [{"code": "photos_differ", "text": "the photos differ from genuine items (P = 0.953)"}]
        record = fake.add_record(f"LG-{verdict_}", verdict_, reasons=reasons, p_counterfeit=0.953)
        page.goto(f"/#/record/{record['record_id']}")
        hero = page.locator(".hero", has_text=f"LG-{verdict_}")
        colour = hero.evaluate("one => getComputedStyle(one).backgroundColor")
        shape = hero.locator(".hero-sign path").get_attribute("d")
        seen.append((hero.locator("h1").inner_text(), colour, shape, hero.locator(".hero-do").inner_text()))
        assert "95" in page.locator(".reasons").inner_text()
    assert tuple(one[0] for one in seen) == SAID[language]
    assert len({one[1] for one in seen}) == len({one[2] for one in seen}) == 3
    assert page.evaluate("document.documentElement.lang") == language


def test_each_photo_stands_beside_its_nearest_reference(page, fake: FakeDesk) -> None:
    scan(page, "PAIRS-1")
    shoot_all(page)
    verdict(page)
    pairs = page.locator(".pair")
    assert pairs.count() == 3
    for index in range(3):
        widths = (
            pairs.nth(index)
            .locator("img")
            .evaluate_all("all => Promise.all(all.map((image) => image.decode().then(() => image.naturalWidth)))")
        )
        assert widths == [1280, 288]
    expect(pairs.first).to_contain_text("94% alike")
    pairs.first.click()
    assert page.locator("dialog img").count() == 2


def test_the_key_of_the_last_photo_does_not_wave_the_verdict_away(page, fake: FakeDesk) -> None:
    scan(page, "QUICK-1")
    shoot_all(page)
    verdict(page)
    page.keyboard.press("Space")
    page.wait_for_timeout(200)
    assert verdict(page).inner_text() == "Confirmed"
    page.wait_for_timeout(700)
    page.keyboard.press("n")
    expect(page.locator("#code")).to_be_focused()


def test_an_audited_item_goes_to_the_shelf(page, fake: FakeDesk) -> None:
    fake.verdicts_next = [{"verdict": "authentic", "audited": True}]
    scan(page, "AUDIT-1")
    shoot_all(page)
    verdict(page)
    expect(page.locator(".hero-do")).to_have_text("Drawn for a check: put it on the hold shelf.")
    expect(page.locator("#shout")).to_have_text("Confirmed. Drawn for a check: put it on the hold shelf.")


def test_an_operator_disagrees(page, fake: FakeDesk) -> None:
    scan(page, "WRONG-1")
    shoot_all(page)
    verdict(page)
    page.keyboard.press("d")
    text = page.get_by_label("What do you see?")
    expect(text).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Please say what you see.")).to_be_visible()
    page.keyboard.type("the stitching is <b>uneven</b>, not neat", delay=60)
    page.keyboard.press("Control+Enter")
    expect(page.locator(".verdict-foot")).to_contain_text("You disagreed. An expert will look at it.")
    assert list(fake.objections.values()) == ["the stitching is <b>uneven</b>, not neat"]
    page.keyboard.press("d")
    assert page.locator("dialog").count() == 0


def test_an_answer_that_came_since_the_verdict_is_shown(page, fake: FakeDesk) -> None:
    fake.verdicts_next = [{"verdict": "suspect"}]
    scan(page, "LATER-1")
    shoot_all(page)
    verdict(page)
    expect(page.locator(".hero-do")).to_contain_text("Put it on the hold shelf until an expert has answered.")
    page.wait_for_timeout(800)
    page.keyboard.press("n")
    fake.records[0]["answer"] = "counterfeit"
    page.get_by_role("link", name="LATER-1").click()
    expect(page.locator(".hero-do")).to_contain_text("It must not go on: keep it back.")
    expect(page.locator(".why .pill")).to_have_text("An expert said: Counterfeit")


def test_an_item_left_alone_is_resumed_with_its_photos(page, fake: FakeDesk) -> None:
    scan(page, "LEFT-1")
    shoot(page, "Logo")
    expect(page.locator(".stage-caption")).to_contain_text("Stitching")
    page.keyboard.press("n")
    page.get_by_role("heading", name="1 item is not finished").wait_for()
    fake.stop()
    fake.start()
    page.reload()
    page.locator("#code").wait_for()
    page.get_by_role("link", name="LEFT-1").click()
    expect(view_button(page, "Logo")).to_contain_text("kept")
    assert (
        view_button(page, "Logo").locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)")
        == 1280
    )
    page.reload()  # in the middle of an item
    expect(page.locator(".stage-caption")).to_contain_text("Stitching")
    shoot_all(page, "Stitching", "Hardware")
    assert verdict(page).inner_text() == "Confirmed"
    assert len(fake.records) == 1


def test_scanning_an_unfinished_items_code_goes_on_with_it(page, fake: FakeDesk) -> None:
    scan(page, "TWICE-1")
    shoot(page, "Logo")
    expect(page.locator(".stage-caption")).to_contain_text("Stitching")
    page.keyboard.press("n")
    page.locator("#code").wait_for()
    scan(page, "TWICE-1")
    expect(view_button(page, "Logo")).to_contain_text("kept")
    assert len(fake.sessions) == 1


def test_a_discarded_item_leaves_nothing(page, fake: FakeDesk) -> None:
    scan(page, "AWAY-1")
    shoot(page, "Logo")
    page.get_by_role("button", name="Discard").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="AWAY-1")).to_be_visible()
    page.get_by_role("button", name="Discard").click()
    page.locator("dialog").get_by_role("button", name="Discard").click()
    page.locator("#code").wait_for()
    wait_until(lambda: fake.sessions == {}, "the desk has let go of the item")
    assert fake.records == []


@pytest.mark.parametrize("code", ["<img src=x onerror=alert(1)>", "x" * 10_000, "a\u202egnp.exe"])
def test_hostile_codes_are_shown_as_they_are_and_cut(page, fake: FakeDesk, code: str) -> None:
    fake.add_record(code, "uncertain")
    page.goto("/#/history")
    line = page.locator(".rows .code")
    expect(line).to_be_visible()
    assert len(line.inner_text()) <= 48
    assert page.locator("main img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1024
    page.locator(".rows a").first.click()
    verdict(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1024
    page.goto("/#/")
    page.locator("#code").fill(code)
    page.keyboard.press("Enter")
    if len(code) > 128 or "/" in code:
        expect(page.locator("#code-note")).to_contain_text("This cannot be an item's code.")
    else:
        expect(page.locator(".scan-head h1")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1024
