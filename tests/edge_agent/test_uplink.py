"""The uplink against servers that are down, slow, lying or broken: nothing is lost and nothing acked on a lie."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from edge_agent.outbox import CLOCK_FACT, ERROR_FACT, Outbox
from edge_agent.server_link import ServerLink
from edge_agent.uplink import Pushed, Uplink
from runtime.contracts.codec import encode
from runtime.contracts.durable import ContentFolder, sha256_hex
from runtime.contracts.errors import StationFault, TryLater
from runtime.contracts.sync import StationReport
from tests.edge_agent.rigs import Asked, Say, make_record, say_json, say_problem, scripted_server

PHOTO = b"a photo"
HASH = sha256_hex(PHOTO)


class Honest:
    """A server that does what ours does, with a place to go wrong: ``first`` may answer instead."""

    def __init__(self, first: Callable[[Asked], Say | None] = lambda _: None) -> None:
        self.photos: dict[str, bytes] = {}
        self.records: dict[str, bytes] = {}
        self.first = first

    def __call__(self, asked: Asked) -> Say:
        return self.first(asked) or self.honestly(asked)

    def honestly(self, asked: Asked) -> Say:
        name = asked.path.rpartition("/")[2]
        if asked.path.startswith("/v1/photos/"):
            if asked.method == "HEAD":
                return Say(status=200 if name in self.photos else 404)
            self.photos[name] = asked.body
            return say_json({"id": name, "new": True}, 201)
        if asked.path.startswith("/v1/records/"):
            if b'"verdict":"authentic"' not in asked.body and HASH in asked.body.decode() and HASH not in self.photos:
                return say_problem(409, "photos-missing", missing=[HASH])
            new = name not in self.records
            self.records[name] = asked.body
            return say_json({"id": name, "new": new}, 201 if new else 200)
        return say_json({"answers": []})


class Rig:
    def __init__(self, folder: Path, outbox: Outbox, link: ServerLink) -> None:
        self.outbox = outbox
        self.photos = ContentFolder(folder / "photos")
        self.now_s = 0.0
        self.stopping = threading.Event()
        self.uplink = Uplink(
            outbox=outbox,
            photos=self.photos,
            link=link,
            stopping=self.stopping,
            seed=1,
            now_s=lambda: self.now_s,
        )

    def add_case(self, number: int = 1) -> None:
        self.photos.put(PHOTO)
        self.outbox.add(make_record(number, photos=[HASH]))

    def counts(self) -> tuple[int, int, int]:
        tally = self.outbox.tally()
        assert tally.recorded == tally.acked + tally.pending
        return tally.acked, tally.pending, tally.parked


NewRig = Callable[[str], Rig]


@pytest.fixture
def new_rig(tmp_path: Path, outbox: Outbox, link_to: Callable[..., ServerLink]) -> NewRig:
    return lambda url: Rig(tmp_path, outbox, link_to(url, timeout=httpx.Timeout(0.3)))


def test_a_case_sends_its_photos_first_then_its_record(new_rig: NewRig, outbox: Outbox) -> None:
    honest = Honest()
    with scripted_server(honest) as (url, asked):
        rig = new_rig(url)
        rig.add_case()
        assert rig.uplink.push() == Pushed(acked=1, parked=0, more=False)
    assert [one.method for one in asked] == ["HEAD", "PUT", "PUT"]
    assert honest.photos == {HASH: PHOTO}
    assert rig.counts() == (1, 0, 0)


def test_a_confident_record_goes_without_its_photos(new_rig: NewRig, outbox: Outbox) -> None:
    honest = Honest()
    with scripted_server(honest) as (url, asked):
        rig = new_rig(url)
        outbox.add(make_record(1, verdict="authentic", photos=[HASH]))
        rig.uplink.push()
    assert [one.method for one in asked] == ["PUT"]
    assert rig.counts() == (1, 0, 0)


def test_a_photo_that_the_server_has_is_not_sent_again(new_rig: NewRig, outbox: Outbox) -> None:
    honest = Honest()
    honest.photos[HASH] = PHOTO
    with scripted_server(honest) as (url, asked):
        rig = new_rig(url)
        rig.add_case()
        rig.uplink.push()
    assert [one.method for one in asked] == ["HEAD", "PUT"]


def test_photos_that_a_box_in_between_claimed_to_have_are_sent_when_the_server_misses_them(
    new_rig: NewRig, outbox: Outbox
) -> None:
    honest = Honest(lambda asked: Say(status=200) if asked.method == "HEAD" else None)
    with scripted_server(honest) as (url, asked):
        rig = new_rig(url)
        rig.add_case()
        assert rig.uplink.push().acked == 1
    assert [one.method for one in asked] == ["HEAD", "PUT", "PUT", "PUT"]
    assert honest.photos == {HASH: PHOTO}


def test_photos_that_a_box_in_between_took_for_itself_are_sent_again_soon(new_rig: NewRig, outbox: Outbox) -> None:
    portal_is_there = True

    def portal(asked: Asked) -> Say | None:
        is_upload = asked.method == "PUT" and asked.path.startswith("/v1/photos/")
        return Say(body=b"<html>log in</html>", kind="text/html") if portal_is_there and is_upload else None

    with scripted_server(Honest(portal)) as (url, _):
        rig = new_rig(url)
        rig.add_case()
        with pytest.raises(TryLater, match="the server says"):
            rig.uplink.push()
        assert rig.counts() == (0, 1, 0), "not parked: nothing is wrong with the case"
        portal_is_there = False
        rig.now_s = 1.0
        assert rig.uplink.push().acked == 1
    assert rig.counts() == (1, 0, 0)


@pytest.mark.parametrize(
    "lie",
    [
        Say(body=b"<html>welcome to the hotel", kind="text/html"),
        Say(body=b'{"id": "', kind="application/json"),
        Say(status=201, body=b""),
        say_json({}),
        say_json({"id": "0" * 64, "new": True}, 201),
        say_json(["ok"]),
        Say(body=b'{"id": 1}', claim=900),
        Say(status=204),
        Say(status=500, body=b"Internal Server Error", kind="text/plain"),
        Say(status=502, body=b"<html>bad gateway", kind="text/html"),
        Say(pause_s=2),
    ],
)
def test_no_lie_gets_an_ack_and_the_truth_later_does(new_rig: NewRig, outbox: Outbox, lie: Say) -> None:
    honest = Honest(lambda _: lie)
    with scripted_server(honest) as (url, _):
        rig = new_rig(url)
        rig.add_case()
        with pytest.raises(TryLater):
            rig.uplink.push()
        assert rig.counts() == (0, 1, 0)
        honest.first = lambda _: None
        assert rig.uplink.push().acked == 0, "it waits first"
        rig.now_s += 400
        assert rig.uplink.push().acked == 1


def test_a_lost_answer_only_means_sending_again(new_rig: NewRig, outbox: Outbox) -> None:
    honest = Honest()

    def store_and_break(asked: Asked) -> Say | None:
        if asked.path.startswith("/v1/records/") and not honest.records:
            honest.honestly(asked)
            return Say(body=b"{", claim=100)
        return None

    honest.first = store_and_break
    with scripted_server(honest) as (url, _):
        rig = new_rig(url)
        outbox.add(make_record(1, verdict="authentic"))
        with pytest.raises(TryLater):
            rig.uplink.push()
        rig.now_s += 400
        assert rig.uplink.push().acked == 1
    assert len(honest.records) == 1


def test_a_record_refused_for_good_is_parked_and_counted_and_does_not_hold_up_the_others(
    new_rig: NewRig, outbox: Outbox
) -> None:
    bad = make_record(1).record_id
    with scripted_server(Honest(lambda asked: say_problem(422) if bad in asked.path else None)) as (url, _):
        rig = new_rig(url)
        outbox.add(make_record(1))
        outbox.add(make_record(2))
        assert rig.uplink.push() == Pushed(acked=1, parked=1, more=False)
        assert rig.counts() == (1, 1, 1)
        rig.now_s += 3600
        assert rig.uplink.push() == Pushed(acked=0, parked=0, more=False)


def test_a_conflict_is_parked(new_rig: NewRig, outbox: Outbox) -> None:
    with scripted_server(lambda _: say_problem(409, "conflict")) as (url, _):
        rig = new_rig(url)
        outbox.add(make_record(1))
        assert rig.uplink.push().parked == 1


def test_a_case_whose_photo_is_lost_is_parked_visibly(new_rig: NewRig, outbox: Outbox) -> None:
    with scripted_server(Honest()) as (url, _):
        rig = new_rig(url)
        rig.add_case()
        rig.photos.path(HASH).unlink()
        assert rig.uplink.push().parked == 1
    assert rig.counts() == (0, 1, 1)


def test_one_record_that_breaks_the_server_does_not_hold_up_the_others(new_rig: NewRig, outbox: Outbox) -> None:
    bad = make_record(1).record_id
    with scripted_server(Honest(lambda asked: say_problem(500) if bad in asked.path else None)) as (url, _):
        rig = new_rig(url)
        for number in range(1, 6):
            outbox.add(make_record(number))
        with pytest.raises(TryLater):
            rig.uplink.push()
    assert rig.counts() == (4, 1, 0)


def test_a_dead_server_is_asked_once_a_pass_and_the_rest_stays_due(new_rig: NewRig, outbox: Outbox) -> None:
    with scripted_server(lambda _: Say(pause_s=2)) as (url, asked):
        rig = new_rig(url)
        for number in range(1, 6):
            outbox.add(make_record(number))
        with pytest.raises(TryLater):
            rig.uplink.push()
        assert len(asked) == 1
    assert len(outbox.lease(now_s=0, lease_s=1, limit=10)) == 4


def test_a_station_that_the_server_does_not_let_in_parks_nothing(new_rig: NewRig, outbox: Outbox) -> None:
    with scripted_server(lambda _: say_problem(403, "forbidden")) as (url, asked):
        rig = new_rig(url)
        outbox.add(make_record(1))
        outbox.add(make_record(2))
        with pytest.raises(StationFault):
            rig.uplink.push()
        assert len(asked) == 1
    assert rig.counts() == (0, 2, 0)


def test_a_stopping_agent_gives_its_leases_back(new_rig: NewRig, outbox: Outbox) -> None:
    with scripted_server(Honest()) as (url, asked):
        rig = new_rig(url)
        outbox.add(make_record(1))
        rig.stopping.set()
        rig.uplink.push()
        assert not asked
    assert len(outbox.lease(now_s=0, lease_s=1, limit=10)) == 1


def test_retry_after_is_heeded(new_rig: NewRig, outbox: Outbox) -> None:
    busy = say_problem(503)
    busy.headers = {"Retry-After": "250"}
    with scripted_server(lambda _: busy) as (url, _):
        rig = new_rig(url)
        outbox.add(make_record(1))
        with pytest.raises(TryLater):
            rig.uplink.push()
    assert outbox.lease(now_s=249, lease_s=1, limit=1) == ()
    assert len(outbox.lease(now_s=250, lease_s=1, limit=1)) == 1


def test_telemetry_is_sent_as_it_is_and_removed_once_taken(new_rig: NewRig, outbox: Outbox) -> None:
    with scripted_server(lambda _: Say(status=204)) as (url, asked):
        rig = new_rig(url)
        for number in range(40):
            outbox.add_telemetry(b'{"n": %d}' % number, 0.0)
        assert rig.uplink.tell()
        assert not rig.uplink.tell()
        assert [(one.method, one.path, one.body) for one in asked] == [
            ("PUT", f"/v1/station/heartbeats/{number + 1}", b'{"n": %d}' % number) for number in range(40)
        ]
        changes = outbox._db.total_changes
        rig.uplink.tell()
        assert (len(asked), outbox._db.total_changes) == (40, changes)
    assert outbox.telemetry(9) == ()


@pytest.mark.parametrize(
    "say", [say_problem(404), Say(status=404, kind="text/html"), say_problem(422), say_problem(409)]
)
def test_telemetry_that_the_server_will_not_have_is_dropped(new_rig: NewRig, outbox: Outbox, say: Say) -> None:
    with scripted_server(lambda asked: say if asked.path.endswith("/1") else Say(status=204)) as (url, _):
        rig = new_rig(url)
        outbox.add_telemetry(b"{}", 0.0)
        outbox.add_telemetry(b"{}", 0.0)
        rig.uplink.tell()
    assert outbox.telemetry(9) == ()


def test_telemetry_stays_while_the_server_is_down_and_what_it_took_is_not_sent_again(
    new_rig: NewRig, outbox: Outbox
) -> None:
    with scripted_server(lambda asked: say_problem(503) if asked.path.endswith("/2") else Say(status=204)) as (url, _):
        rig = new_rig(url)
        for _ in range(3):
            outbox.add_telemetry(b"{}", 0.0)
        with pytest.raises(TryLater):
            rig.uplink.tell()
    assert [one.seq for one in outbox.telemetry(9)] == [2, 3]


def objected(honest: Honest, objections: dict[str, bytes], *, knows: bool = True) -> Callable[[Asked], Say | None]:
    def answer(asked: Asked) -> Say | None:
        if not asked.path.endswith("/objection"):
            return None
        record_id = asked.path.split("/")[3]
        if not knows:
            return say_problem(404, "not-found")
        if HASH not in honest.photos:
            return say_problem(409, "photos-missing", missing=[HASH])
        assert record_id in honest.records
        objections[record_id] = asked.body
        return say_json({"id": record_id, "new": True}, 201)

    return answer


@pytest.mark.parametrize("lies", [False, True])
def test_an_objection_goes_after_its_record_and_its_photos(new_rig: NewRig, outbox: Outbox, lies: bool) -> None:
    honest, objections = Honest(), dict[str, bytes]()
    answer = objected(honest, objections)
    honest.first = lambda asked: Say(status=200) if lies and asked.method == "HEAD" else answer(asked)
    with scripted_server(honest) as (url, asked):
        rig = new_rig(url)
        rig.photos.put(PHOTO)
        record = make_record(1, verdict="authentic", photos=[HASH])
        outbox.add(record)
        rig.uplink.push()
        assert [one.method for one in asked] == ["PUT"]
        outbox.object_to(record.record_id, "the seam", "2026-11-27T09:30:00+00:00")
        assert rig.counts() == (0, 1, 0)
        assert rig.uplink.push().acked == 1
    assert honest.photos == {HASH: PHOTO}
    assert objections == {record.record_id: b'{"made_at":"2026-11-27T09:30:00+00:00","text":"the seam"}'}
    assert rig.counts() == (1, 0, 0)


def test_an_objection_that_an_old_server_does_not_know_stays_and_shows(new_rig: NewRig, outbox: Outbox) -> None:
    honest = Honest()
    honest.first = objected(honest, {}, knows=False)
    with scripted_server(honest) as (url, _):
        rig = new_rig(url)
        rig.add_case()
        outbox.object_to(make_record(1).record_id, "the seam", "2026-11-27T09:30:00+00:00")
        assert rig.uplink.push().parked == 1
        assert len(honest.records) == 1
        honest.first = objected(honest, {})
        rig.now_s += 90_000
        assert rig.uplink.push().acked == 1


def test_an_objection_while_its_record_is_on_its_way_is_not_lost(new_rig: NewRig, outbox: Outbox) -> None:
    honest, objections = Honest(), dict[str, bytes]()
    record = make_record(1, verdict="authentic", photos=[HASH])
    answer = objected(honest, objections)

    def object_meanwhile(asked: Asked) -> Say | None:
        if asked.path == f"/v1/records/{record.record_id}" and not honest.records:
            outbox.object_to(record.record_id, "the seam", "2026-11-27T09:30:00+00:00")
        return answer(asked)

    honest.first = object_meanwhile
    with scripted_server(honest) as (url, _):
        rig = new_rig(url)
        rig.photos.put(PHOTO)
        outbox.add(record)
        rig.uplink.push()
        assert rig.counts() == (0, 1, 0)
        assert rig.uplink.push().acked == 1
    assert list(objections) == [record.record_id]


def test_the_ack_is_dated_by_the_servers_clock(new_rig: NewRig, outbox: Outbox) -> None:
    with scripted_server(Honest(), clock=lambda: 1e9) as (url, _):
        rig = new_rig(url)
        rig.now_s = 5e8
        outbox.add(make_record(1, verdict="authentic"))
        rig.uplink.push()
    assert outbox.drop_acked(str, acked_before_s=1e9 - 60, waiting_before_s=0, limit=9).records == 0
    assert outbox.drop_acked(str, acked_before_s=1e9 + 60, waiting_before_s=0, limit=9).records == 1


def answers(*seqs: int) -> Say:
    return say_json(
        {
            "answers": [
                {
                    "seq": seq,
                    "record_id": "a" * 64,
                    "item_id": f"item {seq}",
                    "outcome": "genuine",
                    "resolved_at": "2026-11-23T00:00:00+00:00",
                }
                for seq in seqs
            ]
        }
    )


def test_answers_are_asked_for_from_the_last_one_on(new_rig: NewRig, outbox: Outbox) -> None:
    with scripted_server(lambda asked: answers(3, 7) if asked.path.endswith("after=0") else answers()) as (url, asked):
        rig = new_rig(url)
        assert rig.uplink.pull() == 2
        assert rig.uplink.pull() == 0
        assert [one.path for one in asked] == ["/v1/answers?after=0", "/v1/answers?after=7"]
    assert [answer.item_id for answer in outbox.answers()] == ["item 3", "item 7"]


@pytest.mark.parametrize("say", [answers(0), answers(5, 5), answers(2**60), Say(body=b"<html>", kind="text/html")])
def test_answers_that_make_no_sense_are_not_stored(new_rig: NewRig, outbox: Outbox, say: Say) -> None:
    with scripted_server(lambda _: say) as (url, _), pytest.raises(TryLater):
        new_rig(url).uplink.pull()
    assert outbox.answer_count() == 0


def test_a_report_is_sent_when_it_changes(new_rig: NewRig, outbox: Outbox) -> None:
    report = StationReport(
        bundle_id=None, release=None, variant=None, state="no-model", detail="", recorded=0, acked=0, pending=0
    )
    with scripted_server(lambda _: Say(status=204)) as (url, asked):
        rig = new_rig(url)
        rig.uplink.report(report)
        rig.uplink.report(report)
        changed = StationReport(**{**encode(report), "detail": "new"})
        rig.uplink.report(changed)
        assert len(asked) == 2


def test_an_idle_station_leaves_its_disk_alone(new_rig: NewRig, outbox: Outbox) -> None:
    with scripted_server(lambda _: answers()) as (url, _):
        rig = new_rig(url)
        rig.uplink.pull()
        rig.uplink.remember_contact("")
        changes = outbox._db.total_changes
        rig.uplink.pull()
        rig.uplink.remember_contact("")
        assert outbox._db.total_changes == changes
        rig.uplink.remember_contact("new trouble")
    assert outbox.fact(ERROR_FACT) == "new trouble"
    assert outbox.fact(CLOCK_FACT) is not None
