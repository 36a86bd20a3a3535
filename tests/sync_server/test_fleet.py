"""The list of stations, on every database."""

from __future__ import annotations

from datetime import timedelta

from runtime.contracts.records import BundleId, ModelRef, StationId
from runtime.contracts.sync import EnrolRequest, Heartbeat
from sync_server.devices import enrol, issue_code
from sync_server.fleet import Station, list_stations
from sync_server.heartbeats import store_heartbeat
from sync_server.schema import stamp
from sync_server.store import Store
from tests.sync_server.test_store_contract import NOW, enrolled

MODEL = ModelRef(bundle_id=BundleId("b" * 64), name="bags", release=2, variant="cpu")


def beat(store: Store, station: StationId, seq: int, minutes: int, agent: str) -> None:
    message = Heartbeat(
        made_at=stamp(NOW),
        started_at=stamp(NOW),
        uptime_s=60.0 * minutes,
        model=MODEL,
        versions={"agent": agent},
        counters={},
        gauges={},
        latencies_us={},
        scores=(),
    )
    with store.write() as connection:
        store_heartbeat(connection, station, seq, message, NOW + timedelta(minutes=minutes))


def replace_device(store: Store, station: StationId, key: str, days: int) -> None:
    moment = NOW + timedelta(days=days)
    with store.write() as connection:
        code = issue_code(connection, b"root", 24, moment, replaces=station)
        enrol(connection, EnrolRequest(secret=code.secret, public_key=key, name="dock"), moment)


def stations(store: Store) -> dict[StationId, Station]:
    with store.read() as connection:
        return {one.station_id: one for one in list_stations(connection)}


def test_each_station_comes_with_the_heartbeat_that_came_last_and_no_other(store: Store) -> None:
    one, other, silent = (enrolled(store, digits * 32) for digits in ("aa", "bb", "cc"))
    beat(store, one, 7, 1, "0.1.0")
    beat(store, one, 2, 5, "0.2.0")  # a station that lost its outbox counts anew
    beat(store, other, 9, 3, "0.3.0")
    beat(store, other, 10, 3, "0.4.0")  # both in one moment
    shown = stations(store)
    last = shown[one].heartbeat
    assert last is not None
    assert (last.versions, last.model, last.uptime_s) == ({"agent": "0.2.0"}, MODEL, 300.0)
    assert last.received_at == stamp(NOW + timedelta(minutes=5)) == shown[one].last_seen
    assert shown[other].heartbeat.versions == {"agent": "0.4.0"}
    assert shown[silent].heartbeat is None


def test_every_change_of_a_device_is_told_with_its_moment(store: Store) -> None:
    station, untouched = enrolled(store, "aa" * 32), enrolled(store, "bb" * 32)
    replace_device(store, station, "cc" * 32, days=1)
    replace_device(store, station, "dd" * 32, days=8)
    replace_device(store, station, "dd" * 32, days=9)  # the same device enrols again
    shown = stations(store)
    assert shown[station].devices_replaced == tuple(stamp(NOW + timedelta(days=days)) for days in (1, 8))
    assert shown[untouched].devices_replaced == ()
