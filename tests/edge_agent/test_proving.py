"""From trial to known good: shadow, hours, swap, watch window; and back to the last known good one, with no network."""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_agent.home import Home
from edge_agent.lives import MOST_DEATHS
from edge_agent.outbox import Outbox
from edge_agent.release_book import LIVES_FACT
from edge_agent.release_facts import Shadowed
from edge_agent.reporting import station_report
from edge_agent.shadow import Shadow
from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.bundle import read_manifest
from runtime.contracts.codec import canonical_json
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import StationFault, Unsupported, Untrusted
from runtime.contracts.sync import ReleaseInfo
from runtime.inspector import Inspector
from tests.edge_agent.repository import Repository
from tests.edge_agent.rigs import make_home, make_record, wait_until
from tests.edge_agent.update_rig import Rig

UNSURE = 8.0
"""A bias with which dark photos, which were confirmed before, go to an expert; the golden sample agrees still."""
DARK = 20


class Station(Rig):
    """A station that is offered bundles, with no server at all."""

    def __init__(self, home: Home, outbox: Outbox, tiny: Callable[..., Path], photo_of: Callable[..., bytes]) -> None:
        self.tiny, self.photo_of = tiny, photo_of
        self.bundles: list[Bundle] = []
        self.settings: dict[str, Any] = {"watch_scans": 10}
        super().__init__(home, outbox, None, b"")  # type: ignore[arg-type]

    def restart(self, **settings: Any) -> None:
        """Begin anew with what lies on the disk; nobody said that the life before had ended in order."""
        self.settings = settings or self.settings
        self.start(**self.settings)
        self.slot.begin()
        self.slot.restore(None)

    def put(self, bias: float) -> Bundle:
        bundle = open_bundle(self.tiny(self.home.bundles / f"new {len(self.bundles)}", bias=bias))
        bundle = open_bundle(bundle.folder.rename(self.home.bundles / bundle.bundle_id))
        self.bundles.append(bundle)
        return bundle

    def put_failing(self) -> Bundle:
        """A bundle whose engine fails on dark photos alone, which no golden sample shows."""
        folder = self.put(0.1).folder
        _fail_on_dark_photos(folder / "model.onnx")
        data = (folder / "model.onnx").read_bytes()
        manifest = read_manifest((folder / "manifest.json").read_bytes())
        files = tuple(
            dataclasses.replace(file, sha256=sha256_hex(data), size=len(data)) if file.path == "model.onnx" else file
            for file in manifest.files
        )
        (folder / "manifest.json").write_bytes(canonical_json(dataclasses.replace(manifest, files=files)))
        return open_bundle(folder.rename(self.home.bundles / open_bundle(folder).bundle_id))

    def offer(self, bundle: Bundle, release: int, floor: int = 0) -> None:
        self.slot.offer(bundle.folder, ReleaseInfo(name="tiny", release=release, floor=floor), bundle.bundle_id)

    def scan_some(self, count: int, red: int = DARK) -> None:
        for _ in range(count):
            self.scan(self.photo_of(red, seed=self.scanned))

    def state(self) -> tuple[str, int | None]:
        state = self.slot.update_state()
        return state.state, state.release


def _fail_on_dark_photos(path: Path) -> None:
    """Make the tiny network ask for the second of one value where the mean red lies between 10 and 60."""
    model = onnx.load(path)
    graph = model.graph
    graph.node[-1].output[0] = "before"
    for name, value in (("low", 10.0), ("high", 60.0)):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    graph.initializer.append(numpy_helper.from_array(np.array([0], np.float32), "one_value"))
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "red"))
    graph.node.extend(
        [
            helper.make_node("Gather", ["m", "red"], ["reds"], axis=1),
            helper.make_node("ReduceMax", ["reds"], ["reddest"], keepdims=0),
            helper.make_node("Greater", ["reddest", "low"], ["above"]),
            helper.make_node("Less", ["reddest", "high"], ["below"]),
            helper.make_node("And", ["above", "below"], ["dark"]),
            helper.make_node("Cast", ["dark"], ["place"], to=TensorProto.INT64),
            helper.make_node("Gather", ["one_value", "place"], ["nothing"]),
            helper.make_node("Add", ["before", "nothing"], ["logits"]),
        ]
    )
    onnx.save(model, path)


