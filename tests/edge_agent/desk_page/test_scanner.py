"""A barcode scanner that types: wherever the focus is, its code begins its item, and never acts as shortcuts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.edge_agent.desk_page.fake_desk import FakeDesk
from tests.edge_agent.desk_page.hands import scan, shoot, shoot_all, verdict

CODE = "N1DR/?-7"
GOOD = "7NDRUAF?-1"  # made of shortcuts; the first does nothing where it comes too slowly
NEXT = "N1DRUAF?-7"


@pytest.fixture
def page(context_of: Callable[..., BrowserContext]) -> Page:
    opened = context_of().new_page()
    opened.goto("/")
    opened.locator("#code").wait_for()
    return opened


def opened(page: Page, code: str = GOOD) -> None:
    expect(page.locator(".scan-head h1")).to_have_text(code)


def test_in_the_code_field_with_half_a_code_typed_before(page) -> None:
    page.keyboard.type("old", delay=90)
    page.wait_for_timeout(500)
    scan(page, GOOD)
    opened(page)


def test_with_the_focus_on_nothing(page) -> None:
    page.keyboard.press("Escape")
    expect(page.locator("#code")).not_to_be_focused()
    scan(page, NEXT)
    opened(page, NEXT)


@pytest.mark.parametrize("name", ["Inbox", "History", "Scan"])
def test_on_a_link(page, name: str) -> None:
    page.get_by_role("link", name=name).focus()
    scan(page, GOOD)
    opened(page)


def test_on_a_button_which_is_not_pressed(page) -> None:
    page.get_by_role("button", name="Settings").focus()
    scan(page, "AB 12 CD")  # a space presses a button, elsewhere
    opened(page, "AB 12 CD")
    assert page.locator("dialog").count() == 0


def test_in_a_window_which_closes(page) -> None:
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Language").focus()
    scan(page, GOOD)
    opened(page)
    assert page.locator("dialog").count() == 0


def test_on_a_verdict_straight_to_the_next_item(page, fake: FakeDesk) -> None:
    scan(page, "FIRST-1")
    shoot_all(page)
    verdict(page)
    scan(page, GOOD)
    opened(page)


def test_in_the_search_field_it_is_searched(page, fake: FakeDesk) -> None:
    fake.add_record("FOUND-77")
    fake.add_record("OTHER-88")
    page.keyboard.press("/")
    expect(page.get_by_label("Search by code")).to_be_focused()
    scan(page, "FOUND-77")
    expect(page.locator(".rows .row")).to_have_count(1)
    scan(page, "MISSING-9")  # takes the place of the code before
    page.get_by_role("button", name="Begin this item").click()
    opened(page, "MISSING-9")


def test_in_a_text_nothing_of_it_stays_and_nothing_is_lost(page, fake: FakeDesk) -> None:
    record = fake.add_record("TEXT-1")
    page.goto(f"/#/record/{record['record_id']}")
    verdict(page)
    page.keyboard.press("d")
    page.get_by_label("What do you see?").fill("an uneven seam")
    page.wait_for_timeout(500)
    scan(page, GOOD)
    page.get_by_role("button", name="Stay here").click()
    page.locator("dialog").wait_for(state="detached")
    page.keyboard.press("d")
    expect(page.get_by_label("What do you see?")).to_have_value("an uneven seam")
    page.wait_for_timeout(500)
    scan(page, GOOD)
    page.get_by_role("button", name="Begin the new item").click()
    opened(page)
    assert fake.objections == {}


def test_a_person_who_types_and_presses_enter_is_no_scanner(page, fake: FakeDesk) -> None:
    record = fake.add_record("TYPED-1")
    page.goto(f"/#/record/{record['record_id']}")
    verdict(page)
    page.keyboard.press("d")
    expect(page.get_by_label("What do you see?")).to_be_focused()
    page.keyboard.type("line one", delay=70)
    page.keyboard.press("Enter")
    page.keyboard.type("line two", delay=70)
    expect(page.get_by_label("What do you see?")).to_have_value("line one\nline two")


def test_while_an_item_is_open_another_code_asks_and_the_same_one_does_not(page, fake: FakeDesk) -> None:
    scan(page, "OPEN-1")
    shoot(page, "Logo")
    expect(page.locator(".stage-caption")).to_contain_text("Stitching")
    scan(page, "OPEN-1")
    page.wait_for_timeout(150)
    assert page.locator("dialog").count() == 0
    scan(page, GOOD)
    expect(page.locator("dialog")).to_contain_text(GOOD)
    page.keyboard.press("Escape")
    opened(page, "OPEN-1")
    scan(page, GOOD)
    page.locator("dialog").wait_for()
    page.keyboard.press("Enter")
    opened(page)
    assert len(fake.sessions) == 2


def test_an_item_without_a_photo_gives_way(page, fake: FakeDesk) -> None:
    scan(page, "EMPTY-1")
    opened(page, "EMPTY-1")
    scan(page, GOOD)
    opened(page)
    page.wait_for_timeout(200)
    assert [one["item_id"] for one in fake.sessions.values()] == [GOOD]


def test_a_code_that_cannot_be_one_is_refused_in_words(page) -> None:
    scan(page, CODE)
    expect(page.locator("#code-note")).to_contain_text("This cannot be an item's code.")


def test_a_scan_without_enter_says_how_to_set_the_scanner(page) -> None:
    page.keyboard.press("Escape")
    page.keyboard.type("LG-000123")
    expect(page.locator(".toast")).to_contain_text("Set the scanner to send Enter.")
    assert page.locator(".scan").count() == 0
