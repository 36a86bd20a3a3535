"""The message about the station: what it holds, what it never holds, and that it stays small."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_agent.agent import Watch, build
from edge_agent.commands.run import LOOPS
from edge_agent.heartbeat import Heart, heartbeat
from edge_agent.home import Home
from edge_agent.metrics import ERRORS, LATENCIES, PHOTOS_REFUSED, UPDATES, Metrics
from edge_agent.supervisor import CRASHED, EVENTS
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.records import BundleId, ModelRef
from runtime.contracts.sketch import LAST_BUCKET, quantile
from runtime.contracts.sync import MAX_HEARTBEAT_BYTES, Heartbeat
from tests.edge_agent.rigs import Daemon, RealServer, drop, make_home, recorded, wait_until
from tests.edge_agent.test_metrics import scanned


def messages(home: Home) -> list[Heartbeat]:
    with closing(sqlite3.connect(home.database_file)) as db:
        bodies = [body for (body,) in db.execute("SELECT body FROM telemetry ORDER BY seq")]
    return [decode(Heartbeat, parse_json(body, "heartbeat"), "heartbeat") for body in bodies]


def test_a_message_says_what_was_counted_and_names_no_item(
    home_with_model: Home, photo_of: Callable[..., bytes]
) -> None:
    parts = build(home_with_model, threading.Event())
    parts.slot.restore(None)
    heart, watch = Heart(parts), Watch(parts, on_record=lambda: None)
    drop(home_with_model, "secret-item-77", logo=photo_of(220), stitching=photo_of(220, seed=1))
    watch.step()
    assert heart.step() == 300.0
    drop(home_with_model, "secret-item-78", logo=photo_of(20), stitching=photo_of(20, seed=1))
    watch.step()
    heart.step()
    parts.outbox.close()
    first, second = messages(home_with_model)
    assert first.model == ModelRef(
        bundle_id=BundleId(next(home_with_model.bundles.glob("[0-9a-f]*")).name),
        name="tiny",
        release=1,
        variant="ort-cpu-float32",
    )
    assert first.counters['touchstone_scans_total{verdict="suspect"}'] == 1
    assert second.counters['touchstone_scans_total{verdict="authentic"}'] == 1
    assert second.started_at == first.started_at <= first.made_at <= second.made_at
    assert second.gauges["touchstone_pending_records"] == 2
    stored_us = {int(bucket): count for bucket, count in second.latencies_us["until_stored"].items()}
    assert sum(stored_us.values()) == 2
    assert 100 < (quantile(stored_us, 0.5) or 0) < 60e6
    (bins,) = second.scores
    assert (bins.release, bins.score, sum(bins.bins)) == (1, "p_counterfeit", 2)
    assert set(second.versions) == {"agent", "python", "onnxruntime"}
    text = canonical_json(second).decode()
    assert "secret-item" not in text
    with closing(sqlite3.connect(home_with_model.database_file)) as db:
        for record_id, sha256 in db.execute("SELECT record_id, sha256 FROM record JOIN photo ON seq = record_seq"):
            assert record_id[:12] not in text
            assert sha256[:12] not in text


def test_a_message_stays_within_its_bound_whatever_was_counted() -> None:
    metrics = Metrics()
    for family in LATENCIES:
        metrics._sketches[family.name].update(dict.fromkeys(range(LAST_BUCKET + 1), 10**7))
    for release in range(10**6, 10**6 + 9):
        metrics.scanned(scanned(0.5, release=release))
    for key in metrics._bins:
        metrics._bins[key] = [10**7] * 20
    for loop in LOOPS:
        for event in (*(name for _, name in EVENTS), CRASHED):
            metrics.count(ERRORS, loop, event)
    for number in range(20):
        metrics.count(PHOTOS_REFUSED, f"a_reason_code_{number}")
    for outcome in ("swapped", "unchanged", "refused", "failed"):
        metrics.count(UPDATES, outcome)
    now = datetime.now(UTC)
    message = heartbeat(
        metrics.snapshot(),
        made=now,
        started=now,
        uptime_s=1e8,
        model=ModelRef(bundle_id=BundleId("f" * 64), name="n" * 60, release=10**6, variant="v" * 60),
        versions={f"engine {number}": "x" * 80 for number in range(6)},
        gauges={f"touchstone_gauge_{number}": 1.23456789e15 for number in range(10)},
    )
    assert sum(map(sum, (one.values() for one in message.latencies_us.values()))) == 3 * 601 * 10**7 + 18
    assert len(canonical_json(message)) < MAX_HEARTBEAT_BYTES
    assert len(message.scores) == 4


def test_the_daemon_beats_with_and_without_a_model_and_scans_meanwhile(
    home_with_model: Home, photo_of: Callable[..., bytes]
) -> None:
    file = home_with_model.config_file
    file.write_text(f"{file.read_text()}heartbeat_every_s = 0.1\n")
    daemon = Daemon(home_with_model.root)
    daemon.ready_line()
    drop(home_with_model, "bag", logo=photo_of(140))
    wait_until(lambda: recorded(home_with_model), "it scans")
    wait_until(lambda: any(sum(one.counters.values()) for one in messages(home_with_model)), "it says so")
    wait_until(lambda: any("try_later" in name for name in messages(home_with_model)[-1].counters), "errors count")
    assert daemon.end() == 0
    assert not daemon.events("crashed")
    assert messages(home_with_model)[-1].uptime_s > messages(home_with_model)[0].uptime_s > 0


def test_a_station_without_a_model_says_so(home_with_model: Home) -> None:
    home = make_home(home_with_model.root.parent / "empty")
    parts = build(home, threading.Event())
    Heart(parts).step()
    parts.outbox.close()
    (message,) = messages(home)
    assert message.model is None
    assert message.gauges["touchstone_model_release"] == 0


def test_the_server_shows_what_a_station_has_said(
    server: RealServer, tmp_path: Path, photo_of: Callable[..., bytes], tiny_bundle: Callable[..., Path]
) -> None:
    home = Home(root=server.enrolled(tmp_path / "station"))
    server.publish(tiny_bundle(tmp_path / "bundle"))
    home.config_file.write_text(f"{home.config_file.read_text()}heartbeat_every_s = 0.2\n")
    station_id = json.loads(home.identity_file.read_text())["station_id"]

    def newest() -> dict[str, Any]:
        beats = server.get(f"/v1/stations/{station_id}/heartbeats?limit=1")
        return beats[0]["heartbeat"] if beats else {"counters": {}}

    daemon = Daemon(home.root)
    daemon.ready_line()
    drop(home, "bag", logo=photo_of(140))
    wait_until(lambda: newest()["counters"].get('touchstone_scans_total{verdict="uncertain"}') == 1, "it says so")
    wait_until(lambda: newest()["counters"]["touchstone_records_acked_total"] == 1, "and that it was taken")
    assert daemon.end() == 0
    shown = decode(Heartbeat, newest(), "heartbeat")
    assert shown.model is not None
    assert shown.counters['touchstone_updates_total{outcome="swapped"}'] == 1
    assert sum(shown.latencies_us["upload"].values()) == 1
    assert not daemon.events("telemetry_dropped")
