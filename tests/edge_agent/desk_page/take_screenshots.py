"""Takes pictures of the operator's page for the documents: ``python -m tests.edge_agent.desk_page.take_screenshots``.

Every picture is a real page against the fake desk; nothing is drawn afterwards but its number of colours.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.edge_agent.desk_page.conftest import CHROMIUM, FLAGS, film
from tests.edge_agent.desk_page.fake_desk import ROOT, FakeDesk
from tests.edge_agent.desk_page.hands import scan, shoot, verdict

FOLDER = ROOT / "docs" / "screenshots"
SIZES = {"desk": {"width": 1024, "height": 768}, "tablet": {"width": 800, "height": 1280}}
MOST_BYTES = 118_000
UI_COLOURS = 24
BLUR = {"code": "blurred", "text": "the photo is blurred", "value": 41.2, "limit": 80.0}


def a_day(desk: FakeDesk) -> None:
    """What a station has behind it."""
    desk.add_record("LG-000008")
    desk.add_record("LG-000006", audited=True)
    suspect = [{"code": "photos_differ", "text": "the photos differ from genuine items (P = 0.971)"}]
    desk.add_record("LG-000003", "suspect", reasons=suspect, p_counterfeit=0.971, answer="counterfeit")
    unclear = [{"code": "photos_unclear", "text": "the photos are not clear enough to confirm (P = 0.420)"}]
    desk.add_record("LG-000005", "uncertain", reasons=unclear, p_counterfeit=0.42)
    last = desk.add_record("LG-000007", "uncertain", reasons=unclear, p_counterfeit=0.42, answer="genuine")
    desk.add_record("LG-000001", "uncertain", reasons=unclear, p_counterfeit=0.42, state="pending")
    for number, one in ((2, desk.records[2]), (5, last)):
        desk.answers.insert(
            0,
            {
                "seq": number,
                "resolved_at": one["scanned_at"],
                "outcome": one["answer"],
                **{k: one[k] for k in ("record_id", "item_id", "verdict")},
            },
        )
    desk.read_up_to = 2


def start(page: Page, desk: FakeDesk) -> None:
    scan(page, "LG-000002")
    shoot(page, "Logo")
    page.locator(".stage-caption", has_text="Stitching").wait_for()
    page.goto(f"{desk.url}/#/")
    page.get_by_role("heading", name="not finished").wait_for()


def capture(page: Page, desk: FakeDesk) -> None:
    scan(page, "LG-000004")
    shoot(page, "Logo")
    page.locator(".stage-caption", has_text="Stitching").wait_for()


def refused(page: Page, desk: FakeDesk) -> None:
    capture(page, desk)
    desk.problems_next = [[BLUR]]
    shoot(page, "Stitching")
    page.get_by_text("The photo is blurred.").first.wait_for()


def decided(**out: object) -> Callable[[Page, FakeDesk], None]:
    def run(page: Page, desk: FakeDesk) -> None:
        desk.verdicts_next = [dict(out)]
        scan(page, "LG-000004")
        for view in ("Logo", "Stitching", "Hardware"):
            shoot(page, view)
        verdict(page)

    return run


def disagree(page: Page, desk: FakeDesk) -> None:
    decided(verdict="authentic")(page, desk)
    page.wait_for_timeout(800)
    page.keyboard.press("d")
    page.get_by_label("What do you see?").fill("The engraving on the buckle is shallow, and one letter leans.")


def inbox(page: Page, desk: FakeDesk) -> None:
    page.goto(f"{desk.url}/#/inbox")
    page.get_by_text("answers from experts").wait_for()


def history(page: Page, desk: FakeDesk) -> None:
    page.goto(f"{desk.url}/#/history")
    page.locator(".rows .row").first.wait_for()


def update(page: Page, desk: FakeDesk) -> None:
    tonight = datetime.now(UTC).replace(hour=22, minute=0).isoformat()
    desk.state["update"] = {**desk.state["update"], "state": "waits", "release": 13, "waits_until": tonight}
    page.locator(".banner").wait_for()
    page.locator(".banner button").first.focus()


def away(page: Page, desk: FakeDesk) -> None:
    desk.state["camera"]["source"] = "browser"
    page.reload()
    page.locator("#code").wait_for()
    scan(page, "LG-000004")
    shoot(page, "Logo")
    page.locator(".stage-caption", has_text="Stitching").wait_for()
    desk.stop()
    page.get_by_text("The station does not answer.").wait_for()
    shoot(page, "Stitching")
    page.get_by_text("1 photo is kept here").wait_for()


DIFFER = [{"code": "photos_differ", "text": "the photos differ from genuine items (P = 0.953)"}]
UNCLEAR = [{"code": "photos_unclear", "text": "…"}, {"code": "listing_risky", "text": "…"}]
SCENES: dict[str, Callable[[Page, FakeDesk], None]] = {
    "start": start,
    "capture": capture,
    "refused": refused,
    "confirmed": decided(verdict="authentic"),
    "not-confirmed": decided(verdict="suspect", reasons=DIFFER, p_counterfeit=0.953),
    "expert": decided(verdict="uncertain", reasons=UNCLEAR, p_counterfeit=0.31, p_fraud=0.58),
    "disagree": disagree,
    "inbox": inbox,
    "history": history,
    "update": update,
    "away": away,
}


def keep(data: bytes, path: Path) -> None:
    """Write a PNG with as many colours as fit into its size."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    common = sorted(picture.getcolors(picture.width * picture.height) or [], reverse=True)[:UI_COLOURS]
    exact = [channel for _, colour in common for channel in colour]  # the page's own colours stay as they are
    for colours in (192, 128, 96, 64, 48, 32, 24, 16):
        spread = picture.quantize(colours, dither=Image.Dither.NONE).getpalette() or []
        palette = Image.new("P", (1, 1))
        palette.putpalette([*exact, *spread[: 3 * colours]])
        out = io.BytesIO()
        picture.quantize(palette=palette, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        if out.tell() <= MOST_BYTES:
            break
    path.write_bytes(out.getvalue())
    print(f"{path.name}: {out.tell()} bytes, {colours} colours")


def take(browser: Browser, scene: str, size: str) -> None:
    desk = FakeDesk()
    desk.state["camera"]["source"] = "station"
    desk.state["pending"] = 3
    a_day(desk)
    desk.start()
    context = browser.new_context(viewport=SIZES[size], locale="en-GB", has_touch=size == "tablet")
    page = context.new_page()
    page.goto(desk.url)
    page.locator("#code").wait_for()
    SCENES[scene](page, desk)
    page.wait_for_timeout(400)
    keep(page.screenshot(), FOLDER / f"station-{scene}-{size}.png")
    context.close()
    if desk.thread.is_alive():
        desk.stop()


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:] or list(SCENES)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        camera = f"--use-file-for-fake-video-capture={film(Path(folder) / 'still.mjpeg')}"
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, camera])
        for scene in wanted:
            for size in SIZES:
                take(browser, scene, size)
        browser.close()


if __name__ == "__main__":
    main()
