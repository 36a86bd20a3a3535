"""What an operator's hands do: scan, shoot, look."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

AGAIN = "may be incomplete|vielleicht unvollständig|peut-être incomplet"


def scan(page: Page, code: str) -> None:
    """Type as a barcode scanner does: at once, with Enter at the end, wherever the focus is.

    On a busy machine the letters may come slowly; the page then asks to scan again, and an operator would.
    """
    for _ in range(5):
        page.keyboard.type(code)
        page.keyboard.press("Enter")
        if page.locator(".toast", has_text=re.compile(AGAIN)).count() == 0:
            return
        page.wait_for_timeout(1_600)
        page.locator("#toasts").evaluate("one => one.replaceChildren()")


def shutter(page: Page) -> Locator:
    return page.locator("button.shutter")


def shoot(page: Page, view: str, key: str = "Space") -> None:
    """Press a key once the camera shows ``view``."""
    expect(page.locator(".stage-caption")).to_contain_text(view)
    expect(page.locator(".stage.is-live")).to_be_visible()
    expect(shutter(page)).to_have_attribute("aria-disabled", "false")
    page.wait_for_timeout(420)  # two shots within 0.4 s count as one
    page.keyboard.press(key)


def shoot_all(page: Page, *views: str) -> None:
    for view in views or ("Logo", "Stitching", "Hardware"):
        shoot(page, view)


def verdict(page: Page) -> Locator:
    """The verdict in large letters, once it is there."""
    words = page.locator(".hero h1")
    words.wait_for()
    return words


def view_button(page: Page, name: str) -> Locator:
    return page.locator(".views button", has_text=name)
