"""What the doctor finds on real stations that lack one thing each; that it changes nothing; and what it says to do."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_agent.doctor.checks import CHECKS, examine
from edge_agent.doctor.finding import Finding, Seen, age, as_data, as_text, fail, ok, warn, worst
from edge_agent.doctor.machine import service_seen
from edge_agent.doctor.subject import Subject
from edge_agent.home import Home
from edge_agent.outbox import Outbox
from edge_agent.outbox_schema import STEPS
from edge_agent.release_book import ReleaseBook
from runtime.contracts.records import BundleId
from runtime.contracts.sync import ReleaseInfo
from tests.edge_agent.conftest import give_model
from tests.edge_agent.desk.rigs import running
from tests.edge_agent.repository import Repository
from tests.edge_agent.rigs import (
    Daemon,
    RealServer,
    Say,
    agent,
    drop,
    make_home,
    make_record,
    recorded,
    say_json,
    say_problem,
    scripted_server,
    wait_until,
)


def look(home: Home, **more: Any) -> dict[str, Seen]:
    """Return what each check has seen; whatever is not well must say what to do."""
    subject = Subject(home, **more)
    try:
        found = {finding.check: finding.seen for finding in examine(subject)}
    finally:
        subject.close()
    assert list(found) == [check.name for check in CHECKS]
    for name, seen in found.items():
        assert bool(seen.todo) == (seen.state != "ok"), (name, seen)
        assert "\n" not in seen.found + seen.todo
    return found


def states(found: dict[str, Seen], *, other_than: str = "ok") -> dict[str, str]:
    return {name: seen.state for name, seen in found.items() if seen.state != other_than}


def sets(home: Home, line: str) -> None:
    home.config_file.write_text(f"{home.config_file.read_text()}{line}\n")


@contextmanager
def outbox_of(home: Home) -> Iterator[Outbox]:
    box = Outbox(home.database_file)
    try:
        yield box
    finally:
        box.close()


def everything_in(home: Home) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in sorted(home.root.rglob("*"))
        if path.is_file() and not path.name.startswith(("station.db", "daemon.log"))
    }


def test_a_station_without_a_server_works_and_is_warned_of_what_it_lacks(home_with_model: Home) -> None:
    found = look(home_with_model)
    assert states(found) == {"service": "warn", "server": "warn"}
    assert found["service"].found == "the agent does not run"
    assert "cannot be reached" in found["server"].found
    assert "scans go on" in found["server"].todo
    assert found["model"].found.startswith("tiny release 1, bundle ")
    assert found["settings"].found == (
        "agent.toml sets watch_every_s, uplink_every_s, update_every_s, min_free_bytes, desk_port"
    )


def test_it_looks_beside_the_running_daemon_and_changes_nothing(
    home_with_model: Home, photo_of: Callable[..., bytes]
) -> None:
    home = home_with_model
    daemon = Daemon(home.root)
    daemon.ready_line()
    before = everything_in(home)
    done = agent("doctor", "--json", "--trial", "--home", home.root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert everything_in(home) == before
    said = json.loads(done.stdout)
    assert said["state"] == "warn"
    found = {one["check"]: one for one in said["findings"]}
    assert found["service"]["found"] == f"process {daemon.process.pid} runs, but not as a service"
    assert "agrees with its builder" in found["engine"]["found"]
    drop(home, "bag", logo=photo_of(140))
    wait_until(lambda: recorded(home) == 1, "it still scans")
    assert daemon.end() == 0
    assert not daemon.events("crashed")


def test_a_failure_is_exit_code_one_and_a_mistake_stays_one_line(tmp_path: Path) -> None:
    home = make_home(tmp_path / "station")
    done = agent("doctor", "--home", home.root)
    assert done.returncode == 1
    assert "FAIL  enrolment" in done.stdout
    assert "WARN  model" in done.stdout
    assert done.stderr == ""
    nowhere = agent("doctor", "--home", tmp_path / "nowhere")
    assert nowhere.returncode == 1
    assert f"FAIL  home        {tmp_path / 'nowhere'} is no folder" in nowhere.stdout
    assert not (tmp_path / "nowhere").exists()


def test_a_station_at_its_server_is_well(server: RealServer, tmp_path: Path, tiny_bundle: Callable[..., Path]) -> None:
    home = Home(root=server.enrolled(tmp_path / "station"))
    server.publish(tiny_bundle(tmp_path / "bundle"))
    assert agent("run", "--once", "--home", home.root).returncode == 0
    found = look(home)
    assert states(found) == {"service": "warn"}
    assert found["server"].found.endswith("answers as itself; this station should run tiny/1/manifest.json")
    assert "the server's was 0 s" in found["clock"].found


def test_a_server_that_is_not_the_one_of_the_enrolment_is_a_failure(home_with_model: Home) -> None:
    with scripted_server(lambda _: Say(body=Repository().root)) as (url, _):
        sets(home_with_model, f'server = "{url}"')
        seen = look(home_with_model)["server"]
    assert seen.state == "fail"
    assert "not the one that enrolment pinned" in seen.found


def answers_as(home: Home, assignment: Say) -> Callable[[Any], Say]:
    root = home.root_metadata_file.read_bytes()
    return lambda asked: Say(body=root) if asked.path.endswith("root.json") else assignment


def test_a_server_that_does_not_know_the_station_is_a_failure(home_with_model: Home) -> None:
    with scripted_server(answers_as(home_with_model, say_problem(401))) as (url, _):
        sets(home_with_model, f'server = "{url}"')
        seen = look(home_with_model)["server"]
    assert seen.state == "fail"
    assert "enrol anew" in seen.todo


def test_a_clock_that_is_off_is_told_by_how_much(home_with_model: Home) -> None:
    answer = answers_as(home_with_model, say_json({"target": None}))
    with scripted_server(answer, clock=lambda: time.time() + 3 * 3600) as (url, _):
        sets(home_with_model, f'server = "{url}"')
        found = look(home_with_model)
    assert found["server"].state == "ok"
    assert found["clock"].state == "warn"
    assert "the server's was 3 hours ahead" in found["clock"].found


def test_a_clock_before_what_was_signed_is_a_failure(home_with_model: Home) -> None:
    subject = Subject(home_with_model)
    subject.now_s = 0.0
    found = {finding.check: finding.seen for finding in examine(subject)}
    subject.close()
    assert found["clock"].state == "fail"
    assert "1970-01-01 00:00 UTC, before what was signed at 20" in found["clock"].found


def test_a_home_that_others_may_read_or_own_is_told(home_with_model: Home) -> None:
    root = home_with_model.root
    root.chmod(0o755)
    assert look(home_with_model)["home"] == warn(f"{root} is open to every user of this machine", f"chmod o-rwx {root}")
    root.chmod(0o700)
    assert look(home_with_model)["home"].state == "ok"
    if os.geteuid() == 0:
        os.chown(home_with_model.photos, 12345, 12345)
        seen = look(home_with_model)["home"]
        assert seen.state == "fail"
        assert seen.todo.startswith(f"chown -R root: {root}")
        assert "photos" in seen.found


def test_keys_that_others_may_read_and_files_that_are_gone_are_failures(home_with_model: Home) -> None:
    home_with_model.key_file.chmod(0o644)
    assert look(home_with_model)["enrolment"].todo == f"chmod 600 {home_with_model.key_file}"
    home_with_model.key_file.chmod(0o600)
    home_with_model.identity_file.unlink()
    found = look(home_with_model)
    assert found["enrolment"].state == "fail"
    assert found["model"] == warn("not looked at", "mend enrolment first")
    assert found["engine"] == warn("not looked at", "mend model first")


def test_settings_that_cannot_be_read_fail_and_the_rest_is_still_looked_at(home_with_model: Home) -> None:
    home_with_model.config_file.write_text("thread = 2\n")
    found = look(home_with_model)
    assert found["settings"].state == "fail"
    assert "unknown key 'thread'" in found["settings"].found
    assert found["model"].state == "ok"
    assert found["disk"].todo == "mend settings first"


def test_a_pin_that_others_may_read_is_told(home_with_model: Home) -> None:
    sets(home_with_model, 'desk_pin = "123456"')
    home_with_model.config_file.chmod(0o640)
    seen = look(home_with_model)["settings"]
    assert (seen.state, seen.todo) == ("warn", f"chmod 600 {home_with_model.config_file}")
    assert "123456" not in seen.found
    home_with_model.config_file.chmod(0o600)
    assert look(home_with_model)["settings"].state == "ok"


def test_the_desk_is_asked_while_the_agent_runs(home_with_model: Home, tmp_path: Path) -> None:
    assert look(home_with_model)["desk"] == ok("turned off")
    with running(home_with_model) as (desk, _):
        assert look(home_with_model)["desk"] == ok(f"answers at 127.0.0.1 port {desk.port}")
        away = home_with_model.desk_socket.rename(tmp_path / "away")
        seen = look(home_with_model)["desk"]
        away.rename(home_with_model.desk_socket)
    assert (seen.state, seen.found.startswith("no answer")) == ("fail", True)
    assert look(home_with_model)["desk"] == ok(f"answers at 127.0.0.1 port {desk.port} while the agent runs")
    fresh = make_home(tmp_path / "fresh")
    with running(fresh) as _:
        assert look(fresh)["desk"].state == "warn"


def test_a_disk_that_fills_is_told_before_scanning_stops(home_with_model: Home) -> None:
    free = shutil.disk_usage(home_with_model.root).free
    sets(home_with_model, "")
    text = home_with_model.config_file.read_text().replace("min_free_bytes = 1048576\n", "")
    home_with_model.config_file.write_text(f"{text}min_free_bytes = {2 * free}\n")
    assert look(home_with_model)["disk"].state == "fail"
    home_with_model.config_file.write_text(f"{text}min_free_bytes = {int(free * 0.7)}\n")
    assert look(home_with_model)["disk"].state == "warn"


def test_a_home_in_memory_is_a_failure(small_disk: Path) -> None:
    seen = look(make_home(small_disk / "station"))["durability"]
    assert seen.state == "fail"
    assert "lies on tmpfs: a power cut loses every case" in seen.found


def test_an_outbox_tells_what_waits_what_was_refused_and_what_is_missing(home_with_model: Home) -> None:
    with outbox_of(home_with_model) as box:
        box.add(replace(make_record(1), scanned_at=time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())))
    assert "1 recorded = 0 acked + 1 pending; 1 cases wait, the oldest for" in look(home_with_model)["outbox"].found
    with outbox_of(home_with_model) as box:
        box.ack(make_record(1).record_id)
        box.add(replace(make_record(2), scanned_at="2020-01-01T00:00:00+00:00"))
    assert look(home_with_model)["outbox"].state == "warn"
    with outbox_of(home_with_model) as box:
        box.park(make_record(2).record_id, until_s=1e9, error="record: too odd")
    seen = look(home_with_model)["outbox"]
    assert (seen.state, "item 2: record: too odd" in seen.found) == ("warn", True)
    with closing(sqlite3.connect(home_with_model.database_file)) as db, db:
        db.execute("DELETE FROM record WHERE item_id = 'item 1'")
    seen = look(home_with_model)["outbox"]
    assert seen.state == "fail"
    assert "records are missing" in seen.found


def test_an_outbox_of_another_version_is_left_as_it_is(home_with_model: Home) -> None:
    for version in (99, len(STEPS) - 1):
        with closing(sqlite3.connect(home_with_model.database_file)) as db:
            db.execute(f"PRAGMA user_version = {version}")
        seen = look(home_with_model)["outbox"]
        assert seen.state == "fail"
        assert f"version {version}, this program's is {len(STEPS)}" in seen.found
        with closing(sqlite3.connect(home_with_model.database_file)) as db:
            assert db.execute("PRAGMA user_version").fetchone() == (version,)
    home_with_model.database_file.write_bytes(b"no database at all" * 100)
    assert "is not a database" in look(home_with_model)["outbox"].found
    for file in home_with_model.root.glob("station.db*"):
        file.unlink()
    assert "is not there yet" in look(home_with_model)["outbox"].found
    assert not home_with_model.database_file.exists()


def test_items_that_wait_or_were_rejected_are_told_with_their_reasons(
    home_with_model: Home, photo_of: Callable[..., bytes]
) -> None:
    drop(home_with_model, "old", logo=photo_of(20))
    assert look(home_with_model)["inbox"] == ok("1 items wait, the oldest for 0 s")
    os.utime(home_with_model.inbox / "old", (time.time() - 7300, time.time() - 7300))
    assert look(home_with_model)["inbox"].found == "1 items wait, the oldest for 2 hours"
    bad = home_with_model.rejected / "torn"
    bad.mkdir()
    (bad / "reason.txt").write_text("photo logo: the file is cut short\n")
    (home_with_model.rejected / "file.jpg").touch()
    (home_with_model.rejected / "file.jpg.reason.txt").write_text("expected a folder\n")
    seen = look(home_with_model)["rejected"]
    assert seen.state == "warn"
    assert seen.found.startswith("2 items")
    assert "'torn': photo logo: the file is cut short" in seen.found
    assert "'file.jpg': expected a folder" in seen.found


def test_a_model_that_changed_or_was_refused_is_told(home_with_model: Home) -> None:
    with outbox_of(home_with_model) as box:
        ReleaseBook(box).refuse(BundleId("a" * 64), ReleaseInfo(name="tiny", release=2, floor=0), "too slow here")
    seen = look(home_with_model)["model"]
    assert (seen.state, "release 2 was refused: too slow here" in seen.found) == ("warn", True)
    model = next(home_with_model.bundles.glob("*/model.onnx"))
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    found = look(home_with_model)
    assert found["model"].state == "fail"
    assert found["engine"].todo == "mend model first"
    shutil.rmtree(home_with_model.bundles)
    assert look(home_with_model)["model"].state == "fail"


def test_a_station_that_never_had_a_model_is_told_where_it_comes_from(tmp_path: Path, home_with_model: Home) -> None:
    home = make_home(tmp_path / "fresh")
    for name in ("key_file", "root_metadata_file"):
        shutil.copy2(getattr(home_with_model, name), getattr(home, name))
    Outbox(home.database_file).close()
    seen = look(home)["model"]
    assert (seen.state, seen.found) == ("fail", "no model yet")
    assert "publish a release" in seen.todo


def change_manifest(tiny_bundle: Callable[..., Path], change: Callable[[dict[str, Any]], None]) -> Callable[..., Path]:
    def build(folder: Path) -> Path:
        file = tiny_bundle(folder) / "manifest.json"
        manifest = json.loads(file.read_text())
        change(manifest)
        file.write_text(json.dumps(manifest))
        return folder

    return build


def test_a_variant_that_this_machine_lacks_something_for_is_a_failure(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    def demand(manifest: dict[str, Any]) -> None:
        manifest["variants"][0]["isa"] = ["amx_of_tomorrow"]

    home = give_model(make_home(tmp_path / "station"), change_manifest(tiny_bundle, demand))
    seen = look(home)["engine"]
    assert seen.state == "fail"
    assert seen.found == "ort-cpu-float32: this CPU lacks amx_of_tomorrow"


def test_a_model_that_disagrees_with_its_builder_fails_its_trial(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    def lie(manifest: dict[str, Any]) -> None:
        manifest["golden"][0]["p_counterfeit"]["ort-cpu-float32"] = 0.999

    home = give_model(make_home(tmp_path / "station"), change_manifest(tiny_bundle, lie))
    assert "not tried, --trial does" in look(home)["engine"].found
    seen = look(home, trial=True)["engine"]
    assert seen.state == "fail"
    assert "golden sample 1" in seen.found


def film(path: Path, brightness: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), brightness, np.uint8))
    writer.release()
    return path


def test_a_camera_shows_a_picture_or_it_is_told_why_not(home_with_model: Home, tmp_path: Path) -> None:
    text = home_with_model.config_file.read_text()

    def seen(source: str | Path) -> Seen:
        home_with_model.config_file.write_text(f'{text}camera = "{source}"\n')
        return look(home_with_model)["camera"]

    assert seen(film(tmp_path / "light.avi", 120)) == ok(f"{tmp_path / 'light.avi'}: 64 x 48 pixels")
    assert seen(film(tmp_path / "dark.avi", 0)).todo == "take the cap off, or switch the light on"
    missing = seen("/dev/video77")
    assert (missing.state, missing.found) == ("fail", "/dev/video77: no picture within 3 s")
    assert seen("77").state == "fail"
    with Path("/dev/zero").open("rb"):
        assert seen("/dev/zero").found == f"/dev/zero: in use by process {os.getpid()}, so not opened"


RUNS = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "NRestarts": "0",
    "StatusText": "ok",
}


@pytest.mark.parametrize(
    ("unit", "process", "state", "says"),
    [
        ({}, None, "warn", "does not run"),
        ({"LoadState": "not-found", "ActiveState": "inactive"}, 7, "warn", "process 7 runs, but not as a service"),
        (RUNS, 7, "ok", "touchstone-agent.service runs: ok"),
        (RUNS | {"NRestarts": "3"}, 7, "warn", "restarted 3 times"),
        (RUNS | {"UnitFileState": "disabled"}, 7, "warn", "not start with the machine"),
        (RUNS, None, "warn", "on another home"),
        (RUNS | {"ActiveState": "failed", "Result": "watchdog"}, None, "fail", "failed (watchdog)"),
        (RUNS | {"ActiveState": "inactive"}, None, "fail", "is inactive"),
        (RUNS | {"ActiveState": "activating"}, None, "fail", "is activating"),
        (RUNS | {"ActiveState": "inactive", "UnitFileState": "disabled"}, None, "warn", "is inactive"),
    ],
)
def test_the_service_is_judged_by_what_systemd_says(
    unit: dict[str, str], process: int | None, state: str, says: str
) -> None:
    seen = service_seen(unit, process)
    assert seen.state == state
    assert says in seen.found
    assert bool(seen.todo) == (state != "ok")


def test_findings_are_shown_with_what_to_do_below() -> None:
    findings = (
        Finding(check="disk", seen=ok("90 MiB free")),
        Finding(check="model", seen=fail("none", "publish one")),
        Finding(check="x", seen=warn("y", "z")),
    )
    assert as_text(findings) == (
        "OK    disk   90 MiB free\nFAIL  model  none\n             -> publish one\nWARN  x      y\n             -> z\n"
    )
    assert [worst(findings), worst(findings[2:]), worst(findings[:1]), worst(())] == ["fail", "warn", "ok", "ok"]
    assert as_data(findings)["findings"][1] == {
        "check": "model", "state": "fail", "found": "none", "todo": "publish one",
    }  # fmt: skip
    assert [age(s) for s in (-5, 1, 119, 120, 7200, 172_800)] == [
        "0 s",
        "1 s",
        "119 s",
        "2 minutes",
        "2 hours",
        "2 days",
    ]


def test_a_check_needs_only_what_was_looked_at_before() -> None:
    names = [check.name for check in CHECKS]
    for check in CHECKS:
        assert set(check.needs) <= set(names[: names.index(check.name)])
