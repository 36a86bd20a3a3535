"""Updates end to end: the real server, the real agent, what travels between them, and what the server learns."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_agent.lives import MOST_DEATHS
from runtime.contracts.codec import decode
from sync_server.evidence import Evidence, proved
from tests.edge_agent.heavy_bundle import HEAD_BYTES, WEIGHTS_BYTES, make_heavy
from tests.edge_agent.rigs import Daemon, RealServer, agent, wait_until
from tests.edge_agent.test_kill import drop

Tiny = Callable[..., Path]
PhotoOf = Callable[..., bytes]
UNSURE = 8.0


def status(home: Path) -> dict[str, Any]:
    done = agent("status", "--json", "--home", home)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def once(home: Path) -> dict[str, Any]:
    """Run the agent once; return what it noted of its download."""
    done = agent("run", "--once", "--home", home)
    assert done.returncode == 0, done.stderr
    (fetched,) = [note for note in map(json.loads, done.stderr.splitlines()) if note["event"] == "fetched"]
    return dict(fetched)


def reported(server: RealServer, home: Path) -> dict[str, Any]:
    station_id = json.loads((home / "station.json").read_text())["station_id"]
    (station,) = [one for one in server.get("/v1/stations") if one["station_id"] == station_id]
    return dict(station["report"] or {})


def test_only_what_changed_travels(server: RealServer, tmp_path: Path, tiny_bundle: Tiny) -> None:
    home = server.enrolled(tmp_path / "station")
    server.publish(make_heavy(tiny_bundle(tmp_path / "first")))
    first = once(home)
    assert first["bytes"] > WEIGHTS_BYTES
    server.publish(make_heavy(tiny_bundle(tmp_path / "thresholds"), authentic_below=0.1))
    thresholds = once(home)
    assert (thresholds["files"], thresholds["bytes"] < 4096) == (0, True), "the manifest, and no weights"
    server.publish(make_heavy(tiny_bundle(tmp_path / "head"), head=1, authentic_below=0.1))
    head = once(home)
    assert head["files"] == 1
    assert HEAD_BYTES // 2 < head["bytes"] < 0.03 * WEIGHTS_BYTES
    again = make_heavy(tiny_bundle(tmp_path / "again"), head=1, authentic_below=0.1)
    server.publish(again, floor=status(home)["release"] + 1)  # another floor: signed again
    signed_again = once(home)
    assert (signed_again["files"], signed_again["bytes"]) == (0, 0)
    assert status(home)["release"] == signed_again["release"]


def test_the_server_learns_of_watch_and_revert_and_can_prove_what_was_said(
    server: RealServer, tmp_path: Path, tiny_bundle: Tiny, photo_of: PhotoOf
) -> None:
    home = server.enrolled(tmp_path / "station")
    (home / "agent.toml").write_text((home / "agent.toml").read_text() + "watch_scans = 10\n")
    server.publish(tiny_bundle(tmp_path / "good", bias=0.04))
    daemon = Daemon(home)
    wait_until(lambda: reported(server, home).get("state") == "running", "the first release runs")
    good = reported(server, home)["release"]
    drop(home, photo_of, range(20))
    wait_until(lambda: reported(server, home)["recorded"] == 20, "the items are scanned")
    server.publish(tiny_bundle(tmp_path / "bad", bias=UNSURE), floor=good + 1)
    wait_until(lambda: reported(server, home)["state"] == "watch", "the next one is watched")
    assert (reported(server, home)["release"], reported(server, home)["detail"]) == (
        good + 1,
        f"release {good + 1}: on watch, 0 of 10 scans",
    )
    drop(home, photo_of, range(20, 30))
    wait_until(lambda: reported(server, home)["state"] == "reverted", "it is taken back")
    report = reported(server, home)
    assert report["release"] == good
    assert "items were not confirmed; before it were 0 of 20" in report["detail"]
    station_id = json.loads((home / "station.json").read_text())["station_id"]
    evidence = decode(Evidence, server.get(f"/v1/stations/{station_id}/report"), "evidence")
    assert proved(evidence).report.release == good
    assert daemon.end() == 0
    assert len(daemon.events("fetching")) == 2, "what was taken back is not fetched again"
    assert not daemon.events("crashed")
    shown = agent("status", "--home", home).stdout
    assert f"update    reverted: release {good + 1}: " in shown


def test_a_release_with_which_the_agent_dies_again_and_again_is_taken_back_at_a_start(
    server: RealServer, tmp_path: Path, tiny_bundle: Tiny
) -> None:
    home = server.enrolled(tmp_path / "station")
    server.publish(tiny_bundle(tmp_path / "good", bias=0.05))
    once(home)
    good = status(home)["release"]
    server.publish(tiny_bundle(tmp_path / "deadly", bias=0.06))
    once(home)
    (home / "agent.toml").write_text('server = "http://127.0.0.1:9"\n')  # no network
    for _ in range(MOST_DEATHS + 1):
        assert status(home)["release"] == good + 1
        daemon = Daemon(home)
        daemon.ready_line()
        assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
    daemon = Daemon(home)
    daemon.ready_line()
    assert daemon.end() == 0
    assert status(home)["release"] == good
    assert status(home)["update"]["detail"] == f"release {good + 1}: the agent died 3 times while it was loaded"
