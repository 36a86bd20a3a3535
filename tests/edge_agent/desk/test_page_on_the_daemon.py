"""The operator's page as a real daemon serves it, in a real Chromium, by keyboard alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from edge_agent.home import Home
from tests.edge_agent.desk.rigs import a_page, answer_to, running
from tests.edge_agent.desk_page.hands import scan


def test_a_first_verdict_by_keyboard_alone(home_with_model: Home, tmp_path: Path) -> None:
    with running(home_with_model) as (desk, daemon), a_page(desk, tmp_path) as page:
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


def test_a_case_is_shown_beside_its_references_and_followed_to_its_answer(
    home_with_model: Home, tmp_path: Path, photo_of: Callable[..., bytes]
) -> None:
    identity = home_with_model.identity_file
    identity.write_text(identity.read_text().replace('"audit_share":0.0', '"audit_share":1.0'))
    with running(home_with_model) as (desk, _), a_page(desk, tmp_path) as page:
        scanned = {
            name: desk.scan(name, logo=photo_of(red), stitching=photo_of(red, seed=1)).json
            for name, red in (("SUSPECT-1", 230), ("UNCERTAIN-1", 140), ("HOLD-1", 20))
        }
        assert [one["verdict"] for one in scanned.values()] == ["suspect", "uncertain", "authentic"]
        for name in ("SUSPECT-1", "UNCERTAIN-1"):
            page.keyboard.press("Escape")
            page.keyboard.press("h")
            page.get_by_role("link", name=name).focus()
            page.keyboard.press("Enter")
            expect(page.locator(".hero")).to_contain_text(name)
            expect(page.locator(".reasons li")).to_have_count(len(scanned[name]["reasons"]))
            expect(page.locator(".pair")).to_have_count(2)
            for view in ("Logo", "Stitching"):
                expect(page.get_by_alt_text(f"{view} of this item")).to_be_visible()
                reference = page.get_by_alt_text(f"{view}: the nearest reference")
                assert reference.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
            expect(page.locator(".pair-head").first).to_contain_text("alike")
            shot(page, name)
        page.keyboard.press("i")
        expect(page.locator(".part")).to_contain_text(["3 items to hold"])
        for name in scanned:
            expect(page.get_by_role("link", name=name)).to_contain_text("waits to be sent")
        shot(page, "inbox")
        answer_to(home_with_model, scanned["UNCERTAIN-1"]["record_id"], "UNCERTAIN-1")
        answered = page.get_by_role("link", name="UNCERTAIN-1")
        expect(page.locator(".part").first).to_contain_text("1 answer from experts")
        expect(answered).to_contain_text("Take it off the hold shelf: it can go on.")
        answered.focus()
        page.keyboard.press("Enter")
        expect(page.locator(".why .pills")).to_contain_text("An expert said: Genuine")
        expect(page.locator(".hero-do")).to_contain_text("Take it off the hold shelf: it can go on.")


def test_an_open_page_costs_the_daemon_little_memory(home_with_model: Home, tmp_path: Path) -> None:
    with running(home_with_model) as (_, daemon):
        pass  # once, so that everything is compiled
    with running(home_with_model) as (desk, daemon):
        time.sleep(3.0)
        closed_mb = resident_mb(daemon.process.pid)
        with a_page(desk, tmp_path) as page:
            scan(page, "BAG-1")
            page.locator(".stage.is-live").wait_for()
            page.wait_for_timeout(3_000)
            open_mb = resident_mb(daemon.process.pid)
    assert open_mb - closed_mb < 15.0, (closed_mb, open_mb)


def resident_mb(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def shot(page: Page, name: str) -> None:
    """Keep a picture for a person to look at, where one is wanted."""
    folder = os.environ.get("TOUCHSTONE_SCREENSHOTS")
    if folder:
        page.screenshot(path=f"{folder}/{name}.png")
