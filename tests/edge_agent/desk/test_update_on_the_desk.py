"""An update as the operator meets it: a real daemon and a real release, announced, put off, taken back, swapped in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from edge_agent.device_key import DeviceKey
from edge_agent.home import Home
from edge_agent.outbox import Outbox
from edge_agent.release_book import ReleaseBook
from tests.conftest import build_tiny_bundle
from tests.edge_agent.desk.rigs import Client, a_page, running
from tests.edge_agent.desk_page.hands import scan, shoot, shutter
from tests.edge_agent.repository import Repository
from tests.edge_agent.rigs import make_home, scripted_server, wait_until

PhotoOf = Callable[..., bytes]
VIEWS = ("logo", "stitching", "hardware")


@pytest.fixture
def home(tmp_path: Path, repository: Repository) -> Iterator[Home]:
    """A station whose server offers release 1."""
    with scripted_server(repository) as (url, _):
        made = make_home(tmp_path / "station", server=url)
        made.root_metadata_file.write_bytes(repository.root)
        DeviceKey.load_or_create(made)
        repository.publish(build_tiny_bundle(tmp_path / "first"), release=1)
        yield made


def runs(desk: Client, release: int) -> bool:
    model = desk.get("/v1/state")["model"]
    return model is not None and model["release"] == release


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the button of this name has the focus."""
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText").strip().startswith(name):
            return
    raise AssertionError(f"no Tab leads to {name!r}")


def test_a_release_that_waits_is_put_off_and_taken_back_by_keyboard(
    home: Home, repository: Repository, tmp_path: Path
) -> None:
    hour = datetime.now().astimezone() + timedelta(hours=3)
    window = f"{hour:%H}-{hour + timedelta(hours=1):%H}"
    with running(home, update_hours=window) as (desk, _), a_page(desk, tmp_path) as page:
        wait_until(lambda: runs(desk, 1), "release 1 runs", 60)
        repository.publish(build_tiny_bundle(tmp_path / "second", bias=0.01), release=2)
        wait_until(lambda: desk.get("/v1/state")["update"]["state"] == "waits", "release 2 waits", 60)
        update = desk.get("/v1/state")["update"]
        assert datetime.fromisoformat(update["waits_until"]).hour == hour.hour
        banner = page.locator(".banner", has_text="Release 2 is ready.")
        expect(banner).to_contain_text(f"It takes over at {hour:%H}:00")
        tab_to(page, "Not for 8 hours")
        page.keyboard.press("Enter")
        expect(page.locator(".toast")).to_contain_text("Release 2 waits, put off until")
        expect(banner).to_have_count(0)
        until = datetime.fromisoformat(desk.get("/v1/state")["update"]["deferred_until"])
        assert timedelta(hours=7.9) < until - datetime.now(UTC) < timedelta(hours=8.1)
        tab_to(page, "Offline")
        page.keyboard.press("Enter")
        expect(page.locator("dialog")).to_contain_text("release 2 waits, put off until")
        tab_to(page, "Let it come now")
        page.keyboard.press("Enter")
        expect(banner).to_be_visible()
        assert desk.get("/v1/state")["update"]["deferred_until"] is None

        with closing(Outbox(home.database_file)) as outbox:  # as if it had waited for a week, but for an hour
            book = ReleaseBook(outbox)
            candidate = book.candidate()
            assert candidate is not None
            since = datetime.now(UTC) - timedelta(days=7, hours=-1)
            book.keep_candidate(replace(candidate, first_seen=since.isoformat(timespec="seconds")))
        tab_to(page, "Not for 4 hours")
        page.keyboard.press("Enter")
        expect(page.locator(".toast.bad")).to_contain_text("cannot be put off for more than 7 days")
        expect(banner).to_be_visible()
        assert runs(desk, 1)


def test_a_swap_disturbs_no_item_in_progress(
    home: Home, repository: Repository, tmp_path: Path, photo_of: PhotoOf
) -> None:
    with running(home) as (desk, daemon):
        wait_until(lambda: runs(desk, 1), "release 1 runs", 60)
        judged = desk.begin("half")
        first = desk.put(judged, "logo", photo_of(20))
        poor = desk.put(judged, "logo~2", photo_of(21, size=(40, 50)), keep=1)
        untouched = desk.begin("other")
        before = desk.get("/v1/sessions")
        repository.publish(build_tiny_bundle(tmp_path / "second", bias=0.01), release=2)
        while not runs(desk, 2):  # photos go on being taken, and none is refused meanwhile
            assert desk.put(untouched, "logo", photo_of(22))["kept"]
        assert desk.get(f"/v1/sessions/{judged}") == next(
            one for one in before["sessions"] if one["session_id"] == judged
        )
        assert desk.put(judged, "stitching", photo_of(23))["kept"]
        verdict = desk.finish(judged).json
        assert (verdict["verdict"], verdict["model"]["release"], verdict["again"]) == ("authentic", 2, False)
        shots = {one["view"]: one for one in verdict["views"]}
        assert {first["sha256"], poor["sha256"]} < {one["sha256"] for one in verdict["views"]}
        assert all(one["logit"] is not None for one in shots.values()), "the one model has seen every photo"
        assert len(verdict["views"]) == 3
        assert desk.get("/v1/state")["queue"]["recorded"] == 1
        assert [line["item_id"] for line in daemon.events("decided")] == ["half"]


def test_a_model_with_another_view_asks_for_it_in_the_item_that_is_open(
    home: Home, repository: Repository, tmp_path: Path
) -> None:
    with running(home) as (desk, _):
        wait_until(lambda: runs(desk, 1), "release 1 runs", 60)
        with a_page(desk, tmp_path) as page:
            scan(page, "BAG-1")
            shoot(page, "Logo")
            kept_or_anyway(page, "Logo")
            expect(page.locator(".stage-caption")).to_contain_text("Stitching")
            repository.publish(build_tiny_bundle(tmp_path / "second", views=VIEWS), release=2)
            wait_until(lambda: runs(desk, 2), "release 2 runs", 60)
            expect(page.locator(".views li")).to_have_count(3)
            expect(page.locator(".stage-caption")).to_contain_text("Stitching")
            expect(page.locator(".crumb")).to_have_text("1 of 3 photos taken")
            for name in ("Stitching", "Hardware"):
                shoot(page, name)
                kept_or_anyway(page, name)
            page.locator(".hero h1").wait_for()
        (record,) = desk.get("/v1/records")["records"]
        assert len(desk.get(f"/v1/records/{record['record_id']}")["views"]) == 3


def kept_or_anyway(page: Page, name: str) -> None:
    """Wait for the station's word on the photo just taken, and use it in any case."""
    shot = page.locator(".views .view", has_text=name)
    done = page.locator(".view.is-kept, .view.is-noted, .view.is-refused").filter(has_text=name)
    done.or_(page.locator(".hero h1")).first.wait_for()
    if "is-refused" in (shot.get_attribute("class") or "" if shot.count() else ""):
        expect(shutter(page)).to_have_attribute("aria-disabled", "false")
        page.keyboard.press("u")
        page.locator(".view.is-noted").filter(has_text=name).or_(page.locator(".hero h1")).first.wait_for()
