"""What goes is counted, also over a restart; and what the uplink, the config and ``status`` make of the limits."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from edge_agent.bandwidth import Bandwidth, hour_of
from edge_agent.config import Config, read_config
from edge_agent.device_key import DeviceKey
from edge_agent.home import Home
from edge_agent.hours import parse_hours
from edge_agent.identity import require_identity
from edge_agent.meter import NO_PHOTOS, Meter
from edge_agent.outbox import REST, UNCERTAIN, Outbox
from edge_agent.server_link import ServerLink
from edge_agent.uplink import Uplink
from runtime.contracts.durable import ContentFolder
from runtime.contracts.errors import StationFault
from tests.edge_agent.rigs import RealServer, Say, agent, make_home, make_record, say_json, scripted_server
from tests.edge_agent.test_uplink import Honest

KIB = 1024
NIGHT = Bandwidth(hours=parse_hours("22-06"))
NOON_S = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
TEN_S = datetime(2026, 11, 27, 22, tzinfo=UTC).timestamp()


@pytest.fixture
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Clock:
    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def test_what_went_in_an_hour_is_known_after_a_restart(outbox: Outbox, tmp_path: Path) -> None:
    clock, bandwidth = Clock(NOON_S), Bandwidth(bytes_per_hour=200 * KIB)
    assert Meter(outbox, bandwidth, clock).take(150 * KIB, urgent=True) == 150 * KIB
    with closing(Outbox(tmp_path / "station.db")) as after_restart:
        meter = Meter(after_restart, bandwidth, clock)
        assert meter.take(150 * KIB, urgent=True) == 0
        assert meter.photos_up_to() == NO_PHOTOS
        clock.now_s += 3600
        assert (meter.photos_up_to(), meter.take(150 * KIB, urgent=True)) == (REST, 150 * KIB)


@pytest.mark.parametrize("jump_s", [-86_400 * 400, -3600, 3600, 86_400 * 4000])
def test_a_clock_that_jumps_holds_nothing_up_for_more_than_an_hour(outbox: Outbox, jump_s: float) -> None:
    clock = Clock(NOON_S + 60)
    meter = Meter(outbox, Bandwidth(bytes_per_hour=100 * KIB), clock)
    meter.take(100 * KIB, urgent=True)
    clock.now_s += jump_s
    meter.take(100 * KIB, urgent=True)
    assert meter.take(1, urgent=True) == 0
    assert 0 < meter.wait_s(1e9) <= 3600
    clock.now_s += meter.wait_s(1e9)
    assert meter.take(100 * KIB, urgent=True) == 100 * KIB


def test_the_hours_are_those_of_the_stations_own_time_zone(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, in_utc: None
) -> None:
    meter = Meter(outbox, Bandwidth(hours=parse_hours("13-14")), Clock(NOON_S))
    assert meter.photos_up_to() == UNCERTAIN
    assert meter.wait_s(1e9) == 3600
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    assert meter.photos_up_to() == REST


def test_a_meter_that_limits_nothing_leaves_the_disk_alone(outbox: Outbox) -> None:
    changes, statements = outbox._db.total_changes, []
    outbox._db.set_trace_callback(statements.append)
    meter = Meter(outbox, Bandwidth())
    assert (meter.take(10**12, urgent=False), meter.photos_up_to(), meter.wait_s(5.0)) == (10**12, REST, 5.0)
    outbox._db.set_trace_callback(None)
    assert (outbox._db.total_changes, statements) == (changes, [])


class Metered:
    """A station at a real or a scripted server, with limits and a clock of its own."""

    def __init__(self, outbox: Outbox, photos: ContentFolder, link: ServerLink, bandwidth: Bandwidth) -> None:
        self.outbox = outbox
        self.photos = photos
        self.clock = Clock(NOON_S)
        self.station_id = "st-test"
        self.uplink = Uplink(
            outbox=outbox,
            photos=self.photos,
            link=link,
            stopping=threading.Event(),
            meter=Meter(outbox, bandwidth, self.clock),
            piece_bytes=64 * KIB,
            seed=1,
            now_s=self.clock,
        )

    def add(self, number: int, verdict: str, *, audited: bool = False) -> None:
        data = b"\x89PNG\r\n\x1a\n" + self.station_id.encode() + bytes([number])
        sha256 = self.photos.put(data.ljust(100 * KIB, b"."))
        record = make_record(
            number,
            verdict=verdict,
            audited=audited,
            photos=[sha256],
            station_id=self.station_id,  # type: ignore[arg-type]
        )
        self.outbox.add(record)

    def push_all(self) -> int:
        acked = 0
        while True:
            pushed = self.uplink.push()
            acked += pushed.acked
            if not pushed.more:
                return acked

    def acked(self) -> list[str]:
        return [one.record.item_id for one in reversed(self.outbox.page(None, 99, states=("acked",)))]


NewMetered = Callable[[str, Bandwidth], Metered]


@pytest.fixture
def metered(tmp_path: Path, outbox: Outbox, link_to: Callable[..., ServerLink], in_utc: None) -> NewMetered:
    photos = ContentFolder(tmp_path / "photos")
    return lambda url, bandwidth: Metered(outbox, photos, link_to(url, timeout=httpx.Timeout(2)), bandwidth)


@pytest.fixture
def enrolled(
    server: RealServer, tmp_path: Path, outbox: Outbox, link_to: Callable[..., ServerLink], in_utc: None
) -> Callable[[Bandwidth], Metered]:
    """A station that a real server knows."""
    home = Home(root=server.enrolled(tmp_path / "station"))
    station_id = require_identity(home).station_id

    def make(bandwidth: Bandwidth) -> Metered:
        link = link_to(server.url, station_id=station_id, key=DeviceKey.load(home))
        rig = Metered(outbox, ContentFolder(home.photos), link, bandwidth)
        rig.station_id = station_id
        return rig

    return make


def test_outside_the_hours_urgent_cases_and_records_without_photos_go_and_audited_ones_wait_unwritten(
    metered: NewMetered, outbox: Outbox
) -> None:
    with scripted_server(Honest()) as (url, asked):
        rig = metered(url, NIGHT)
        for number in range(40):
            rig.add(number, "authentic", audited=True)
        rig.add(50, "suspect")
        rig.add(51, "uncertain")
        rig.add(52, "authentic")
        outbox.add(make_record(53, verdict="authentic", audited=True))
        assert rig.uplink.push().acked == 4
        assert rig.acked() == ["item 50", "item 51", "item 52", "item 53"]
        changes, requests = outbox._db.total_changes, len(asked)
        assert not rig.uplink.push().more
        assert (outbox._db.total_changes, len(asked)) == (changes, requests), "what must wait costs nothing"
        rig.clock.now_s = TEN_S
        assert rig.push_all() == 40
    assert outbox.tally().pending == 0


def test_an_objection_goes_at_any_hour(metered: NewMetered, outbox: Outbox) -> None:
    with scripted_server(Honest(say_objection)) as (url, _):
        rig = metered(url, NIGHT)
        rig.add(1, "authentic")
        outbox.object_to(make_record(1).record_id, "a seam", "2026-11-27T09:30:00+00:00")
        assert rig.push_all() == 1


def say_objection(asked: object) -> Say | None:
    path = str(getattr(asked, "path", ""))
    return say_json({"id": path.split("/")[3], "new": True}, 201) if path.endswith("/objection") else None


def test_a_photo_that_does_not_fit_into_the_hour_goes_in_part_and_its_rest_in_the_next(
    enrolled: Callable[[Bandwidth], Metered],
) -> None:
    rig = enrolled(Bandwidth(bytes_per_hour=270 * KIB))
    for number in range(1, 5):
        rig.add(number, "suspect")
    rig.add(5, "authentic")
    assert rig.push_all() == 3
    assert rig.acked() == ["item 1", "item 2", "item 5"]
    assert rig.push_all() == 0
    assert rig.outbox.spent_bytes(hour_of(NOON_S)) == 264 * KIB
    rig.clock.now_s += 3600
    assert rig.push_all() == 2
    assert rig.outbox.spent_bytes(hour_of(NOON_S) + 1) == 136 * KIB


def test_a_server_that_knows_no_pieces_gets_whole_photos_within_the_hours_bytes(
    metered: NewMetered, outbox: Outbox
) -> None:
    with scripted_server(Honest()) as (url, asked):
        rig = metered(url, Bandwidth(bytes_per_hour=180 * KIB))
        for number in range(1, 4):
            rig.add(number, "suspect")
        assert rig.push_all() == 1
        requests, changes = len(asked), outbox._db.total_changes
        assert rig.push_all() == 0
        assert (len(asked), outbox._db.total_changes) == (requests, changes), "it does not try again in this hour"
        rig.clock.now_s += 3600
        assert rig.push_all() == 1


def test_a_photo_larger_than_an_hours_bytes_goes_alone_to_a_server_that_knows_no_pieces(
    metered: NewMetered, outbox: Outbox
) -> None:
    with scripted_server(Honest()) as (url, _):
        rig = metered(url, Bandwidth(bytes_per_hour=80 * KIB))
        rig.add(1, "suspect")
        rig.add(2, "suspect")
        assert rig.push_all() == 1
        rig.clock.now_s += 3600
        assert rig.push_all() == 1


def test_telemetry_waits_for_the_hours_too(metered: NewMetered, outbox: Outbox) -> None:
    with scripted_server(lambda _: Say(status=204)) as (url, asked):
        rig = metered(url, NIGHT)
        outbox.add_telemetry(b"{}", NOON_S)
        rig.uplink.tell()
        assert asked == []
        rig.clock.now_s = TEN_S
        rig.uplink.tell()
        assert [one.path for one in asked] == ["/v1/station/heartbeats/1"]


def test_status_says_what_waits_until_when(tmp_path: Path) -> None:
    home = make_home(tmp_path / "station")
    now = datetime.now(UTC)
    opens = (now + timedelta(hours=2)).replace(minute=0)
    hours = f"{opens.hour}-{(opens.hour + 1) % 24}"
    home.config_file.write_text(f'uplink_hours = "{hours}"\n')
    photos = ContentFolder(home.photos)
    with closing(Outbox(home.database_file)) as outbox:
        assert "waits for" not in status(home)
        for number in range(14):
            sha256 = photos.put(b"x" * 6_000_000 + bytes([number]))
            outbox.add(make_record(number, verdict="authentic", audited=True, photos=[sha256]))
        outbox.add(make_record(20, verdict="suspect", photos=[photos.put(b"urgent")]))
        assert f"  waits for {opens.hour:02d}:00: 14 photos, 84 MB\n" in status(home)
        home.config_file.write_text("uplink_bytes_per_hour = 100000\n")
        outbox.spend(hour_of(time.time()), 100_000)
        wait = json.loads(agent("status", "--json", "--home", home.root).stdout)["photos_wait"]
        assert (wait["photos"], wait["bytes"]) == (15, 14 * 6_000_001 + 6)
        assert 0 < datetime.fromisoformat(wait["until"]).timestamp() - time.time() + 5 <= 3605
    home.config_file.write_text("")
    assert "waits for" not in status(home)


def status(home: Home) -> str:
    done = agent("status", "--home", home.root, env={**os.environ, "TZ": "UTC"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_config_names_what_it_cannot_use(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('uplink_hours = "21:30-6"\nuplink_bytes_per_hour = 5\n')
    assert read_config(path).bandwidth == Bandwidth(bytes_per_hour=5, hours=parse_hours("21:30-6"))
    assert Config().bandwidth.is_free
    for text, says in (
        ('uplink_hours = "night"', "agent.toml: uplink_hours: expected two times"),
        ("uplink_hours = 22", "uplink_hours: expected a text, got 22"),
        ("uplink_bytes_per_hour = -1", "0 or more"),
        ("uplink_chunk_bytes = 1", "uplink_chunk_bytes: expected 65536 to 8388608, got 1"),
        ("uplink_chunk_bytes = 100000000", "uplink_chunk_bytes: expected"),
    ):
        path.write_text(text)
        with pytest.raises(StationFault, match=says):
            read_config(path)