@pytest.fixture
def station(
    tmp_path: Path, outbox: Outbox, tiny_bundle: Callable[..., Path], photo_of: Callable[..., bytes]
) -> Station:
    made = Station(make_home(tmp_path / "station"), outbox, tiny_bundle, photo_of)
    made.offer(made.put(0.0), 1)
    made.scan_some(30)
    return made


def record_times(station: Station, count: int, *, look_us: int) -> None:
    """Put so many scans of what runs into the outbox, each as long as told."""
    for _ in range(count):
        station.scanned += 1
        record = make_record(station.scanned, verdict="authentic", photos=("0" * 64,))
        station.outbox.add(
            dataclasses.replace(record, model=station.slot.require().ref, timings_us={"infer": look_us, "decode": 0})
        )


def settle(station: Station, condition: Callable[[], object], what: str) -> None:
    """Look again, as the daemon's loop does, until something is so."""

    def look() -> object:
        station.slot.advance()
        return condition()

    wait_until(look, what)


# -- the watch window


def test_a_release_is_good_and_its_floor_holds_once_it_has_passed_its_window(station: Station) -> None:
    station.offer(station.put(0.1), 2, floor=2)
    assert station.state() == ("watch", 2)
    assert station.slot.book.floor() == 0, "a floor that held now would forbid the way back"
    station.scan_some(9)
    station.slot.advance()
    assert station.state() == ("watch", 2)
    station.scan_some(1)
    station.slot.advance()
    assert station.state() == ("idle", 2)
    assert station.slot.book.floor() == 2
    station.restart()
    assert (station.running(), station.slot.book.watching()) == (2, None)


def test_a_release_that_confirms_less_is_taken_back_with_no_network_and_told_to_the_server(station: Station) -> None:
    good, bad = station.bundles[0], station.put(UNSURE)
    station.offer(bad, 2, floor=2)
    station.scan_some(10)
    assert station.running() == 2
    station.slot.advance()
    assert station.running() == 1
    assert station.slot.require().ref.bundle_id == good.bundle_id
    assert station.slot.book.floor() == 0
    assert station.slot.book.is_refused(bad.bundle_id, ReleaseInfo(name="tiny", release=2, floor=2))
    report = station_report(
        station.slot.require().ref, station.slot.update_state(), station.outbox.tally(), error="", clock=None
    )
    assert (report.state, report.release) == ("reverted", 1)
    assert report.detail == "release 2: 4 of 4 items were not confirmed; before it were 0 of 30"
    said = station_report(
        station.slot.require().ref, station.slot.update_state(), station.outbox.tally(), error="", clock="set it"
    )
    assert said.detail == f"{report.detail}; set it", "whatever the release does, the clock is told"
    station.restart()
    assert (station.running(), station.state()) == (1, ("reverted", 2))
    assert station.scan(station.photo_of(DARK, seed=999)).verdict == "authentic"


def test_a_slower_release_is_taken_back(station: Station) -> None:
    record_times(station, 100, look_us=1000)
    station.offer(station.put(0.1), 2)
    record_times(station, 10, look_us=200_000)
    station.slot.advance()
    assert station.running() == 1
    assert "scans took longer than" in station.slot.book.refusals()[-1].reason


def test_a_release_whose_engine_fails_in_the_field_is_taken_back_and_the_item_is_scanned(station: Station) -> None:
    station.offer(station.put_failing(), 2)
    for _ in range(3):
        with pytest.raises(StationFault, match="cannot run"):
            station.scan_some(1)
    station.slot.advance()
    assert station.running() == 1
    assert re.fullmatch("its engine failed [3-6] times", station.slot.book.refusals()[-1].reason)  # each of two photos
    station.scan_some(1)


def test_a_restart_goes_on_watching(station: Station) -> None:
    station.offer(station.put(UNSURE), 2)
    station.scan_some(6)
    station.restart()
    assert station.running() == 2
    station.scan_some(4)
    station.slot.advance()
    assert station.running() == 1


