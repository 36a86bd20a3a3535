"""The one table from error to HTTP status, what pages put into words, and what is told apart at the edges."""

from __future__ import annotations

import errno
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import StationFault, TryLater, Unsupported, Untrusted
from runtime.contracts.records import ModelRef
from runtime.contracts.sync import StationReport
from sync_server import refusals
from sync_server.api.problems import KINDS, kind_of
from sync_server.blobs import Blobs
from sync_server.cases import CaseSummary
from sync_server.fleet import LastHeartbeat, Station
from sync_server.intake import sniff
from sync_server.web import wording

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)


def test_every_refusal_and_every_family_has_a_status_of_its_own() -> None:
    ours = {kind for kind in vars(refusals).values() if isinstance(kind, type) and kind.__module__ == refusals.__name__}
    assert set(KINDS) == ours | {TryLater, Untrusted, Unsupported, StationFault}
    assert {kind_of(family("x")).status for family in (TryLater, Untrusted, Unsupported, StationFault)} == {
        503,
        400,
        422,
        507,
    }


def test_every_refusal_is_raised_somewhere() -> None:
    folder = Path(refusals.__file__).parent
    source = "".join(file.read_text() for file in folder.rglob("*.py"))
    ours = [kind for kind in KINDS if kind.__module__ == refusals.__name__]
    assert [kind.__name__ for kind in ours if f"raise {kind.__name__}(" not in source] == []


def test_an_unknown_child_of_a_family_is_handled_as_its_family() -> None:
    class New(Unsupported):
        pass

    assert kind_of(New("x")).status == 422


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\xd8\xff\xe0 and more", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n and more", "image/png"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
def test_photos_are_told_by_their_first_bytes(head: bytes, kind: str) -> None:
    assert sniff(head) == kind


@pytest.mark.parametrize("head", [b"", b"RIFF\0\0\0\0WAVEfmt ", b"GIF89a", b"<svg xmlns="])
def test_other_files_are_no_photos(head: bytes) -> None:
    with pytest.raises(Untrusted):
        sniff(head)


def test_a_full_disk_is_a_persons_matter_and_leaves_no_half_a_file(tmp_path: Path, monkeypatch) -> None:
    blobs = Blobs(tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    data = b"a photo"
    blobs.path(sha256_hex(data)).parent.mkdir()
    with pytest.raises(StationFault, match="free space"), blobs.writer(sha256_hex(data)) as writer:
        writer.write(data)
        writer.commit()
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (86400, "1 day"), (864000, "10 days")],
)
def test_ages_read_as_people_say_them(seconds: int, words: str) -> None:
    assert wording.age((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == words


def station_with(report: StationReport, **more: object) -> Station:
    fields = {"last_seen": NOW.isoformat(), "devices_replaced": (), "report": report, "heartbeat": None} | more
    return Station(station_id="st-1", name="dock", enrolled_at=NOW.isoformat(), **fields)


def test_what_a_station_runs_is_named_by_its_heartbeat_only_if_both_speak_of_one_bundle() -> None:
    report = StationReport(
        bundle_id="b1", release=2, variant="cpu", state="running", detail="", recorded=1, acked=1, pending=0
    )
    model = ModelRef(bundle_id="b1", name="bags", release=2, variant="cpu")
    said = LastHeartbeat(received_at=NOW.isoformat(), uptime_s=5.0, model=model, versions={"agent": "0.1.0"})
    assert wording.what_runs(station_with(report)) == ("release 2", "cpu")
    assert wording.what_runs(station_with(report, heartbeat=said)) == ("release 2 of bags", "cpu", "agent 0.1.0")
    before = replace(said, model=replace(model, bundle_id="b0", name="old"))
    assert wording.what_runs(station_with(report, heartbeat=before)) == ("release 2", "cpu", "agent 0.1.0")
    assert wording.what_runs(station_with(replace(report, release=None), heartbeat=said)) == ("nothing",)


@pytest.mark.parametrize(
    ("days_ago", "words"), [((), ""), ((3,), "new device 3 days ago"), ((40, 2), "2 new devices, the last 2 days ago")]
)
def test_new_devices_are_counted_and_the_last_is_dated(days_ago: tuple[int, ...], words: str) -> None:
    replaced = tuple((NOW - timedelta(days=days)).isoformat() for days in days_ago)
    report = StationReport(
        bundle_id=None, release=None, variant=None, state="no-model", detail="", recorded=0, acked=0, pending=0
    )
    assert wording.devices(station_with(report, devices_replaced=replaced), NOW) == words


def test_a_station_is_called_running_only_for_what_it_has_shown() -> None:
    report = StationReport(
        bundle_id=None, release=2, variant="cpu", state="running", detail="", recorded=1, acked=1, pending=0
    )
    station = station_with(report)
    assert wording.station_state(station, 2, NOW) == ("good", "running")
    assert wording.station_state(station, 3, NOW) == ("wait", "running an older release")
    assert wording.station_state(station, 2, NOW + timedelta(days=2)) == ("wait", "silent for 2 days")
    assert wording.station_state(replace(station, report=None), 2, NOW) == ("quiet", "nothing shown yet")
    clock = replace(station, report=replace(report, detail="this clock is 3 days behind the server's; set it"))
    assert wording.station_state(clock, 2, NOW) == ("wait", "running, wants a look")
    refused = replace(station, report=replace(report, state="refused"))
    assert wording.station_state(refused, 2, NOW) == ("bad", "refused a release")
    for state, tone in (("waits", "wait"), ("shadow", "wait"), ("watch", "wait"), ("reverted", "bad")):
        changed = replace(station, report=replace(report, state=state))
        assert wording.station_state(changed, 2, NOW)[0] == tone
        assert wording.station_state(changed, 2, NOW)[1] != "running"


def test_a_case_is_called_by_its_outcome_only_once_it_has_one() -> None:
    case = CaseSummary(
        record_id="r",
        item_id="bag",
        station_id="st-1",
        station="dock",
        state="open",
        opened_at=NOW.isoformat(),
        reopened_at=None,
        photo=None,
        mine=None,
        to_look_again=False,
        outcome=None,
    )
    assert wording.case_state(case) == ("wait", "waiting")
    assert wording.case_state(replace(case, mine="genuine")) == ("quiet", "you said genuine")
    assert wording.case_state(replace(case, outcome="counterfeit")) == ("bad", "counterfeit")
    assert wording.waited(case, NOW + timedelta(hours=3)) == "3 h"


def test_a_reopened_case_says_so_until_one_has_looked_again() -> None:
    case = CaseSummary(
        record_id="r",
        item_id="bag",
        station_id="st-1",
        station="dock",
        state="open",
        opened_at=NOW.isoformat(),
        reopened_at=(NOW + timedelta(hours=2)).isoformat(),
        photo=None,
        mine="genuine",
        to_look_again=True,
        outcome=None,
    )
    assert wording.case_state(case) == ("wait", "the station disagrees")
    assert wording.case_state(replace(case, to_look_again=False)) == ("quiet", "you said genuine")
    assert wording.waited(case, NOW + timedelta(hours=3)) == "1 h"


def test_no_page_says_the_word_that_we_never_say() -> None:
    web = Path(wording.__file__).parent
    for file in [*web.rglob("*.html"), *web.rglob("*.js"), *web.rglob("*.py")]:
        assert "fake" not in file.read_text().lower(), file
