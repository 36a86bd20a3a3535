"""A real Chromium whose camera looks at a real picture, and a desk for it to talk to.

With TOUCHSTONE_DESK_URL the pages come from a running daemon; tests that must say what goes wrong are then skipped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

from tests.edge_agent.desk_page.fake_desk import SAMPLE, FakeDesk

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
FLAGS += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"]
FLAGS += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
REAL = os.environ.get("TOUCHSTONE_DESK_URL")
DESK = {"width": 1024, "height": 768}


def film(path: Path) -> Path:
    """Write a film of one still, as Chromium's camera plays it: JPEGs one after the other."""
    still = cv2.imread(str(SAMPLE / "LG-000004" / "logo.jpg"))
    frame = np.full((960, 1280, 3), 200, np.uint8)
    frame[80:880, 240:1040] = cv2.resize(still, (800, 800))
    path.write_bytes(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes() * 3)
    return path


@pytest.fixture(scope="module")  # Playwright leaves its event loop running while it lives
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (none of chromium, chromium-browser, google-chrome is on PATH)")
    pictures = film(tmp_path_factory.mktemp("camera") / "still.mjpeg")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, f"--use-file-for-fake-video-capture={pictures}"]
        )
        yield running
        running.close()


@pytest.fixture
def fake() -> Iterator[FakeDesk]:
    """A desk that does as the test says."""
    if REAL:
        pytest.skip("TOUCHSTONE_DESK_URL names a real desk, which cannot be told what to answer")
    desk = FakeDesk().start()
    yield desk
    if desk.thread.is_alive():
        desk.stop()


@pytest.fixture
def desk_url(request: pytest.FixtureRequest) -> str:
    return REAL or request.getfixturevalue("fake").url


@pytest.fixture
def context_of(browser: Browser, desk_url: str) -> Iterator[Callable[..., BrowserContext]]:
    """``context_of(...)`` makes a visitor that reaches the desk alone; a broken page fails the test at its end."""
    opened: list[BrowserContext] = []
    wrong: list[str] = []

    def watch(page: Page) -> None:
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if "Security Policy" in said.text else None)

    def only_the_desk(request: Request) -> None:
        if not request.url.startswith((f"{desk_url}/", f"blob:{desk_url}/")):
            wrong.append(request.url)

    def make(**more: Any) -> BrowserContext:
        context = browser.new_context(**{"base_url": desk_url, "viewport": DESK, "locale": "en-GB", **more})
        context.set_default_timeout(10_000)
        context.on("request", only_the_desk)
        context.on("page", watch)
        opened.append(context)
        return context

    yield make
    for context in opened:
        context.close()
    assert wrong == []


@pytest.fixture
def page(context_of: Callable[..., BrowserContext]) -> Page:
    return context_of().new_page()
