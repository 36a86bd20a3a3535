"""The operator's page as a real daemon serves it, in a real Chromium, by keyboard alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from edge_agent.home import Home
from tests.edge_agent.desk.rigs import running
from tests.edge_agent.desk_page.conftest import CHROMIUM, FLAGS, film


def test_a_first_verdict_by_keyboard_alone(home_with_model: Home, tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (none of chromium, chromium-browser, google-chrome is on PATH)")
    pictures = film(tmp_path / "still.mjpeg")
    with running(home_with_model) as (desk, daemon), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, f"--use-file-for-fake-video-capture={pictures}"]
        )
        page = browser.new_page(viewport={"width": 1024, "height": 768}, locale="en-GB")
        page.set_default_timeout(15_000)
        page.goto(f"http://127.0.0.1:{desk.port}/")
        page.locator("#code").wait_for()
        page.keyboard.type("BAG-1")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="BAG-1").wait_for()
        for view in ("logo", "stitching"):
            page.wait_for_timeout(800)
            page.keyboard.press("Space")
            page.wait_for_timeout(1200)
            if page.get_by_role("button", name="Use anyway").is_visible():
                page.keyboard.press("u")
            shot(page, f"after-{view}")
        page.locator(".hero").wait_for()
        shot(page, "verdict")
        assert "BAG-1" in page.locator(".hero").inner_text()
        assert desk.get("/v1/state")["queue"]["recorded"] == 1
        (decided,) = daemon.events("decided")
        assert decided["item_id"] == "BAG-1"
        browser.close()


def shot(page: Page, name: str) -> None:
    """Keep a picture for a person to look at, where one is wanted."""
    folder = os.environ.get("TOUCHSTONE_SCREENSHOTS")
    if folder:
        page.screenshot(path=f"{folder}/{name}.png")
