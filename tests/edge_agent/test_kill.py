"""Power cuts: the daemon is killed at random moments, again and again. Nothing is lost and nothing comes twice."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.home import Home
from edge_agent.outbox import Outbox
from edge_agent.release_book import ReleaseBook
from runtime.bundle_store import open_bundle
from tests.edge_agent.rigs import Daemon, RealServer, agent, run_module, wait_until

KILLS = 50
UPDATE_KILLS = 8
REVERT_KILLS = 10
BASELINE, WATCHED = 20, 10
SEED = 20261123


def fill(folder: Path, photos: dict[str, bytes]) -> Path:
    """Put an item's photos into a folder that has not its final name yet, as a producer should."""
    folder.mkdir()
    for view, data in photos.items():
        (folder / f"{view}.jpg").write_bytes(data)
    return folder


def finish(folder: Path) -> None:
    folder.rename(folder.with_suffix(""))


def tally_of(home: Path) -> dict[str, int]:
    status = agent("status", "--json", "--home", home)
    assert status.returncode == 0, status.stderr
    return dict(json.loads(status.stdout)["outbox"])


def verdicts_of(home: Path) -> dict[str, str]:
    with closing(sqlite3.connect(home / "station.db")) as db:
        records = [json.loads(body) for (body,) in db.execute("SELECT body FROM record")]
    assert len({record["item_id"] for record in records}) == len(records)
    return {record["item_id"]: record["verdict"] for record in records}


def test_fifty_kills_lose_nothing_and_count_nothing_twice(
    server: RealServer, tmp_path: Path, tiny_bundle: Callable[..., Path], photo_of: Callable[..., bytes]
) -> None:
    choose = random.Random(SEED)
    server.publish(tiny_bundle(tmp_path / "bundle"))
    home = server.enrolled(tmp_path / "station")
    assert agent("run", "--once", "--home", home).returncode == 0
    station_id = json.loads((home / "station.json").read_text())["station_id"]
    dropped: list[str] = []
    coming: list[Path] = []
    for kill in range(KILLS):
        for _ in range(choose.randint(1, 3)):
            name = f"item-{len(dropped)}"
            # Most are cases, as only cases can be counted at the server one by one; some are confident.
            red = choose.choice((140, 145, 150, 220, 20))
            photos = {view: photo_of(red, seed=2 * len(dropped) + n) for n, view in enumerate(("logo", "stitching"))}
            if choose.random() < 0.5:  # the agent takes its photos before it is finished, perhaps not in this life
                coming.append(fill(home / "inbox" / f"{name}.part", photos))
            else:
                fill(home / "inbox" / f".{name}", photos).rename(home / "inbox" / name)
            dropped.append(name)
        daemon = Daemon(home)
        if choose.random() < 0.3:
            time.sleep(choose.uniform(0.05, 0.3))  # while it starts
        else:
            assert daemon.ready_line().startswith("ready in")
            time.sleep(choose.uniform(0.0, 0.2))  # while it scans and sends
            while coming and choose.random() < 0.7:
                finish(coming.pop(0))
            time.sleep(choose.uniform(0.0, 0.2))
        assert daemon.process.poll() is None, f"the agent ended by itself before kill {kill}: {daemon.log.read_text()}"
        assert daemon.end(9) == -9
    daemon = Daemon(home)
    assert daemon.ready_line().startswith("ready in")
    for folder in coming:
        finish(folder)
    wait_until(lambda: not list((home / "inbox").iterdir()), "the inbox is empty", 30)
    wait_until(lambda: tally_of(home)["pending"] == 0, "everything is acked", 30)
    assert daemon.end() == 0

    tally = tally_of(home)
    assert tally["recorded"] == tally["acked"] + tally["pending"] == len(dropped)
    whole = agent("outbox", "verify", "--home", home)
    assert whole.returncode == 0, whole.stdout
    verdicts = verdicts_of(home)
    expected = {name for name in dropped if verdicts[name] != "authentic"}
    at_server = Counter(case["item_id"] for case in server.cases_of(station_id))
    assert max(at_server.values()) == 1
    assert expected <= set(at_server) <= set(dropped)
    assert not list((home / "rejected").iterdir())


