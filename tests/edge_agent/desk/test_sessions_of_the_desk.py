"""Guided items through the desk of a real daemon: photo by photo, across kills, and what each answer says."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_agent.desk.session_table import SessionTable
from edge_agent.home import Home
from edge_agent.outbox import Outbox
from runtime.contracts.durable import ContentFolder, sha256_hex
from tests.edge_agent.desk.rigs import Client, running, until_killed
from tests.edge_agent.rigs import Daemon, make_home, wait_until

PhotoOf = Callable[..., bytes]


def test_an_item_from_its_first_photo_to_its_verdict(home_with_model: Home, photo_of: PhotoOf) -> None:
    with running(home_with_model) as (desk, daemon):
        assert desk.get("/v1/state")["views"] == ["logo", "stitching"]
        session_id = desk.begin("bag 1")
        assert [one["view"] for one in desk.get(f"/v1/sessions/{session_id}")["views"]] == ["logo", "stitching"]
        taken = desk.put(session_id, "logo", photo_of(20))
        assert (taken["kept"], taken["problems"]) == (True, [])
        assert desk.ask("GET", f"/v1/photos/{taken['sha256']}").body == photo_of(20)
        desk.put(session_id, "stitching", photo_of(21))
        desk.put(session_id, "logo~2", photo_of(22))
        (open_one,) = desk.get("/v1/sessions")["sessions"]
        assert [(one["view"], one["sha256"] is not None) for one in open_one["views"]] == [
            ("logo", True),
            ("stitching", True),
            ("logo~2", True),
        ]
        finished = desk.finish(session_id)
        assert finished.status == 200
        verdict = finished.json
        assert (verdict["item_id"], verdict["verdict"], verdict["shown"]) == ("bag 1", "authentic", "confirmed")
        assert (verdict["again"], len(verdict["views"])) == (False, 3)
        assert [one["view"] for one in verdict["references"]] == ["logo", "stitching"]
        assert desk.ask("GET", verdict["references"][0]["url"]).body == photo_of(120)
        assert desk.get(f"/v1/records/{verdict['record_id']}") == {**verdict, "again": False}
        assert desk.get("/v1/sessions") == {"sessions": []}
        assert desk.ask("GET", f"/v1/sessions/{session_id}").status == 404
        assert {**desk.finish(session_id).json, "again": False} == verdict, "a second time gives the same"
        assert [line["item_id"] for line in daemon.events("decided")] == ["bag 1", "bag 1"]


def test_a_photo_replaces_the_one_before_and_can_be_taken_back(home_with_model: Home, photo_of: PhotoOf) -> None:
    photos = ContentFolder(home_with_model.photos)
    with running(home_with_model) as (desk, _):
        session_id = desk.begin("bag")
        first = desk.put(session_id, "logo", photo_of(230))["sha256"]
        second = desk.put(session_id, "logo", photo_of(20))["sha256"]
        other = photo_of(20, seed=1)
        assert list(photos) == [second] != [first]
        desk.put(session_id, "stitching", photo_of(230))
        assert desk.ask("DELETE", f"/v1/sessions/{session_id}/photos/stitching").status == 204
        assert list(photos) == [second]
        third = desk.put(session_id, "stitching", other)["sha256"]
        verdict = desk.finish(session_id).json
        assert (verdict["verdict"], [one["sha256"] for one in verdict["views"]]) == ("authentic", [second, third])


def test_a_cancelled_item_leaves_no_trace(home_with_model: Home, photo_of: PhotoOf) -> None:
    with running(home_with_model) as (desk, _):
        session_id = desk.begin("bag")
        desk.put(session_id, "logo", photo_of(20))
        assert desk.ask("DELETE", f"/v1/sessions/{session_id}").status == 204
        assert desk.ask("DELETE", f"/v1/sessions/{session_id}").status == 404
        assert desk.get("/v1/sessions") == {"sessions": []}
        assert list(ContentFolder(home_with_model.photos)) == []
        assert desk.get("/v1/state")["queue"]["recorded"] == 0


def test_a_poor_photo_is_kept_only_when_a_person_says_so(home_with_model: Home, photo_of: PhotoOf) -> None:
    poor = photo_of(20, size=(40, 50))
    with running(home_with_model) as (desk, _):
        session_id = desk.begin("bag")
        refused = desk.put(session_id, "logo", poor)
        assert (refused["kept"], refused["sha256"]) == (False, None)
        assert [one["code"] for one in refused["problems"]] == ["too_small"]
        assert list(ContentFolder(home_with_model.photos)) == []
        kept = desk.put(session_id, "logo", poor, keep=1)
        assert (kept["kept"], kept["problems"]) == (True, refused["problems"])
        shown = desk.get(f"/v1/sessions/{session_id}")["views"][0]
        assert shown == {"view": "logo", "sha256": kept["sha256"], "problems": refused["problems"]}


def test_killed_in_the_middle_the_item_goes_on_where_it_was(home_with_model: Home, photo_of: PhotoOf) -> None:
    with until_killed(home_with_model) as desk:
        session_id = desk.begin("bag")
        kept = desk.put(session_id, "logo", photo_of(20), keep=1)["sha256"]
    nobodys = ContentFolder(home_with_model.photos).put(b"nobody's")
    for path in home_with_model.photos.glob("*/*"):
        os.utime(path, (1, 1))  # old enough to be swept
    with running(home_with_model) as (desk, _):
        wait_until(lambda: nobodys not in ContentFolder(home_with_model.photos), "what is nobody's is swept")
        (left,) = desk.get("/v1/sessions")["sessions"]
        assert (left["session_id"], left["item_id"]) == (session_id, "bag")
        assert left["views"][0]["sha256"] == kept
        assert desk.ask("GET", f"/v1/photos/{kept}").body == photo_of(20)
        desk.put(session_id, "stitching", photo_of(21))
        verdict = desk.finish(session_id).json
        assert (verdict["verdict"], [one["view"] for one in verdict["views"]]) == ("authentic", ["logo", "stitching"])


def test_killed_between_the_record_and_its_note_it_is_decided_once(home_with_model: Home, photo_of: PhotoOf) -> None:
    with until_killed(home_with_model) as desk:
        session_id = desk.begin("bag")
        photo = desk.put(session_id, "logo", photo_of(20))["sha256"]
        first = desk.finish(session_id).json
    box = Outbox(home_with_model.database_file)
    with box.writing() as db:  # as if the kill had come a moment earlier
        db.execute("UPDATE session SET record_id = NULL")
        db.execute("INSERT INTO session_photo VALUES (?, 'logo', ?, '{\"problems\":[]}')", (session_id, photo))
    box.close()
    with running(home_with_model) as (desk, _):
        again = desk.finish(session_id).json
        assert (again["record_id"], again["again"]) == (first["record_id"], True)
        assert desk.get("/v1/state")["queue"]["recorded"] == 1


def test_a_photo_that_the_disk_lost_is_asked_for_again(home_with_model: Home, photo_of: PhotoOf) -> None:
    with until_killed(home_with_model) as desk:
        session_id = desk.begin("bag")
        desk.put(session_id, "logo", photo_of(20))
        lost = desk.put(session_id, "stitching", photo_of(21))["sha256"]
    ContentFolder(home_with_model.photos).path(lost).unlink()
    with running(home_with_model) as (desk, _):
        refused = desk.finish(session_id)
        assert refused.status == 409
        assert "stitching" in refused.json["detail"]
        views = desk.get(f"/v1/sessions/{session_id}")["views"]
        assert [one["sha256"] is None for one in views] == [False, True]
        desk.put(session_id, "stitching", photo_of(21))
        assert desk.finish(session_id).json["verdict"] == "authentic"


@pytest.mark.parametrize(
    "item_id", ["", "../../etc/passwd", "a/b", "a\\b", ".hidden", "x" * 10_000, "nul\0", "line\nbreak", "\x1b[31m"]
)
def test_a_code_that_cannot_be_an_item_is_refused_at_once(desk: Client, item_id: str) -> None:
    refused = desk.send("POST", "/v1/sessions", {"item_id": item_id})
    assert (refused.status, refused.headers["content-type"]) == (422, "application/problem+json")
    assert "item id" in refused.json["detail"]
    assert desk.get("/v1/sessions") == {"sessions": []}


@pytest.mark.parametrize("item_id", ["'; DROP TABLE record; --", "<script>alert(1)</script>", "%00%2e%2e", "袋 ½"])
def test_a_code_that_only_looks_dangerous_is_an_item_like_any_other(
    desk: Client, photo_of: PhotoOf, item_id: str
) -> None:
    if "/" in item_id:
        assert desk.send("POST", "/v1/sessions", {"item_id": item_id}).status == 422
        return
    session_id = desk.begin(item_id)
    desk.put(session_id, "logo", photo_of(20))
    assert desk.finish(session_id).json["item_id"] == item_id


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"{", 400), (b'{"item_id": 7}', 400), (b'{"item_id": "a", "x": 1}', 400), (b'"\xff"', 400)],
)
def test_a_body_that_is_no_request_says_what_is_wrong(desk: Client, body: bytes, status: int) -> None:
    refused = desk.ask("POST", "/v1/sessions", body)
    assert (refused.status, refused.json["title"]) == (status, "Not taken")


def test_what_is_no_photo_is_refused_and_changes_nothing(desk: Client, photo_of: PhotoOf) -> None:
    session_id = desk.begin("bag")
    kept = desk.put(session_id, "logo", photo_of(20))["sha256"]
    for bad in (b"", b"text", photo_of(20)[:-200]):
        refused = desk.ask("PUT", f"/v1/sessions/{session_id}/photos/logo?keep=1", bad)
        assert refused.status == 422
        assert "photo logo" in refused.json["detail"]
    assert desk.get(f"/v1/sessions/{session_id}")["views"][0]["sha256"] == kept
    for path in (f"/v1/sessions/{session_id}/photos/.x", f"/v1/sessions/{session_id}/photos/logo?keep=yes"):
        assert desk.ask("PUT", path, photo_of(20)).status == 422
    assert desk.ask("PUT", "/v1/sessions/none/photos/logo", photo_of(20)).status == 404
    assert desk.finish(session_id).status == 200
    assert desk.ask("PUT", f"/v1/sessions/{session_id}/photos/logo", photo_of(20)).status == 404


def test_an_item_without_a_photo_is_not_decided_and_stays(desk: Client) -> None:
    session_id = desk.begin("bag")
    assert desk.finish(session_id).status == 422
    assert desk.get(f"/v1/sessions/{session_id}")["item_id"] == "bag"


def test_many_at_once_are_decided_once_each(home_with_model: Home, photo_of: PhotoOf) -> None:
    with running(home_with_model) as (desk, _), ThreadPoolExecutor(12) as pool:
        ids = [desk.begin(f"bag {number}") for number in range(8)]
        jobs = [
            pool.submit(desk.put, one, view, photo_of(20 + number, seed=number))
            for number, one in enumerate(ids)
            for view in ("logo", "stitching", "logo")
        ]
        assert all(job.result()["kept"] for job in jobs)
        verdicts = [
            job.result() for one in ids for job in (pool.submit(desk.finish, one), pool.submit(desk.finish, one))
        ]
        assert {verdict.status for verdict in verdicts} == {200}
        assert len({verdict.json["record_id"] for verdict in verdicts}) == 8
        assert desk.get("/v1/state")["queue"]["recorded"] == 8


def test_items_older_than_a_day_are_cancelled(home_with_model: Home, photo_of: PhotoOf) -> None:
    photo = ContentFolder(home_with_model.photos).put(photo_of(20))
    box = Outbox(home_with_model.database_file)
    table = SessionTable(box)
    old = table.begin("old", "2020-01-01T00:00:00.000+00:00")
    with box.writing() as db:
        db.execute("INSERT INTO session_photo VALUES (?, 'logo', ?, '{\"problems\":[]}')", (old.session_id, photo))
    box.close()
    with running(home_with_model) as (desk, _):
        wait_until(lambda: not desk.get("/v1/sessions")["sessions"], "it is cancelled")
        assert list(ContentFolder(home_with_model.photos)) == []


def test_the_last_answer_is_given_before_the_daemon_ends(home_with_model: Home, photo_of: PhotoOf) -> None:
    photos = {f"view {n}": photo_of(n, size=(1500, 2000), seed=n) for n in range(20)}
    with running(home_with_model) as (desk, daemon), ThreadPoolExecutor(1) as pool:
        asked = pool.submit(desk.scan, "bag", None, **photos)
        wait_until(lambda: list(ContentFolder(home_with_model.photos)), "its first photo is on the disk")
        assert daemon.end(timeout_s=60) == 0
        answer = asked.result()
    assert answer.status == 201, answer.body
    assert desk_records(home_with_model) == [answer.json["record_id"]]
    assert sha256_hex(photos["view 3"]) in ContentFolder(home_with_model.photos)


def desk_records(home: Home) -> list[str]:
    box = Outbox(home.database_file)
    try:
        with box.reading() as db:
            return [row[0] for row in db.execute("SELECT record_id FROM record")]
    finally:
        box.close()


def test_without_a_model_the_desk_says_what_to_do(tmp_path: Path) -> None:
    with running(make_home(tmp_path / "station")) as (desk, _):
        refused = desk.send("POST", "/v1/sessions", {"item_id": "bag"})
        assert refused.status == 503
        assert "publish a release" in refused.json["detail"]
        state = desk.get("/v1/state")
        assert (state["model"], state["views"]) == (None, [])
        assert desk.ask("GET", "/healthz").status == 503


def test_one_daemon_a_home(home_with_model: Home) -> None:
    with running(home_with_model) as (desk, _):
        second = Daemon(home_with_model.root, log=home_with_model.root / "second.log")
        assert second.process.wait(20) == 2
        assert "another 'touchstone-agent run'" in second.log.read_text()
        assert desk.get("/v1/state")["name"] == "test"
        second.end()
