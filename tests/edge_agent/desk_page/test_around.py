"""What surrounds the items: a station that goes and comes back, the inbox, the history, the door, updates."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.edge_agent.desk_page.fake_desk import FakeDesk
from tests.edge_agent.desk_page.hands import scan, shoot, shoot_all, shutter, verdict, view_button


@pytest.fixture
def page(context_of: Callable[..., BrowserContext]) -> Page:
    opened = context_of().new_page()
    opened.goto("/")
    opened.locator("#code, #pin").first.wait_for()
    return opened


def test_a_restart_in_the_middle_of_an_item_loses_no_photo(page, fake: FakeDesk) -> None:
    scan(page, "RESTART-1")
    shoot(page, "Logo")
    expect(view_button(page, "Logo")).to_contain_text("kept")
    fake.stop()
    expect(page.locator(".banner")).to_contain_text("The station does not answer.")
    shoot(page, "Stitching")
    expect(view_button(page, "Stitching")).to_contain_text("waits here")
    shoot(page, "Hardware")
    expect(view_button(page, "Hardware")).to_contain_text("waits here")
    expect(page.locator(".chip")).to_contain_text("2 photos wait here")
    expect(shutter(page)).to_have_attribute("aria-disabled", "true")
    fake.start()
    assert verdict(page).inner_text() == "Confirmed"
    expect(page.locator(".banner")).to_have_count(0)
    assert len(fake.records) == 1
    assert len(fake.records[0]["views"]) == 3


def test_a_photo_refused_after_a_restart_is_asked_for_again(page, fake: FakeDesk) -> None:
    scan(page, "LATE-1")
    page.locator(".stage").wait_for()
    fake.stop()
    shoot(page, "Logo")
    expect(view_button(page, "Logo")).to_contain_text("waits here")
    fake.problems_next = [[{"code": "glare", "text": "glare", "value": 0.3, "limit": 0.1}]]
    fake.start()
    expect(view_button(page, "Logo")).to_contain_text("not kept", timeout=15_000)
    shoot_all(page, "Stitching", "Hardware", "Logo")
    assert verdict(page).inner_text() == "Confirmed"


def test_an_item_scanned_while_the_station_is_away_opens_once_when_it_is_back(page, fake: FakeDesk) -> None:
    fake.stop()
    expect(page.locator(".banner")).to_be_visible()
    scan(page, "WAITING-1")
    expect(page.locator("#code-note")).to_contain_text("As soon as the station answers")
    fake.start()
    expect(page.locator(".scan-head h1")).to_have_text("WAITING-1", timeout=15_000)
    assert len(fake.sessions) == 1


@pytest.mark.parametrize("lost", ["POST /v1/sessions", "PUT", "finish"])
def test_an_answer_lost_on_its_way_makes_nothing_twice(page, fake: FakeDesk, lost: str) -> None:
    if lost == "POST /v1/sessions":
        fake.lose_answers = {lost}
    scan(page, "LOST-1")
    if lost == "PUT":
        fake.lose_answers = {lost}
    shoot_all(page, "Logo", "Stitching")
    if lost == "finish":
        (identity,) = fake.sessions
        fake.lose_answers = {f"POST /v1/sessions/{identity}/finish"}
    shoot(page, "Hardware")
    assert verdict(page).inner_text() == "Confirmed"
    assert fake.lose_answers == set()
    assert (len(fake.records), len(fake.sessions)) == (1, 0)


def test_an_objection_is_kept_while_the_station_is_away(page, fake: FakeDesk) -> None:
    record = fake.add_record("KEPT-1")
    page.goto(f"/#/record/{record['record_id']}")
    verdict(page)
    fake.stop()
    page.keyboard.press("d")
    page.get_by_label("What do you see?").fill("the zip is plastic")
    page.get_by_role("button", name="Send to an expert").click()
    expect(page.locator("dialog")).to_contain_text("Your text is kept")
    fake.start()
    expect(page.locator(".verdict-foot")).to_contain_text("You disagreed.", timeout=15_000)
    assert fake.objections == {record["record_id"]: "the zip is plastic"}


def test_an_offline_station_says_so_and_goes_on(page, fake: FakeDesk) -> None:
    fake.state["connection"] = {"online": False, "last_contact": None, "error": "no route to host"}
    fake.state["pending"] = 0
    fake.add_record("OFF-1")
    fake.state["pending"] = 1
    expect(page.locator(".chip")).to_contain_text("Offline")
    expect(page.locator(".chip")).to_contain_text("1 to send")
    page.locator(".chip").click()
    window = page.locator("dialog")
    expect(window).to_contain_text("no route to host")
    expect(window).to_contain_text("Everything lies safely on this station")
    page.keyboard.press("Escape")
    scan(page, "OFF-2")
    shoot_all(page)
    assert verdict(page).inner_text() == "Confirmed"


def test_a_full_disk_and_a_missing_model_are_said(page, fake: FakeDesk) -> None:
    fake.state["disk"] = {"free_bytes": 1_000_000, "scanning": False, "why": "only cases are left; connect the server"}
    fake.state["model"] = None
    expect(page.locator(".banner.bad")).to_contain_text("only cases are left; connect the server")
    expect(page.locator(".banner.wait")).to_contain_text("No model yet.")


def test_the_stations_camera_takes_the_photos_and_its_absence_is_said(page, fake: FakeDesk) -> None:
    fake.state["camera"]["source"] = "station"
    page.reload()
    page.locator("#code").wait_for()
    scan(page, "CAM-1")
    live = page.locator(".live img")
    expect(live).to_be_visible()
    expect(shutter(page)).to_have_attribute("aria-disabled", "false")
    assert live.evaluate("image => image.decode().then(() => image.naturalWidth)") == 288
    fake.problems_next = [[{"code": "too_dark", "text": "dark", "value": 12, "limit": 40}]]
    shoot(page, "Logo")
    expect(page.locator(".now")).to_contain_text("The photo is too dark.")
    assert page.locator("img.taken").evaluate("image => image.decode().then(() => image.naturalWidth)") == 288
    shoot(page, "Logo")
    expect(view_button(page, "Logo")).to_contain_text("kept")
    fake.state["camera"].update(ok=False, why="unplugged from USB 2")
    expect(page.locator(".stage-notice")).to_contain_text("unplugged from USB 2")
    expect(shutter(page)).to_have_attribute("aria-disabled", "true")
    fake.state["camera"].update(ok=True, why=None)
    shoot_all(page, "Stitching", "Hardware")
    assert verdict(page).inner_text() == "Confirmed"


def test_without_a_camera_a_picture_file_does(context_of, fake: FakeDesk) -> None:
    context = context_of()
    context.add_init_script(
        "if (navigator.mediaDevices) navigator.mediaDevices.getUserMedia ="
        "  () => Promise.reject(new DOMException('', 'NotFoundError'))"
    )
    page = context.new_page()
    page.goto("/")
    page.locator("#code").wait_for()
    scan(page, "FILE-1")
    expect(page.locator(".stage-notice")).to_contain_text("No camera was found. Plug one in.")
    png = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"\xff\xd8 a picture"}
    page.locator("#file").set_input_files(png)
    expect(view_button(page, "Logo")).to_contain_text("kept")
    assert list(fake.photos.values()) == [b"\xff\xd8 a picture"]


@pytest.mark.parametrize(
    ("still", "kept"),
    [("Promise.resolve(new Blob(['a still'], { type: 'image/jpeg' }))", b"a still"), ("new Promise(() => {})", None)],
)
def test_a_larger_still_is_taken_where_the_camera_has_one_and_its_video_where_it_hangs(
    context_of, fake, still, kept
) -> None:
    context = context_of()
    context.add_init_script(
        "if (window.ImageCapture) { const size = { max: 9000 };"
        "  ImageCapture.prototype.getPhotoCapabilities = async () => ({ imageWidth: size, imageHeight: size });"
        f"  ImageCapture.prototype.takePhoto = () => {still}; }}"
    )
    page = context.new_page()
    page.goto("/")
    page.locator("#code").wait_for()
    scan(page, "STILL-1")
    shoot(page, "Logo")
    expect(view_button(page, "Logo")).to_contain_text("kept", timeout=10_000)
    (photo,) = fake.photos.values()
    assert photo == kept or (kept is None and photo.startswith(b"\xff\xd8"))


def test_the_inbox_tells_what_experts_said_what_waits_and_what_to_hold(page, fake: FakeDesk) -> None:
    answered = fake.add_record("ANSWERED-1", "uncertain", answer="genuine")
    fake.add_record("WAITS-1", "suspect")
    fake.add_record("HOLD-1", audited=True, state="pending")
    fake.answers = [
        {
            "seq": 4,
            "resolved_at": answered["scanned_at"],
            "outcome": "genuine",
            "verdict": "uncertain",
            "item_id": "ANSWERED-1",
            "record_id": answered["record_id"],
        }
    ]
    expect(page.locator("nav .badge")).to_contain_text("1")
    page.keyboard.press("Escape")
    page.keyboard.press("i")
    parts = page.locator(".part")
    expect(parts).to_have_count(3)
    expect(parts.nth(0)).to_contain_text("1 answer from experts")
    expect(parts.nth(0)).to_contain_text("Take it off the hold shelf: it can go on.")
    expect(parts.nth(0)).to_contain_text("new")
    expect(parts.nth(1)).to_contain_text("Put each on the hold shelf.")
    expect(parts.nth(1)).to_contain_text("HOLD-1")
    expect(parts.nth(1)).to_contain_text("waits to be sent")
    expect(parts.nth(2)).to_contain_text("1 item waits for an expert")
    expect(parts.nth(2)).to_contain_text("WAITS-1")
    expect(parts.nth(2)).to_contain_text("with the experts")
    expect(page.locator("nav .badge")).to_have_count(0)
    assert fake.read_up_to == 4
    parts.nth(0).get_by_role("link").click()
    assert verdict(page).inner_text() == "Sent to an expert"
    expect(page.locator(".why .pill")).to_have_text("An expert said: Genuine")


def test_the_history_pages_searches_and_walks_with_the_arrows(page, fake: FakeDesk) -> None:
    for number in range(40):
        fake.add_record(f"BAG-{number:03}", "suspect" if number == 3 else "authentic")
    page.keyboard.press("Escape")
    page.keyboard.press("h")
    rows = page.locator(".rows .row")
    expect(rows).to_have_count(30)
    expect(rows.first).to_contain_text("BAG-039")
    page.get_by_role("button", name="Show older").click()
    expect(rows).to_have_count(40)
    expect(rows.nth(30)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(rows.nth(31)).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_label("Search by code")).to_be_focused()
    page.keyboard.type("bag-003", delay=60)
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("Not confirmed")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert verdict(page).inner_text() == "Not confirmed"
    page.keyboard.press("Escape")
    expect(page.get_by_label("Search by code")).to_be_visible()


def test_on_the_network_a_pin_opens_the_door(page, fake: FakeDesk) -> None:
    fake.pin = "4711"
    pin = page.get_by_label("PIN")
    expect(pin).to_be_visible()
    expect(page.locator(".chip")).to_have_count(0)  # nothing is known, so nothing is said
    scan(page, "SNEAK-1")
    assert fake.sessions == {}
    pin.fill("1234")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert").filter(has_text="PIN")).to_have_text("This is not the PIN.")
    expect(pin).to_be_focused()
    pin.fill("4711")
    page.keyboard.press("Enter")
    expect(page.locator("#code")).to_be_visible()
    expect(pin).to_have_count(0)


def test_an_operator_puts_an_update_off(page, fake: FakeDesk) -> None:
    fake.state["update"] = {
        "state": "waits",
        "detail": "release 13 waits until 22:00",
        "release": 13,
        "deferred_until": None,
    }
    banner = page.locator(".banner", has_text="Release 13 is ready.")
    banner.get_by_role("button", name="Not for 4 hours").click()
    expect(banner).to_have_count(0)
    assert fake.deferred == [4]
    page.locator(".chip").click()
    expect(page.locator("dialog")).to_contain_text("release 13 waits, put off until")
    page.get_by_role("button", name="Let it come now").click()
    expect(banner).to_be_visible()
    assert fake.deferred == [4, 0]


def test_a_choice_of_language_is_remembered(page) -> None:
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Language").select_option("de")
    expect(page.get_by_role("heading", name="Nächsten Artikel scannen")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Nächsten Artikel scannen")).to_be_visible()


def test_the_camera_that_was_chosen_is_used_again(context_of) -> None:
    context = context_of()
    context.add_init_script(
        "const real = navigator.mediaDevices?.getUserMedia.bind(navigator.mediaDevices); window.asked = [];"
        "if (real) navigator.mediaDevices.getUserMedia = (what) => {"
        "  window.asked.push(what.video.deviceId?.exact ?? null); return real(what); };"
    )
    page = context.new_page()
    page.goto("/")
    page.locator("#code").wait_for()
    scan(page, "CHOOSE-1")
    expect(shutter(page)).to_have_attribute("aria-disabled", "false")
    page.get_by_role("button", name="Settings").click()
    camera = page.get_by_label("Camera")
    expect(camera.locator("option")).not_to_have_count(0)
    device = camera.locator("option").nth(1).get_attribute("value")
    camera.select_option(device)
    page.keyboard.press("Escape")
    expect(shutter(page)).to_have_attribute("aria-disabled", "false")
    page.reload()
    expect(shutter(page)).to_have_attribute("aria-disabled", "false")
    assert page.evaluate("window.asked.at(-1)") == device


def test_sounds_are_off_until_somebody_turns_them_on(context_of, fake: FakeDesk) -> None:
    context = context_of()
    context.add_init_script(
        "window.beeps = 0; const start = OscillatorNode.prototype.start;"
        "OscillatorNode.prototype.start = function (...at) { window.beeps += 1; return start.apply(this, at); };"
    )
    page = context.new_page()
    page.goto("/")
    page.locator("#code").wait_for()
    scan(page, "QUIET-1")
    shoot_all(page)
    verdict(page)
    assert page.evaluate("window.beeps") == 0
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("A short sound with every verdict").check()
    assert page.evaluate("window.beeps") == 2
    page.keyboard.press("Escape")
    scan(page, "LOUD-1")
    shoot_all(page)
    verdict(page)
    assert page.evaluate("window.beeps") == 4


def test_a_page_that_nobody_sees_asks_nothing_and_a_seen_one_asks_every_two_seconds(page, fake: FakeDesk) -> None:
    def asked_in(seconds: float) -> int:
        fake.asked.clear()
        page.wait_for_timeout(1000 * seconds)
        return fake.asked.count("GET /v1/state")

    assert 2 <= asked_in(5) <= 4
    hide = """(hidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    page.wait_for_timeout(500)
    assert asked_in(3) == 0
    page.evaluate(hide, False)
    page.wait_for_timeout(1000)
    assert fake.asked.count("GET /v1/state") == 1
