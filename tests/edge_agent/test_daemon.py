"""The daemon as a process: ready soon, one at a time, stops in order, and one loop's trouble stays its own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge_agent.agent import Watch, build
from edge_agent.home import Home
from edge_agent.model_slot import RunningModel
from edge_agent.outbox import Outbox
from edge_agent.supervisor import Loop, Supervisor
from runtime.contracts.errors import StationFault, TryLater
from runtime.inspector import Inspector
from tests.edge_agent.repository import Repository
from tests.edge_agent.rigs import (
    Daemon,
    RealServer,
    agent,
    drop,
    environment_without_network,
    make_home,
    recorded,
    wait_until,
)


def test_the_daemon_scans_without_a_server_and_rejects_what_it_cannot_read(
    home_with_model: Home, photo_of: Callable[..., bytes]
) -> None:
    drop(home_with_model, "good", logo=photo_of(20), stitching=photo_of(21))
    drop(home_with_model, "torn", logo=photo_of(20)[:300])
    daemon = Daemon(home_with_model.root)
    assert daemon.ready_line().startswith("ready in ")
    drop(home_with_model, "later", logo=photo_of(220))
    wait_until(lambda: not list(home_with_model.inbox.iterdir()), "the inbox is empty")
    assert daemon.end() == 0
    assert recorded(home_with_model) == 2
    assert "cut short" in (home_with_model.rejected / "torn" / "reason.txt").read_text()
    decisions = {line["item_id"]: line["verdict"] for line in daemon.events("decided")}
    assert decisions == {"good": "authentic", "later": "uncertain"}
    assert daemon.events("try_later"), "the missing server is in the log"
    assert not daemon.events("crashed")
    assert not daemon.events("not json")
    assert daemon.events("stopped") != []
    assert "11" * 32 not in daemon.log.read_text()
    assert home_with_model.key_file.read_text() not in daemon.log.read_text()


def test_a_log_that_cannot_be_written_stops_no_loop(home_with_model: Home, photo_of: Callable[..., bytes]) -> None:
    drop(home_with_model, "torn", logo=photo_of(20)[:300])
    drop(home_with_model, "good", logo=photo_of(140))
    daemon = Daemon(home_with_model.root, log=Path("/dev/full"))
    daemon.ready_line()
    wait_until(lambda: not list(home_with_model.inbox.iterdir()), "the inbox is empty")
    time.sleep(1.0)  # the missing server is noted by the other loops meanwhile, in vain
    drop(home_with_model, "later", logo=photo_of(220))
    wait_until(lambda: recorded(home_with_model) == 2, "it still scans")
    assert daemon.end() == 0
    assert (home_with_model.rejected / "torn" / "reason.txt").exists()


def test_names_that_are_not_valid_text_are_rejected_with_a_reason(
    home_with_model: Home, photo_of: Callable[..., bytes]
) -> None:
    not_text = os.fsdecode(b"bag-\xff")
    drop(home_with_model, not_text, logo=photo_of(20))
    drop(home_with_model, "view", **{not_text: photo_of(20)})
    drop(home_with_model, "file", logo=photo_of(20))
    (home_with_model.inbox / "file" / not_text).write_bytes(b"x")
    daemon = Daemon(home_with_model.root)
    daemon.ready_line()
    wait_until(lambda: not list(home_with_model.inbox.iterdir()), "the inbox is empty")
    assert daemon.end() == 0
    assert not daemon.events("crashed")
    for name in (not_text, "view", "file"):
        assert "\\udcff" in (home_with_model.rejected / name / "reason.txt").read_text("utf-8")
    assert recorded(home_with_model) == 0


def test_what_a_kill_left_of_a_photo_is_swept_at_the_next_start_and_nothing_younger(home_with_model: Home) -> None:
    folder = home_with_model.photos / "ab"
    folder.mkdir()
    left, in_hand = folder / ".old.1234.tmp", folder / ".new.1234.tmp"
    for file in (left, in_hand):
        file.write_bytes(b"half")
    os.utime(left, (time.time() - 4000, time.time() - 4000))
    daemon = Daemon(home_with_model.root)
    daemon.ready_line()
    wait_until(lambda: not left.exists(), "it is swept")
    assert daemon.end() == 0
    assert in_hand.exists()


class FailingEngine:
    """A model whose engine fails so many times, and then works."""

    def __init__(self, model: RunningModel, failures: int) -> None:
        self.model, self.ref, self.failed, self.failures = model, model.ref, 0, failures

    @property
    def inspector(self) -> Inspector:
        if self.failed < self.failures:
            self.failed += 1
            raise StationFault("engine: out of memory; restart the station")
        return self.model.inspector


@pytest.mark.parametrize(
    ("longest_wait_s", "stop_after_s", "failed", "left"), [(0.01, 9, 5, []), (60.0, 0.4, 1, ["bag"])]
)
def test_an_engine_that_fails_leaves_the_item_in_the_inbox_and_backs_off(
    home_with_model: Home,
    photo_of: Callable[..., bytes],
    capsys: pytest.CaptureFixture[str],
    longest_wait_s: float,
    stop_after_s: float,
    failed: int,
    left: list[str],
) -> None:
    drop(home_with_model, "bag", logo=photo_of(140))
    stopping = threading.Event()
    parts = build(home_with_model, stopping)
    parts.slot.restore(None)
    engine = FailingEngine(parts.slot.require(), failures=5)
    parts.slot._pointer.current = engine  # type: ignore[assignment]
    watch = Watch(parts, on_record=lambda: supervisor.stop())
    supervisor = Supervisor(
        [Loop(name="watch", step=watch.step, longest_wait_s=longest_wait_s, grace_s=None)], stopping
    )

    async def run() -> None:
        asyncio.get_running_loop().call_later(stop_after_s, supervisor.stop)
        await supervisor.run()

    asyncio.run(asyncio.wait_for(run(), 10))
    parts.outbox.close()
    assert engine.failed == failed
    assert [path.name for path in home_with_model.inbox.iterdir()] == left
    assert recorded(home_with_model) == (0 if left else 1)
    assert not list(home_with_model.rejected.iterdir())
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events == (["needs_a_person"] if left else ["needs_a_person", "decided"])


def test_items_wait_while_there_is_no_model(tmp_path: Path, photo_of: Callable[..., bytes]) -> None:
    home = make_home(tmp_path / "station")
    drop(home, "item", logo=photo_of(20))
    daemon = Daemon(home.root)
    assert daemon.ready_line().endswith("(no model yet)")
    time.sleep(0.3)
    assert daemon.end() == 0
    assert (home.inbox / "item" / "logo.jpg").exists()
    assert recorded(home) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_scan_in_hand_and_leaves_the_rest_whole(
    home_with_model: Home, photo_of: Callable[..., bytes], number: int
) -> None:
    for item in range(60):
        drop(home_with_model, f"item {item}", logo=photo_of(140, seed=item, size=(600, 800)))
    daemon = Daemon(home_with_model.root)
    daemon.ready_line()
    wait_until(lambda: daemon.events("decided"), "the first decision")
    assert daemon.end(number) == 0
    left = [path.name for path in home_with_model.inbox.iterdir()]
    assert recorded(home_with_model) + len(left) == 60
    assert len(daemon.events("decided")) == recorded(home_with_model)
    assert not [name for name in left if name.startswith(".")]


def test_a_second_daemon_on_the_same_home_is_refused(
    home_with_model: Home, tmp_path: Path, photo_of: Callable[..., bytes]
) -> None:
    daemon = Daemon(home_with_model.root)
    daemon.ready_line()
    by_another_name = tmp_path / "the same folder"
    by_another_name.symlink_to(home_with_model.root)
    for home in (home_with_model.root, by_another_name):
        second = agent("run", "--home", home)
        assert second.returncode == 2
        assert "another 'touchstone-agent run'" in second.stderr
        assert second.stderr.count("\n") == 1
    drop(home_with_model, "bag", logo=photo_of(20), stitching=photo_of(21))
    wait_until(lambda: recorded(home_with_model) == 1, "the first goes on")
    assert daemon.end() == 0


HOSTILE = ("../../../../tmp/x", "/etc/passwd", "..", "x" * 10_240, "nul\0", "line\nbreak", "\x1b[2J")
ODD = (
    "'; DROP TABLE record; --",
    '" OR 1=1 --',
    "<img src=x onerror=alert(1)>",
    "$(reboot)",
    "%2e%2e",
    "{0}",
    "\u202egnp",
)


def test_hostile_codes_in_the_watch_folder_are_rejected_and_odd_ones_are_names(
    home_with_model: Home, photo_of: Callable[..., bytes]
) -> None:
    home = home_with_model
    for number, code in enumerate((*HOSTILE, *ODD)):
        drop(home, f"{number}.part", logo=photo_of(20, seed=number), stitching=photo_of(21, seed=number))
        folder = home.inbox / f"{number}.part"
        (folder / "item.json").write_text(json.dumps({"item_id": code}))
        folder.rename(home.inbox / f"{number}")
    drop(home, ODD[0], logo=photo_of(20, seed=98), stitching=photo_of(21, seed=98))  # the folder's own name
    around = sorted(path.name for path in home.root.parent.iterdir())
    daemon = Daemon(home.root)
    daemon.ready_line()
    wait_until(lambda: not list(home.inbox.iterdir()), "the inbox is empty")
    assert daemon.end() == 0
    assert {path.name for path in home.rejected.iterdir()} == {f"{number}" for number in range(len(HOSTILE))}
    reasons = [(path / "reason.txt").read_text() for path in home.rejected.iterdir()]
    assert all("item id" in reason and len(reason) < 1000 for reason in reasons)
    assert sorted(line["item_id"] for line in daemon.events("decided")) == sorted((*ODD, ODD[0]))
    assert recorded(home) == len(ODD) + 1
    assert agent("outbox", "verify", "--home", home.root).returncode == 0
    assert sorted(path.name for path in home.root.parent.iterdir()) == around
    assert not daemon.events("crashed")
    assert not daemon.events("not json")


def test_a_scan_beside_the_running_daemon_is_safe(
    home_with_model: Home, tmp_path: Path, photo_of: Callable[..., bytes]
) -> None:
    photo = tmp_path / "logo.jpg"
    photo.write_bytes(photo_of(140))
    daemon = Daemon(home_with_model.root)
    daemon.ready_line()
    for item in range(3):
        drop(home_with_model, f"i{item}", logo=photo_of(140))
        done = agent("scan", photo, "--item", f"i{item}", "--home", home_with_model.root)
        assert done.returncode == 0, done.stderr
    wait_until(lambda: not list(home_with_model.inbox.iterdir()), "the inbox is empty")
    assert daemon.end() == 0
    assert recorded(home_with_model) == 3


def change_a_byte(home: Home) -> None:
    model = next(home.bundles.glob("*/model.onnx"))
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)


def lose_the_admission(home: Home) -> None:
    shutil.rmtree(next(home.bundles.glob("*/admitted")))


def pin_another_root(home: Home) -> None:
    home.root_metadata_file.write_bytes(Repository().root)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (change_a_byte, "was changed"),
        (lose_the_admission, "metadata that admitted it is missing"),
        (pin_another_root, "signatures do not hold"),
    ],
)
def test_a_bundle_that_is_not_what_was_signed_is_refused_at_start(
    home_with_model: Home, change: Callable[[Home], None], why: str
) -> None:
    change(home_with_model)
    daemon = Daemon(home_with_model.root)
    assert daemon.ready_line().endswith("(no model yet)")
    assert daemon.end() == 0
    (refused,) = daemon.events("bundle_refused_at_start")
    assert why in refused["why"]


def test_from_enrolment_to_the_experts_answer(
    server: RealServer, tmp_path: Path, tiny_bundle: Callable[..., Path], photo_of: Callable[..., bytes]
) -> None:
    home = Home(root=server.enrolled(tmp_path / "station"))
    daemon = Daemon(home.root)
    daemon.ready_line()
    drop(home, "bag", logo=photo_of(220), stitching=photo_of(220))
    server.publish(tiny_bundle(tmp_path / "bundle"))
    station_id = json.loads(home.identity_file.read_text())["station_id"]
    wait_until(lambda: server.cases_of(station_id), "the case is at the server")
    (case,) = server.cases_of(station_id)
    request = urllib.request.Request(
        f"{server.url}/v1/cases/{case['record_id']}/labels",
        data=b'{"label": "counterfeit"}',
        headers={"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=20).close()

    def status() -> dict[str, Any]:
        return dict(json.loads(agent("status", "--json", "--home", home.root).stdout))

    wait_until(lambda: status()["answers"], "the answer is back")
    assert [(one["item_id"], one["outcome"]) for one in status()["answers"]] == [("bag", "counterfeit")]
    wait_until(lambda: report_of(server, home)["acked"] == 1, "the report says so")
    report = report_of(server, home)
    assert (report["state"], report["release"], report["pending"]) == ("running", 1, 0)
    assert daemon.end() == 0
    assert not daemon.events("crashed")


def report_of(server: RealServer, home: Home) -> dict[str, Any]:
    station_id = json.loads(home.identity_file.read_text())["station_id"]
    return next(dict(one["report"]) for one in server.get("/v1/stations") if one["station_id"] == station_id)


def test_telemetry_leaves_with_the_records_and_never_fails_the_uplink(server: RealServer, tmp_path: Path) -> None:
    home = Home(root=server.enrolled(tmp_path / "station"))
    with closing(Outbox(home.database_file)) as outbox:
        outbox.add_telemetry(b"{}", time.time())  # no heartbeat that a server could read: it is dropped
        done = agent("run", "--once", "--home", home.root)
        assert done.returncode == 0, done.stderr
        assert outbox.telemetry(9) == ()
    assert json.loads(agent("status", "--json", "--home", home.root).stdout)["last_error"] is None


def test_a_disagreeing_release_is_reported_as_refused(
    server: RealServer, tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    good, wrong = tiny_bundle(tmp_path / "good", bias=0.3), tmp_path / "wrong"
    shutil.copytree(good, wrong)
    manifest = json.loads((wrong / "manifest.json").read_text())
    manifest["golden"][0]["p_counterfeit"]["ort-cpu-float32"] = 0.999
    (wrong / "manifest.json").write_text(json.dumps(manifest))
    home = Home(root=server.enrolled(tmp_path / "station"))
    server.publish(wrong)
    done = agent("run", "--once", "--home", home.root, env=environment_without_network())
    assert done.returncode == 2
    assert "golden sample 1" in done.stderr
    assert report_of(server, home)["state"] == "refused"
    assert "golden sample 1" in report_of(server, home)["detail"]
    server.publish(good)
    assert agent("run", "--once", "--home", home.root).returncode == 0
    assert report_of(server, home)["state"] == "running"


def test_one_loops_crash_is_its_own_and_it_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    stopping = threading.Event()
    steps: list[str] = []

    def crash() -> float:
        steps.append("crash")
        errors: list[Exception] = [ZeroDivisionError("oops"), TryLater("later"), StationFault("help")]
        if len([step for step in steps if step == "crash"]) <= 3:
            raise errors[len([step for step in steps if step == "crash"]) - 1]
        supervisor.wake("steady")
        return 60.0

    def steady() -> float:
        steps.append("steady")
        if steps.count("crash") > 3:
            signal.raise_signal(signal.SIGTERM)
        return 60.0

    supervisor = Supervisor(
        [
            Loop(name="crashing", step=crash, longest_wait_s=0.01, grace_s=1),
            Loop(name="steady", step=steady, longest_wait_s=1, grace_s=None),
        ],
        stopping,
    )
    assert asyncio.run(asyncio.wait_for(supervisor.run(), 10))
    assert stopping.is_set()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["crashed", "try_later", "needs_a_person"]
    assert "ZeroDivisionError: oops" in lines[0]["why"]


def test_a_step_that_does_not_end_is_left_behind_after_its_grace() -> None:
    stopping, release = threading.Event(), threading.Event()

    def hang() -> float:
        threading.Timer(0.05, lambda: signal.raise_signal(signal.SIGTERM)).start()
        release.wait(10)
        return 1.0

    async def run() -> bool:
        ended = await Supervisor([Loop(name="x", step=hang, longest_wait_s=1, grace_s=0.1)], stopping).run()
        release.set()
        return ended

    assert not asyncio.run(run())
