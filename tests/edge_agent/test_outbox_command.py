"""``outbox list``, ``verify`` and ``export`` as processes; and what they wrote at a real server."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_agent.device_key import DeviceKey
from edge_agent.disk import free_bytes
from edge_agent.export import write_export
from edge_agent.home import Home
from edge_agent.outbox import Outbox
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.durable import ContentFolder
from runtime.contracts.errors import StationFault
from runtime.contracts.records import ItemId, Record, RecordId, StationId, Verdict, content_id
from tests.edge_agent.rigs import REPOSITORY, RealServer, agent, make_home, make_record, run_module


def add(home: Home, item: str, verdict: Verdict) -> None:
    """Put a record into the outbox as a scan of two photos would."""
    photos = [
        ContentFolder(home.photos).put(f"\x89PNG\r\n\x1a\n{station_of(home)}{item}{n}".encode("latin-1"))
        for n in (1, 2)
    ]
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    record = make_record(0, verdict=verdict, photos=photos, station_id=station_of(home))
    record = replace(record, item_id=ItemId(item), scanned_at=now)
    with closing(Outbox(home.database_file)) as outbox:
        assert outbox.add(replace(record, record_id=content_id(record)))


def station_of(home: Home) -> str:
    return str(json.loads(home.identity_file.read_text())["station_id"])


@pytest.fixture
def three(tmp_path: Path) -> Home:
    """A station with a confident record, an uncertain and a suspect one."""
    home = make_home(tmp_path / "station")
    add(home, "plain", "authentic")
    add(home, "odd", "uncertain")
    add(home, "bad", "suspect")
    return home


def ids(home: Home) -> dict[str, RecordId]:
    with closing(Outbox(home.database_file)) as outbox:
        return {one.record.item_id: one.record.record_id for one in outbox.page(None, 99)}


def photos_of(home: Home, item: str) -> list[str]:
    with closing(Outbox(home.database_file)) as outbox:
        (listed,) = outbox.page(None, 9, item)
    return sorted({score.photo for score in listed.record.views})


def change(home: Home, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(home.database_file)) as db:
        db.execute(statement, values)
        db.commit()


def test_the_list_shows_what_waits_and_why(three: Home) -> None:
    with closing(Outbox(three.database_file)) as outbox:
        outbox.ack(ids(three)["plain"])
        outbox.park(ids(three)["odd"], until_s=0, error="the server said: too odd")
    listed = agent("outbox", "list", "--home", three.root).stdout.splitlines()
    assert listed[0].split() == ["state", "priority", "age", "item", "verdict", "error"]
    assert re.fullmatch(r"pending +suspect +\d+ s +bad +suspect", listed[1])
    assert re.fullmatch(r"parked +uncertain +\d+ s +odd +uncertain +the server said: too odd", listed[2])
    assert len(listed) == 3
    expected = {"acked": ["plain"], "parked": ["odd"], "pending": ["bad"], "all": ["bad", "odd", "plain"]}
    for state, items in expected.items():
        rows = json.loads(agent("outbox", "list", "--json", "--state", state, "--home", three.root).stdout)
        assert [row["item_id"] for row in rows] == items
    assert rows[0]["record_id"] == ids(three)["bad"]
    assert rows[1]["error"] == "the server said: too odd"


def test_a_whole_outbox_is_said_to_be_whole(three: Home) -> None:
    with closing(Outbox(three.database_file)) as outbox:
        outbox.ack(ids(three)["bad"])
        outbox.object_to(ids(three)["plain"], "a seam", "2026-11-27T09:30:00+00:00")
    for path in photos_of(three, "bad"):
        ContentFolder(three.photos).path(path).unlink()  # acked: the server has them
    done = agent("outbox", "verify", "--home", three.root)
    assert (done.returncode, done.stdout) == (0, "whole: 3 recorded = 1 acked + 2 pending\n")


def lose_a_photo(home: Home) -> str:
    ContentFolder(home.photos).path(photos_of(home, "odd")[0]).unlink()
    return "is gone; scan the item again"


def let_a_photo_rot(home: Home) -> str:
    path = ContentFolder(home.photos).path(photos_of(home, "odd")[0])
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    return "has rotted; scan the item again"


def change_a_record(home: Home) -> str:
    change(home, "UPDATE record SET body = CAST(replace(body, '\"odd\"', '\"even\"') AS BLOB)")
    return "its content is that of"


def tear_a_record(home: Home) -> str:
    change(home, "UPDATE record SET body = substr(body, 1, 50) WHERE item_id = 'odd'")
    return "bytes that do not parse"


def lose_a_record(home: Home) -> str:
    change(home, "DELETE FROM photo WHERE record_seq = 2")
    change(home, "DELETE FROM record WHERE seq = 2")
    return "3 recorded, but 0 acked + 2 pending"


def forget_a_case(home: Home) -> str:
    change(home, "UPDATE record SET is_case = 0 WHERE item_id = 'odd'")
    return "it is a case by its content"


def forget_a_claim(home: Home) -> str:
    change(home, "DELETE FROM photo WHERE record_seq = 2 AND sha256 = ?", photos_of(home, "odd")[0])
    return "its list of photos is not that of its content"


@pytest.mark.parametrize(
    "spoil",
    [lose_a_photo, let_a_photo_rot, change_a_record, tear_a_record, lose_a_record, forget_a_case, forget_a_claim],
)
def test_what_is_not_whole_is_one_line_that_says_what_to_do(three: Home, spoil: Callable[[Home], str]) -> None:
    says = spoil(three)
    done = agent("outbox", "verify", "--home", three.root)
    assert (done.returncode, done.stderr) == (1, "")
    assert says in done.stdout
    assert done.stdout.count("\n") == 1, done.stdout
    assert re.search(r"; (keep|scan|restore|check)", done.stdout)


@pytest.fixture
def far_home(server: RealServer, tmp_path: Path) -> Home:
    """A station that the server knows, with records that it has not sent, and one that somebody disagreed with."""
    home = Home(root=server.enrolled(tmp_path / "far"))
    home.create()
    add(home, "plain", "authentic")
    add(home, "odd", "uncertain")
    add(home, "bad", "suspect")
    add(home, "doubted", "authentic")
    with closing(Outbox(home.database_file)) as outbox:
        outbox.object_to(ids(home)["doubted"], "the clasp is light", "2026-11-27T09:30:00+00:00")
    return home


def imported(server: RealServer, folder: Path) -> subprocess.CompletedProcess[str]:
    return run_module("sync_server.cli", "import", folder, "--home", server.home)


def test_a_stick_brings_everything_to_the_server_and_the_uplink_finds_it_there_later(
    server: RealServer, far_home: Home, tmp_path: Path
) -> None:
    folder = tmp_path / "stick" / "export"
    done = agent("outbox", "export", folder, "--home", far_home.root)
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 records, 6 photos, 1 objections" in done.stdout
    assert json.loads(agent("status", "--json", "--home", far_home.root).stdout)["outbox"]["acked"] == 0
    assert sorted(path.name for path in folder.iterdir()) == ["export.json", "objections", "photos", "records"]

    taken = imported(server, folder)
    assert (taken.returncode, taken.stderr) == (0, ""), taken.stdout
    assert taken.stdout.splitlines()[:3] == [
        "records: 4 new, 0 known here already",
        "photos: 6 new, 0 known here already",
        "objections: 1 new, 0 known here already",
    ]
    cases = server.cases_of(station_of(far_home))
    assert sorted(case["item_id"] for case in cases) == ["bad", "doubted", "odd"]
    doubted = next(case["record_id"] for case in cases if case["item_id"] == "doubted")
    assert server.get(f"/v1/cases/{doubted}")["objection"]["text"] == "the clasp is light"

    photos = list(server.home.glob("blobs/??/*"))
    before = {path: path.stat().st_mtime_ns for path in photos}
    agent("run", "--once", "--home", far_home.root)
    tally = json.loads(agent("status", "--json", "--home", far_home.root).stdout)["outbox"]
    assert (tally["recorded"], tally["acked"], tally["pending"]) == (4, 4, 0)
    assert {path: path.stat().st_mtime_ns for path in photos} == before, "no photo was sent again"
    assert len(server.cases_of(station_of(far_home))) == 3


def test_an_export_that_is_cut_off_goes_on_and_one_that_is_changed_is_not_taken(
    server: RealServer, far_home: Home, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    code = (
        "import os, signal, sys\n"
        "seen = 0\n"
        "def hook(event, details):\n"
        "    global seen\n"
        "    if event == 'os.rename':\n"
        "        seen += 1\n"
        "        if seen == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(hook)\n"
        "from edge_agent.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    cut = subprocess.run(
        [sys.executable, "-c", code, "outbox", "export", str(folder), "--home", str(far_home.root)],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    assert cut.returncode == -signal.SIGKILL
    assert imported(server, folder).returncode == 2, "it is not signed yet"
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name[0] != "."}
    assert written
    time.sleep(0.02)
    assert agent("outbox", "export", folder, "--home", far_home.root).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in written} == written, "what is there whole is not written again"
    record = next((folder / "records").iterdir())
    record.write_bytes(record.read_bytes().replace(b"authentic", b"suspect"))
    photo = next((folder / "photos").iterdir())
    photo.write_bytes(b"torn")
    again = agent("outbox", "export", folder, "--home", far_home.root)
    assert again.returncode == 0
    assert photo.read_bytes() != b"torn"
    assert imported(server, folder).returncode == 0


def test_an_export_says_which_photos_are_lost_and_takes_the_rest(far_home: Home, tmp_path: Path) -> None:
    lost = photos_of(far_home, "odd")[0]
    ContentFolder(far_home.photos).path(lost).unlink()
    done = agent("outbox", "export", tmp_path / "export", "--home", far_home.root)
    assert done.returncode == 1
    assert "4 records, 5 photos" in done.stdout
    assert f"photo {lost[:12]} is not here whole; scan the item again" in done.stderr


def test_an_export_never_mixes_with_what_is_somebody_elses(far_home: Home, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("dear to somebody")
    done = agent("outbox", "export", full, "--home", far_home.root)
    assert (done.returncode, "expected a new or an empty folder" in done.stderr) == (2, True)
    assert agent("outbox", "export", tmp_path / "one", "--home", far_home.root).returncode == 0
    other = make_home(tmp_path / "other")
    other.key_file.write_bytes(far_home.key_file.read_bytes())
    done = agent("outbox", "export", tmp_path / "one", "--home", other.root)
    assert (done.returncode, "name another folder" in done.stderr) == (2, True)


def test_a_stick_that_does_not_hold_what_it_was_given_makes_no_export(far_home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "export"

    def rot(done: int, total: int) -> None:
        if done == total:
            photo = next((folder / "photos").iterdir())
            photo.write_bytes(photo.read_bytes()[:-1] + b"!")

    with closing(Outbox(far_home.database_file)) as outbox, pytest.raises(StationFault, match="use another stick"):
        write_export(
            folder,
            outbox=outbox,
            photos=ContentFolder(far_home.photos),
            station_id=StationId(station_of(far_home)),
            sign=DeviceKey.load(far_home).sign,
            now=datetime.now(UTC),
            progress=rot,
        )
    assert not (folder / "export.json").exists()


def test_a_full_stick_is_one_line(far_home: Home, small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(b"\0" * (free_bytes(small_disk) - 16 * 1024))
    done = agent("outbox", "export", small_disk / "export", "--home", far_home.root)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "free some space there, or name a folder elsewhere" in done.stderr
    (small_disk / "filler").unlink()
    assert agent("outbox", "export", small_disk / "export", "--home", far_home.root).returncode == 0


def test_every_exported_record_is_what_the_uplink_would_send(far_home: Home, tmp_path: Path) -> None:
    agent("outbox", "export", tmp_path / "export", "--home", far_home.root)
    for path in (tmp_path / "export" / "records").iterdir():
        record = decode(Record, parse_json(path.read_bytes(), "record"), "record")
        assert canonical_json(record) == path.read_bytes()
        assert path.stem == record.record_id