def test_the_last_known_good_one_stays_behind_a_release_that_is_watched(station: Station) -> None:
    station.offer(station.put(0.1), 2)
    station.offer(station.put(0.2), 3)
    proved = [proved.release.release for proved in station.slot.book.proved()]
    assert proved == [3, 1], "release 2 has proved nothing"
    station.scan_some(10)
    station.slot.advance()
    station.offer(station.put(0.3), 4)
    assert [proved.release.release for proved in station.slot.book.proved()] == [4, 3]


def test_going_back_to_a_known_good_release_needs_no_window(station: Station) -> None:
    station.offer(station.put(UNSURE), 2, floor=2)
    station.offer(station.bundles[0], 1)
    assert station.state() == ("idle", 1)
    assert station.slot.book.watching() is None
    assert [proved.release.release for proved in station.slot.book.proved()] == [1]


def test_where_the_release_before_cannot_be_loaded_a_person_is_told_and_what_runs_goes_on(station: Station) -> None:
    station.offer(station.put(UNSURE), 2)
    (station.bundles[0].folder / "evidence.json").write_bytes(b"[]")
    station.scan_some(10)
    with pytest.raises(StationFault, match=r"should go, but the release before cannot be loaded: .*evidence\.json"):
        station.slot.advance()
    assert station.running() == 2


def test_time_ends_a_window(station: Station) -> None:
    station.restart(watch_scans=1000, watch_hours=24.0)
    station.offer(station.put(0.1), 2)
    station.scan_some(10)
    station.clock = lambda: datetime.now(UTC) + timedelta(hours=23)
    station.slot.advance()
    assert station.state() == ("watch", 2)
    station.clock = lambda: datetime.now(UTC) + timedelta(hours=25)
    station.slot.advance()
    assert station.state() == ("idle", 2)


def test_a_release_that_kills_the_agent_again_and_again_is_taken_back_before_it_is_loaded(station: Station) -> None:
    station.offer(station.put(0.1), 2)
    for _ in range(MOST_DEATHS):
        station.restart()  # as after a death: nobody said that it ended in order
        assert station.running() == 2
    station.restart()
    assert station.running() == 1
    assert station.slot.book.refusals()[-1].reason == "the agent died 3 times while it was loaded"


def test_ends_in_order_and_power_cuts_are_no_deaths(station: Station) -> None:
    station.offer(station.put(0.1), 2)
    for _ in range(5):
        station.slot.end()
        station.restart()
    for boot in "abcde":
        lives = station.outbox.fact(LIVES_FACT)
        assert lives is not None
        station.outbox.set_facts({LIVES_FACT: f'{{"alive":true,"boot":"{boot}","deaths":2}}'})
        station.restart()
    assert station.running() == 2


def test_a_swap_that_the_disk_refuses_leaves_the_old_model_and_nothing_watched(
    station: Station, outbox: Outbox
) -> None:
    bundle = station.put(0.1)
    outbox._db.execute("PRAGMA query_only = ON")
    with pytest.raises(StationFault):
        station.offer(bundle, 2)
    outbox._db.execute("PRAGMA query_only = OFF")
    assert (station.running(), station.state()) == (1, ("idle", 1))


def test_a_revert_that_the_disk_refuses_is_tried_again(station: Station, outbox: Outbox) -> None:
    station.offer(station.put(UNSURE), 2)
    station.scan_some(10)
    outbox._db.execute("PRAGMA query_only = ON")
    with pytest.raises(StationFault):
        station.slot.advance()
    assert station.running() == 2
    outbox._db.execute("PRAGMA query_only = OFF")
    station.clock = lambda: datetime.now(UTC) + timedelta(minutes=2)
    station.slot.advance()
    assert station.running() == 1


# -- hours and "later"


def test_a_swap_waits_for_its_hours_and_status_says_until_when(station: Station) -> None:
    station.restart(watch_scans=10, update_hours="22-06")
    noon = datetime(2026, 11, 23, 12).astimezone()
    station.clock = lambda: noon
    station.offer(station.put(0.1), 2)
    assert station.running() == 1
    assert station.slot.update_state().detail == "release 2 waits until 2026-11-23 22:00 (update_hours 22:00-06:00)"
    station.restart()
    station.slot.advance()
    assert (station.running(), station.state()) == (1, ("waits", 2))
    station.clock = lambda: noon.replace(hour=22)
    station.slot.advance()
    assert (station.running(), station.state()) == (2, ("watch", 2))


