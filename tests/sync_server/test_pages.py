"""The pages in a real Chromium that can reach nothing but this server."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from runtime.contracts.codec import canonical_json, parse_json
from runtime.contracts.records import BundleId
from runtime.contracts.sync import Objection, StationReport

GOLDEN = Path(__file__).parents[1] / "contracts" / "golden"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (none of chromium, chromium-browser, google-chrome is on PATH)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser, server) -> Iterator[Page]:
    context = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 860})
    context.set_default_timeout(15_000)
    outside: list[str] = []
    broken: list[str] = []

    def only_loopback(route) -> None:
        if urlsplit(route.request.url).hostname == "127.0.0.1":
            route.continue_()
        else:
            outside.append(route.request.url)
            route.abort()

    context.route("**/*", only_loopback)
    opened = context.new_page()
    opened.on("pageerror", lambda error: broken.append(str(error)))
    opened.on("console", lambda message: broken.append(message.text) if "Security Policy" in message.text else None)
    yield opened
    context.close()
    assert (outside, broken) == ([], [])


def sign_in(page: Page, token: str) -> None:
    page.goto("/login")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/")


def test_the_documentation_renders_with_no_internet(page) -> None:
    page.goto("/docs")
    page.get_by_text("/v1/records/{record_id}").first.wait_for()
    assert page.get_by_text("/v1/enrol", exact=True).count() == 1


def test_a_stranger_is_asked_to_sign_in_and_a_wrong_token_says_so(page) -> None:
    for path in ("/", "/stations", f"/cases/{'0' * 64}"):
        page.goto(path)
        assert urlsplit(page.url).path == "/login"
    page.get_by_label("Token").fill("tsp_wrong")
    page.get_by_role("button", name="Sign in").click()
    assert "not known here" in page.get_by_role("alert").inner_text()


def test_empty_pages_say_what_to_do(browser, tmp_path, found, server_class) -> None:
    made = found(tmp_path)
    server = server_class(made.home)
    context = browser.new_context(base_url=server.url)
    page = context.new_page()
    sign_in(page, made.admin)
    assert "touchstone-server enrolment-code" in page.inner_text("main")
    page.goto("/stations")
    assert "touchstone-agent enrol" in page.inner_text("main")
    page.goto("/?state=resolved")
    assert "No case is settled yet" in page.inner_text("main")
    context.close()
    assert server.stop() == (0, "", "")


def test_a_reviewer_labels_case_after_case_with_the_keyboard(page, station, people, png) -> None:
    records = [station.open_case(f"bag {i}", png(i, 64), png(50 + i, 64)) for i in range(2)]
    sign_in(page, people["ann"].token)
    assert "2 wait for an expert" in page.inner_text("main")
    assert page.locator("img.thumb").first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    page.get_by_role("link", name="Start labelling").click()
    page.wait_for_url(f"**/cases/{records[0].record_id}")
    text = page.inner_text("main")
    assert "price ratio" in text
    assert "43.8 %" not in text
    page.keyboard.press("ArrowRight")
    page.keyboard.press("g")
    page.wait_for_url(f"**/cases/{records[1].record_id}?saved=*")
    page.keyboard.press("c")
    page.wait_for_url("**/?saved=*")
    shown = {
        record.item_id: people["ann"].send("GET", f"/v1/cases/{record.record_id}").json()["case"]["mine"]
        for record in records
    }
    assert shown == {"bag 0": "genuine", "bag 1": "counterfeit"}
    page.get_by_role("link", name="Look at that case again").click()
    assert page.get_by_role("button", name="Counterfeit").get_attribute("aria-pressed") == "true"
    text = page.inner_text("main")
    assert "What the model thought is shown once the case is settled" in text
    assert "43.8 %" not in text


def test_a_settled_case_shows_its_outcome_and_no_buttons(page, station, people, png) -> None:
    record = station.open_case("settled bag", png(7, 64))
    for name in ("ben", "cem"):
        people[name].label(record, "genuine")
    sign_in(page, people["viewer"].token)
    page.goto("/?state=resolved")
    page.get_by_role("link", name="settled bag").click()
    page.get_by_text("43.8 %").wait_for()
    assert "ben" in page.inner_text("main")
    assert page.locator("button[name=label]").count() == 0
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login")
    page.goto("/")
    assert urlsplit(page.url).path == "/login"


def test_a_settled_case_comes_back_with_the_words_of_the_person_who_disagrees(page, station, people, png) -> None:
    record = station.open_case("returned bag", png(41, 64))
    for name in ("ann", "ben"):
        people[name].label(record, "genuine")
    words = Objection(
        text="the clasp is <b>much</b> lighter\nthan that of the last one", made_at="2026-11-27T09:30:00Z"
    )
    for status in (201, 200):
        put = station.send("PUT", f"/v1/records/{record.record_id}/objection", canonical_json(words))
        assert put.status_code == status
    sign_in(page, people["ann"].token)
    row = page.locator("li", has_text="returned bag")
    assert "the station disagrees" in row.inner_text()
    row.get_by_role("link").click()
    page.wait_for_url(f"**/cases/{record.record_id}")
    text = page.inner_text("main")
    assert "<b>much</b> lighter\nthan that of the last one" in text
    assert "This case was settled before" in text
    assert "You said genuine before. Look again" in text
    assert page.locator("button[aria-pressed=true]").count() == 0
    assert "43.8 %" not in text
    page.keyboard.press("g")
    page.wait_for_url(f"**saved={record.record_id}")
    page.goto(f"/cases/{record.record_id}")
    page.get_by_text("43.8 %").wait_for()
    assert "lighter" in page.inner_text("main")
    assert "This case was settled before" not in page.inner_text("main")


def test_text_from_stations_is_never_markup(page, station, people, png) -> None:
    station.open_case("<img src=x onerror=alert(1)>", png(8, 64))
    sign_in(page, people["viewer"].token)
    assert "<img src=x onerror=alert(1)>" in page.inner_text("main")


STATES = {
    "running": ("running, wants a look", "this clock is 3 days behind the server's; set it"),
    "waits": ("a new release waits for its hour", "release 3 waits until 2026-11-28 22:00 (update_hours 22:00-06:00)"),
    "shadow": ("compares a new release", "release 3: 12 of 50 scans in the shadow"),
    "watch": ("watches a new release", "release 3: on watch, 7 of 50 scans"),
    "refused": ("refused a release", "release 3: it is 2.1 times slower than the running one"),
    "reverted": ("took a release back", "release 3: 4 of 4 items were not confirmed; before it were 0 of 30"),
    "no-model": ("no model yet", ""),
}


def beat(station, agent: str) -> httpx.Response:
    message = parse_json((GOLDEN / "heartbeat.v1.json").read_bytes(), "heartbeat") | {"versions": {"agent": agent}}
    body = json.dumps(message).encode()
    return station.send("PUT", "/v1/station/heartbeats/1", body, **{"Content-Type": "application/json"})


def test_the_stations_page_shows_what_each_has_shown(
    page, home, command, client, people, station_class, tmp_path
) -> None:
    def enrolled(name: str, *options: str):
        made = station_class(client)
        code = command("enrolment-code", *options, "--home", home.home).out.strip()
        assert made.enrol(code, name).status_code == 200
        return made

    for state, (_, detail) in STATES.items():
        one = enrolled(f"dock {state}")
        runs = None if state == "no-model" else 2
        report = StationReport(
            bundle_id=runs and BundleId("b" * 64),
            release=runs,
            variant=runs and "ort-cpu-int8",
            state=state,
            detail=detail,
            recorded=12345,
            acked=12340,
            pending=5,
        )
        assert one.send("PUT", "/v1/station/report", canonical_json(report)).status_code == 204
        if state == "watch":
            assert beat(one, "9.8.7").status_code == 204
    enrolled("dock 9", "--replace", enrolled("dock 9").station_id)
    sign_in(page, people["viewer"].token)
    page.goto("/stations")
    for state, (words, detail) in STATES.items():
        shown = page.locator("tbody tr", has=page.get_by_role("rowheader", name=f"dock {state}")).inner_text()
        assert words in shown
        assert detail in shown
        assert ("release 2" in shown) == (state != "no-model")
        assert "12,345" in shown
        assert ("agent 9.8.7" in shown) == (state == "watch") == ("never" not in shown)
    shown = page.locator("tr", has_text="dock 9").inner_text()
    assert "nothing shown yet" in shown
    assert re.search(r"new device \d+ s ago", shown)
    page.screenshot(path=tmp_path / "stations.png", full_page=True)


def test_pages_fit_a_phone_and_follow_the_dark_scheme(browser, server, people, station, png) -> None:
    record = station.open_case("phone bag", png(9, 640))
    grounds = set()
    for scheme in ("light", "dark"):
        context = browser.new_context(base_url=server.url, viewport={"width": 390, "height": 844}, color_scheme=scheme)
        page = context.new_page()
        sign_in(page, people["cem"].token)
        for path in ("/", f"/cases/{record.record_id}"):
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        context.close()
    assert len(grounds) == 2


def test_a_form_of_another_site_is_refused(client, people, station, png) -> None:
    record = station.open_case("target bag", png(12))
    cookie = {"Cookie": f"touchstone_token={people['ann'].token}"}
    for origin in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        answer = client.post(f"/cases/{record.record_id}/label", content="label=genuine", headers={**cookie, **origin})
        assert answer.status_code == 403
    assert people["ann"].send("GET", f"/v1/cases/{record.record_id}").json()["case"]["mine"] is None


def test_the_cookie_is_for_this_site_alone_and_pages_run_no_inline_script(client, server, people) -> None:
    signed = client.post("/login", content=f"token={people['ann'].token}", headers={"Origin": server.url})
    assert signed.status_code == 303
    cookie = signed.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie
    beyond = httpx.post(
        f"{server.url}/login",
        content=f"token={people['ann'].token}",
        headers={"Host": "touchstone.example", "Origin": "https://touchstone.example"},
    )
    assert "Secure" in beyond.headers["set-cookie"]
    client.cookies.clear()
    page = client.get("/login", headers={"Accept": "text/html"})
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert not re.search(r"<script(?! src)|style=|onclick", page.text)
