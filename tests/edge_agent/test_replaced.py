"""A new device takes over a dead station: its history binds, its old device is locked out, and features go to both."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edge_agent.enrol import enrol
from edge_agent.home import Home
from edge_agent.identity import read_identity, require_identity
from edge_agent.outbox import Outbox
from runtime.contracts.codec import encode
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import TryLater
from tests.edge_agent.repository import Repository
from tests.edge_agent.rigs import (
    FAST,
    Asked,
    Daemon,
    RealServer,
    Say,
    agent,
    make_record,
    run_module,
    say_json,
    say_problem,
    scripted_server,
    wait_until,
)
from tests.listing_trees import give_trees

PhotoOf = Callable[..., bytes]


def code_for(server: RealServer, station_id: str) -> str:
    printed = run_module("sync_server.cli", "enrolment-code", "--home", server.home, "--replace", station_id)
    assert printed.returncode == 0, printed.stderr
    return printed.stdout.strip()


def send(server: RealServer, method: str, path: str, body: object) -> Any:
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def status_of(home: Path) -> dict[str, Any]:
    return dict(json.loads(agent("status", "--json", "--home", home).stdout))


def scan(home: Path, item: str, folder: Path, **photos: bytes) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    for view, data in photos.items():
        (folder / f"{view}.jpg").write_bytes(data)
    paths = [folder / f"{view}.jpg" for view in photos]
    done = agent("scan", *paths, "--item", item, "--json", "--home", home)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_new_device_keeps_the_history_and_the_old_one_is_locked_out(
    server: RealServer, tmp_path: Path, tiny_bundle: Callable[..., Path], photo_of: PhotoOf
) -> None:
    dead, new = server.enrolled(tmp_path / "dead"), tmp_path / "new"
    server.publish(tiny_bundle(tmp_path / "bundle"))
    assert agent("run", "--once", "--home", dead).returncode == 0
    first = scan(dead, "unclear", tmp_path / "p", logo=photo_of(140), stitching=photo_of(141))
    good = scan(dead, "good", tmp_path / "p", logo=photo_of(20), stitching=photo_of(21))
    answered = scan(dead, "answered", tmp_path / "p", logo=photo_of(150), stitching=photo_of(151))
    assert agent("run", "--once", "--home", dead).returncode == 0
    send(server, "POST", f"/v1/cases/{answered['record_id']}/labels", {"label": "genuine"})
    identity = require_identity(Home(root=dead))

    code = code_for(server, identity.station_id)
    done = agent("enrol", "--home", new, "--server", server.url, "--code", code, "--name", "second")
    assert done.returncode == 0, done.stderr
    (new / "agent.toml").write_text(FAST)
    taken_over = require_identity(Home(root=new))
    assert (taken_over.station_id, taken_over.audit_key) == (identity.station_id, identity.audit_key)
    assert status_of(new)["outbox"] == {
        "recorded": 3, "acked": 3, "pending": 0, "parked": 0, "cases": 2, "waiting_cases": 0
    }  # fmt: skip

    assert agent("run", "--once", "--home", new).returncode == 0
    assert status_of(new)["answers_received"] == 1, "answers come again from the first one on"
    again = scan(new, "unclear", tmp_path / "p", logo=photo_of(22), stitching=photo_of(23))
    assert (again["verdict"], again["rescan_of"]) == ("uncertain", first["record_id"])
    stolen = scan(new, "other", tmp_path / "p", logo=photo_of(20), stitching=photo_of(24))
    assert [reason["code"] for reason in stolen["reasons"]] == ["same_photo"]
    assert scan(new, "answered", tmp_path / "p", logo=photo_of(25), stitching=photo_of(26))["verdict"] == "authentic"
    same = scan(new, "good", tmp_path / "p", logo=photo_of(20), stitching=photo_of(21))
    assert same == good, "the very same scan is the very same record, whatever device"

    scan(dead, "late", tmp_path / "p", logo=photo_of(30), stitching=photo_of(31))
    refused = agent("run", "--once", "--home", dead)
    assert refused.returncode == 2
    assert "another device took its place" in status_of(dead)["last_error"]
    assert status_of(dead)["outbox"]["pending"] == 1
    assert agent("run", "--once", "--home", new).returncode == 0
    assert status_of(new)["outbox"]["pending"] == 0
    assert agent("enrol", "--home", new, "--server", server.url, "--code", code).returncode == 0


def test_a_key_that_was_replaced_never_enrols_again_and_its_code_is_spent(server: RealServer, tmp_path: Path) -> None:
    dead = server.enrolled(tmp_path / "dead")
    station_id = require_identity(Home(root=dead)).station_id
    code = code_for(server, station_id)
    assert agent("enrol", "--home", tmp_path / "new", "--server", server.url, "--code", code).returncode == 0
    again = agent("enrol", "--home", tmp_path / "third", "--server", server.url, "--code", code)
    assert (again.returncode, "wrong, used or expired" in again.stderr) == (2, True)
    (dead / "station.json").unlink()
    back = agent("enrol", "--home", dead, "--server", server.url, "--code", server.code())
    assert (back.returncode, "replaced by another device" in back.stderr) == (2, True), back.stderr
    unknown = run_module("sync_server.cli", "enrolment-code", "--home", server.home, "--replace", "st-nobody")
    assert (unknown.returncode, unknown.stderr.count("\n"), "none of this id" in unknown.stderr) == (2, 1, True)


def test_a_device_is_enrolled_only_when_the_whole_history_is_there(tmp_path: Path) -> None:
    """The connection breaks after the first page: the same code goes on."""
    repository, records = Repository(), [make_record(number, station_id="st-1") for number in range(1, 5)]
    broken, asked_after = [True], []

    def answer(asked: Asked) -> Say:
        if asked.path.startswith("/v1/station/history"):
            after = asked.path.partition("after=")[2]
            asked_after.append(after)
            if after and broken[0]:
                return say_problem(503)
            start = 1 + [record.record_id for record in records].index(after) if after else 0  # type: ignore[arg-type]
            return say_json({"records": encode(records[start : start + 2]), "total": 4})
        if asked.method == "GET":
            return repository(asked)
        return say_json({"station_id": "st-1", "audit_key": "ab" * 32, "audit_share": 0.01})

    home, code = Home(root=tmp_path), "A" * 16 + "-" + sha256_hex(repository.root)[:32]
    with scripted_server(answer) as (url, _):
        with pytest.raises(TryLater):
            enrol(home, server=url, code=code, name="x")
        assert read_identity(home) is None
        broken[0] = False
        enrol(home, server=url, code=code, name="x")
    outbox = Outbox(home.database_file)
    assert [outbox.find(record.record_id) for record in records] == records
    assert outbox.tally().acked == 4
    outbox.close()
    assert asked_after == ["", records[1].record_id, "", records[1].record_id, records[3].record_id]


@pytest.mark.parametrize(
    "say",
    [
        say_json({"records": encode([make_record(1, station_id="st-another")]), "total": 1}),
        say_json({"records": [{}], "total": 1}),
        Say(status=404, body=b"<html>not here", kind="text/html"),
    ],
)
def test_a_history_that_makes_no_sense_enrols_nobody(tmp_path: Path, say: Say) -> None:
    repository = Repository()

    def answer(asked: Asked) -> Say:
        if asked.path.startswith("/v1/station/history"):
            return say
        if asked.method == "GET":
            return repository(asked)
        return say_json({"station_id": "st-1", "audit_key": "ab" * 32, "audit_share": 0.01})

    code = "A" * 16 + "-" + sha256_hex(repository.root)[:32]
    with scripted_server(answer) as (url, _), pytest.raises(TryLater):
        enrol(Home(root=tmp_path), server=url, code=code, name="x")
    assert read_identity(Home(root=tmp_path)) is None


def test_features_loaded_at_the_server_let_a_daemon_judge_items_without_a_listing(
    server: RealServer, tmp_path: Path, tiny_bundle: Callable[..., Path], photo_of: PhotoOf
) -> None:
    now = datetime.now(UTC).isoformat()
    rows = [
        {"item_id": "fine", "as_of": now, "values": {"price": -3.0, "age": 0.0}, "station": None},
        {"item_id": "risky", "as_of": now, "values": {"price": 3.0, "age": 0.0}},
        {"item_id": "old", "as_of": "2020-01-01T00:00:00Z", "values": {"price": -3.0, "age": 0.0}},
    ]
    file = tmp_path / "features.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = run_module("sync_server.cli", "features", "load", file, "--home", server.home)
    assert (loaded.returncode, loaded.stdout) == (0, "loaded: 3 rows; 0 were not newer than what is here\n")
    home = Home(root=server.enrolled(tmp_path / "station"))
    station_id = require_identity(home).station_id
    mine = {"item_id": "mine", "as_of": now, "values": {"price": -3.0, "age": 0.0}, "station": station_id}
    assert send(server, "PUT", "/v1/features", {"rows": [mine]}) == {"taken": 1, "kept": 0}
    (home.root / "agent.toml").write_text(FAST + "features_max_age_s = 604800\n")
    server.publish(give_trees(tiny_bundle(tmp_path / "bundle")))

    daemon = Daemon(home.root)
    daemon.ready_line()
    wait_until(lambda: status_of(home.root)["release"] is not None, "the model runs")
    wait_until(lambda: status_of(home.root)["features"]["items"] == 3, "the features are there, without the very old")
    for seed, item in enumerate(("fine", "risky", "old", "mine", "unknown")):
        filling = home.inbox / f".{item}"
        filling.mkdir()
        for view in ("logo", "stitching"):
            (filling / f"{view}.jpg").write_bytes(photo_of(20 + len(view), seed=seed))
        filling.rename(home.inbox / item)
    wait_until(lambda: len(daemon.events("decided")) == 5, "all are decided")
    assert daemon.end() == 0
    assert {line["item_id"]: line["verdict"] for line in daemon.events("decided")} == {
        "fine": "authentic", "risky": "uncertain", "old": "uncertain", "mine": "authentic", "unknown": "uncertain"
    }  # fmt: skip
    assert not daemon.events("crashed")