def test_an_operator_puts_a_release_off_for_a_day_at_a_time_and_a_week_in_all(station: Station) -> None:
    day, start = timedelta(days=1), datetime(2026, 11, 23, 12, tzinfo=UTC)
    station.clock = lambda: start
    station.slot.defer(start + day)
    station.offer(station.put(0.1), 2)
    assert station.state() == ("waits", 2)
    assert station.slot.update_state().deferred_until == (start + day).isoformat()
    assert "put off by the operator" in station.slot.update_state().detail
    with pytest.raises(Unsupported, match="24 hours"):
        station.slot.defer(start + 1.1 * day)
    for number in range(1, 7):
        station.clock = lambda number=number: start + number * day
        station.slot.defer(start + (number + 1) * day)
        if number == 4:  # what takes its place has waited as long
            station.offer(station.put(0.2), 3)
        station.slot.advance()
        assert station.running() == 1
    station.clock = lambda: start + 6.5 * day
    with pytest.raises(Unsupported, match="more than 7 days"):
        station.slot.defer(start + 7.5 * day)
    station.clock = lambda: start + 7 * day
    station.slot.advance()
    assert station.running() == 3


def test_the_first_model_and_the_way_back_wait_for_nothing(
    tmp_path: Path, outbox: Outbox, tiny_bundle: Callable[..., Path], photo_of: Callable[..., bytes]
) -> None:
    station = Station(make_home(tmp_path / "station"), outbox, tiny_bundle, photo_of)
    noon = datetime(2026, 11, 23, 12).astimezone()
    station.clock = lambda: noon
    station.restart(watch_scans=10, update_hours="22-06", shadow_scans=5)
    station.offer(station.put(0.0), 1)
    assert station.state() == ("idle", 1)
    station.restart(watch_scans=10)
    station.offer(station.put(UNSURE), 2)
    station.scan_some(1)
    station.restart(watch_scans=10, update_hours="22-06", shadow_scans=5)
    station.offer(station.bundles[0], 1)
    assert station.running() == 1


def test_a_release_whose_bytes_changed_while_it_waited_is_not_run_and_not_refused(station: Station) -> None:
    station.slot.defer(datetime.now(UTC) + timedelta(hours=1))
    bundle = station.put(0.1)
    station.offer(bundle, 2)
    (bundle.folder / "evidence.json").write_bytes(b"[]")
    station.clock = lambda: datetime.now(UTC) + timedelta(hours=2)
    with pytest.raises(Untrusted, match=r"evidence\.json was changed"):
        station.slot.advance()
    assert (station.running(), station.state()) == (1, ("idle", 1))
    assert station.slot.book.refusals() == ()


def test_a_release_that_is_no_longer_wanted_is_forgotten(station: Station) -> None:
    station.slot.defer(datetime.now(UTC) + timedelta(hours=1))
    station.offer(station.put(0.1), 2)
    station.slot.withdraw()
    station.clock = lambda: datetime.now(UTC) + timedelta(hours=2)
    station.slot.advance()
    assert (station.running(), station.state()) == (1, ("idle", 1))


# -- the shadow


def in_shadow(station: Station, *, scans: int = 5, **settings: Any) -> None:
    station.restart(watch_scans=10, shadow_scans=scans, **settings)


def compared(station: Station) -> int:
    candidate = station.slot.book.candidate()
    return candidate.shadow.compared if candidate else 0


def scan_in_shadow(station: Station, count: int) -> None:
    """Scan so many items, each after the shadow has looked at the one before."""
    for _ in range(count):
        before = compared(station)
        station.scan_some(1)
        settle(station, lambda before=before: compared(station) != before, "it has looked")


def test_a_release_that_decides_alike_in_the_shadow_takes_over(
    station: Station, capsys: pytest.CaptureFixture[str]
) -> None:
    in_shadow(station)
    station.offer(station.put(0.1), 2)
    assert station.state() == ("shadow", 2)
    scan_in_shadow(station, 4)
    assert station.running() == 1
    assert station.slot.update_state().detail == "release 2: 4 of 5 scans in the shadow"
    scan_in_shadow(station, 1)
    assert station.running() == 2
    shadowed = [line for line in capsys.readouterr().err.splitlines() if '"event": "shadowed"' in line]
    assert "0 of 5 verdicts differ; 99 % of items within" in shadowed[0]