@pytest.mark.slow
def test_killed_anywhere_in_an_update_the_agent_comes_back_with_a_verified_bundle(
    server: RealServer, tmp_path: Path, tiny_bundle: Callable[..., Path], photo_of: Callable[..., bytes]
) -> None:
    server.publish(tiny_bundle(tmp_path / "first", bias=0.01))
    before = server.enrolled(tmp_path / "before")
    assert agent("run", "--once", "--home", before).returncode == 0
    _, first = running(before)
    server.publish(tiny_bundle(tmp_path / "second", bias=0.02))
    steps = updated_until_step(before, tmp_path / "counted", 0)
    reached = []
    for kill in range(UPDATE_KILLS):
        home = tmp_path / f"station-{kill}"
        at = 1 + round(kill * (steps - 1) / (UPDATE_KILLS - 1))
        updated_until_step(before, home, at)
        bundle_id, release = running(home)
        assert open_bundle(home / "bundles" / bundle_id).bundle_id == bundle_id
        reached.append(release - first)
        done = agent("run", "--once", "--home", home)
        assert done.returncode == 0
        assert "no model" not in done.stdout
        assert "bundle_refused_at_start" not in done.stderr
        assert running(home)[1] == first + 1
        assert not list((home / "bundles").glob(".*"))
    assert reached == sorted(reached)
    assert set(reached) == {0, 1}, "the kills came all before or all after the swap"


@pytest.mark.slow
def test_killed_anywhere_between_swap_and_revert_the_agent_comes_back_to_the_last_known_good_model(
    server: RealServer, tmp_path: Path, tiny_bundle: Callable[..., Path], photo_of: Callable[..., bytes]
) -> None:
    server.publish(tiny_bundle(tmp_path / "first", bias=0.03))
    before = server.enrolled(tmp_path / "before")
    (before / "agent.toml").write_text((before / "agent.toml").read_text() + f"watch_scans = {WATCHED}\n")
    drop(before, photo_of, range(BASELINE))
    assert agent("run", "--once", "--home", before).returncode == 0
    good, first = running(before)
    server.publish(tiny_bundle(tmp_path / "second", bias=8.0), floor=first + 1)  # confirms nothing, and agrees
    drop(before, photo_of, range(BASELINE, BASELINE + WATCHED))
    steps = updated_until_step(before, tmp_path / "counted", 0)
    assert running(tmp_path / "counted") == (good, first)
    seen = set()
    for kill in range(REVERT_KILLS):
        home = tmp_path / f"station-{kill}"
        updated_until_step(before, home, steps - round((REVERT_KILLS - 1 - kill) * steps / (2 * REVERT_KILLS)))
        bundle_id, release = running(home)
        seen.add(release - first)
        assert open_bundle(home / "bundles" / bundle_id).bundle_id == bundle_id
        assert open_bundle(home / "bundles" / good).bundle_id == good, "the way back is always there"
        done = agent("run", "--once", "--home", home)
        assert done.returncode == 0, done.stderr
        assert running(home) == (good, first)
        status = json.loads(agent("status", "--json", "--home", home).stdout)
        assert (status["update"]["state"], status["update"]["release"]) == ("reverted", first + 1)
        assert status["floor"] == 0, "a floor that nobody proved is not held against the way back"
        assert tally_of(home)["recorded"] == BASELINE + WATCHED
        assert not list((home / "bundles").glob(".*"))
    assert seen == {0, 1}, "the kills came all before the swap or all after the revert"


def drop(home: Path, photo_of: Callable[..., bytes], numbers: range) -> None:
    for number in numbers:
        photos = {view: photo_of(20, seed=2 * number + n) for n, view in enumerate(("logo", "stitching"))}
        finish(fill(home / "inbox" / f"item-{number}.part", photos))


def updated_until_step(before: Path, home: Path, step: int) -> int:
    """Copy a station, run its update with the power cut at ``step`` (0: never); return how many steps it took."""
    shutil.copytree(before, home)
    count = home / "count"
    done = run_module("tests.edge_agent.dies_at", str(step), count, "run", "--once", "--home", home)
    assert done.returncode == (-9 if step else 0), done.stderr
    return 0 if step else int(count.read_text())


def running(home: Path) -> tuple[str, int]:
    box = Outbox(Home(root=home).database_file)
    try:
        proved = ReleaseBook(box).runnable()
    finally:
        box.close()
    return (proved[0].bundle_id, proved[0].release.release) if proved else ("", 0)