def test_a_release_that_decides_otherwise_in_the_shadow_is_refused_with_the_figures(station: Station) -> None:
    in_shadow(station)
    station.offer(station.put(UNSURE), 2)
    with pytest.raises(Unsupported, match=r"1 of 1 verdicts differ.* at most 10% of 5 verdicts may differ"):
        scan_in_shadow(station, 5)
    assert (station.running(), station.state()) == (1, ("refused", 2))
    station.scan_some(1)
    assert station.slot.advance() > 2, "nothing is left to do"


def test_a_shadow_goes_on_where_it_was_after_a_restart_and_never_swaps_unproved(station: Station) -> None:
    in_shadow(station)
    station.offer(station.put(0.1), 2)
    scan_in_shadow(station, 3)
    station.slot.end()
    station.restart()
    assert station.running() == 1
    station.slot.advance()
    assert compared(station) == 3
    assert station.running() == 1
    scan_in_shadow(station, 2)
    assert station.running() == 2


def test_scans_never_wait_for_a_shadow_that_is_busy_and_what_it_missed_is_counted(
    station: Station, photo_of: Callable[..., bytes]
) -> None:
    let_go = threading.Event()

    def load() -> Inspector:
        let_go.wait(20)
        return Inspector.open(station.bundles[0], threads=1)

    shadow = Shadow(load, Shadowed())
    station.slot._proving._shadow = shadow
    started_s = time.monotonic()
    station.scan_some(6)
    assert time.monotonic() - started_s < 5
    assert shadow.seen.dropped == 5, "one waits, the others are gone"
    let_go.set()
    wait_until(lambda: shadow.seen.compared == 1, "the one that waited is compared")
    shadow.close()
    assert shadow.failed is None


def test_a_shadow_whose_engine_fails_is_refused(station: Station) -> None:
    in_shadow(station)
    station.offer(station.put_failing(), 2)
    with pytest.raises(Unsupported, match="its engine failed 3 times in the shadow"):
        for _ in range(3):
            station.scan_some(1)
            settle(station, lambda: _faults(station), "it has failed")
        settle(station, lambda: station.slot.book.candidate() is None, "it is refused")
    assert station.running() == 1


def _faults(station: Station) -> int:
    candidate = station.slot.book.candidate()
    return candidate.shadow.faults if candidate else 99


def test_a_release_that_kills_the_agent_from_the_shadow_is_refused(station: Station) -> None:
    in_shadow(station)
    station.offer(station.put(0.1), 2)
    for _ in range(MOST_DEATHS + 1):
        station.restart()
        assert station.running() == 1
    assert station.state() == ("refused", 2)
    assert "the agent died 3 times" in station.slot.update_state().detail


def test_a_release_is_compared_only_with_one_that_is_good_itself(station: Station) -> None:
    station.offer(station.put(0.05), 2)
    in_shadow(station)
    station.offer(station.put(0.1), 3)
    station.slot.advance()
    assert station.state() == ("watch", 2)
    assert station.slot._proving._shadow is None
    station.scan_some(10)
    station.slot.advance()
    assert station.state() == ("shadow", 3)
    station.slot.end()


def test_a_release_from_the_server_that_waits_is_not_fetched_again_and_goes_when_another_is_wanted(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    repository.publish(bundle(0.0), release=1)
    rig.updates.step()
    rig.slot.defer(datetime.now(UTC) + timedelta(hours=1))
    repository.publish(bundle(0.1), release=2)
    assert rig.updates.step()
    assert (rig.running(), rig.slot.update_state().state) == (1, "waits")
    assert len(list(rig.home.bundles.iterdir())) == 2
    repository.asked.clear()
    rig.restart()
    assert not rig.updates.step()
    assert repository.asked == ["/v1/station/assignment"]
    repository.assigned = "tiny/1/manifest.json"
    assert not rig.updates.step()
    assert rig.slot.update_state().state == "idle"
    repository.publish(bundle(0.2), release=3)
    rig.clock = lambda: datetime.now(UTC) + timedelta(hours=2)
    assert rig.updates.step()
    assert rig.running() == 3
