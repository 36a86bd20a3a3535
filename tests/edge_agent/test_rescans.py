"""The first complete scan of an item decides, whoever scans it again, in whatever process, in whatever order."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent import outbox_schema
from edge_agent.home import Home
from edge_agent.item_history import item_history, photo_uses
from edge_agent.outbox import Outbox, insert_record
from runtime.contracts.codec import canonical_json, decode, encode
from runtime.contracts.records import ItemId, Label, Reason, Record, RecordId, Verdict, ViewScore, content_id
from runtime.contracts.sync import Answer
from runtime.history import ItemHistory, PhotoUse, binds, is_complete, restrained
from tests.conftest import make_photo
from tests.edge_agent.rigs import REPOSITORY, Daemon, make_record, wait_until
from tests.edge_agent.test_station import Rig, request_of

PhotoOf = Callable[..., bytes]
GOOD, UNCLEAR, BAD = 20, 140, 220
SEEDS = count(1)


@pytest.fixture
def rig(home_with_model: Home) -> Rig:
    return Rig(home_with_model)


@pytest.fixture
def look(rig: Rig, photo_of: PhotoOf) -> Callable[..., Record]:
    """``look("bag", GOOD)`` scans an item with new photos; ``views`` names those that it has."""

    def scan(item: str, red: int, views: Sequence[str] = ("logo", "stitching")) -> Record:
        photos = {view: photo_of(red, seed=next(SEEDS)) for view in views}
        return rig.station.scan(request_of(item, **photos), lambda: rig.model).record

    return scan


def codes_of(record: Record) -> list[str]:
    return [reason.code for reason in record.reasons]


def answer(outbox: Outbox, record: Record, outcome: Label) -> None:
    seq = outbox.last_answer() + 1
    said = Answer(
        seq=seq, record_id=record.record_id, item_id=record.item_id, outcome=outcome, resolved_at="2026-11-24T00:00:00Z"
    )
    outbox.add_answers([said])


@pytest.mark.parametrize("first", [UNCLEAR, BAD])
def test_a_later_scan_does_not_confirm_what_the_first_one_did_not(look: Callable[..., Record], first: int) -> None:
    before = look("bag", first)
    again = look("bag", GOOD)
    assert (again.verdict, codes_of(again), again.rescan_of) == ("uncertain", ["rescan"], before.record_id)
    assert before.scanned_at[:10] in again.reasons[0].text
    assert look("other bag", GOOD).verdict == "authentic"


def test_a_later_scan_that_is_more_severe_stands_and_binds_those_after_it(look: Callable[..., Record]) -> None:
    first = look("bag", GOOD)
    worse = look("bag", BAD)
    third = look("bag", GOOD)
    assert [one.verdict for one in (first, worse, third)] == ["authentic", "suspect", "uncertain"]
    assert worse.rescan_of == third.rescan_of == first.record_id
    assert codes_of(third) == ["rescan"]


def test_a_confirmed_item_may_be_confirmed_again(look: Callable[..., Record]) -> None:
    first, again = look("bag", GOOD), look("bag", GOOD)
    assert (again.verdict, codes_of(again), again.rescan_of) == ("authentic", ["within_budget"], first.record_id)


def test_a_scan_that_lacked_a_view_does_not_bind(look: Callable[..., Record]) -> None:
    assert codes_of(look("bag", GOOD, views=["logo"])) == ["missing_view"]
    whole = look("bag", GOOD)
    assert (whole.verdict, whole.rescan_of) == ("authentic", None)


def test_an_expert_who_says_genuine_sets_the_item_free(rig: Rig, look: Callable[..., Record]) -> None:
    first, again = look("bag", UNCLEAR), look("bag", GOOD)
    assert again.verdict == "uncertain"
    answer(rig.outbox, first, "genuine")
    assert look("bag", GOOD).verdict == "authentic", "the scan between says nothing of its own"
    worse = look("bag", BAD)
    assert look("bag", GOOD).verdict == "uncertain", "the answer is of an earlier scan"
    answer(rig.outbox, worse, "genuine")
    assert look("bag", GOOD).verdict == "authentic"


def test_what_an_expert_called_a_counterfeit_is_not_confirmed_even_where_the_model_did(
    rig: Rig, look: Callable[..., Record]
) -> None:
    audited = look("bag", GOOD)
    answer(rig.outbox, audited, "counterfeit")
    again = look("bag", GOOD)
    assert (again.verdict, codes_of(again)) == ("uncertain", ["expert_said_counterfeit"])
    answer(rig.outbox, audited, "genuine")  # the last answer on a record counts
    assert look("bag", GOOD).verdict == "authentic"


def test_the_same_photo_of_two_items_or_two_views_goes_to_an_expert(rig: Rig, photo_of: PhotoOf) -> None:
    def scan(item: str, **photos: bytes) -> Record:
        return rig.station.scan(request_of(item, **photos), lambda: rig.model).record

    logo, stitching = photo_of(GOOD, seed=901), photo_of(GOOD, seed=902)
    assert scan("bag", logo=logo, stitching=stitching).verdict == "authentic"
    other_item = scan("other", logo=logo, stitching=photo_of(GOOD, seed=903))
    assert (other_item.verdict, codes_of(other_item)) == ("uncertain", ["same_photo"])
    assert "'logo' of the item 'bag'" in other_item.reasons[0].text
    other_view = scan("bag", logo=stitching, stitching=photo_of(GOOD, seed=904))
    assert (other_view.verdict, codes_of(other_view)) == ("uncertain", ["same_photo"])
    assert "'stitching' of this item" in other_view.reasons[0].text
    twice = scan("third", logo=photo_of(GOOD, seed=905), stitching=photo_of(GOOD, seed=905))
    assert (twice.verdict, codes_of(twice)) == ("uncertain", ["same_photo"])
    red = photo_of(BAD, seed=906)
    suspect = scan("fourth", logo=red, stitching=red)
    assert (suspect.verdict, codes_of(suspect)) == ("suspect", ["photos_differ", "same_photo"])


def test_a_photo_that_only_changed_its_metadata_is_the_same_photo(rig: Rig, photo_of: PhotoOf) -> None:
    photo = photo_of(GOOD, seed=911)
    comment = photo[:2] + b"\xff\xfe\x00\x05abc" + photo[2:]
    rig.station.scan(request_of("bag", logo=photo, stitching=photo_of(GOOD, seed=912)), lambda: rig.model)
    again = rig.station.scan(request_of("other", logo=comment, stitching=photo_of(GOOD, seed=913)), lambda: rig.model)
    assert codes_of(again.record) == ["same_photo"]


def test_a_view_that_is_given_later_may_come_with_the_photos_of_before(rig: Rig, photo_of: PhotoOf) -> None:
    logo = photo_of(GOOD, seed=921)
    rig.station.scan(request_of("bag", logo=logo), lambda: rig.model)
    whole = rig.station.scan(request_of("bag", logo=logo, stitching=photo_of(GOOD, seed=922)), lambda: rig.model)
    assert whole.record.verdict == "authentic"


def test_the_same_scan_after_a_crash_is_the_same_record_and_no_rescan_of_itself(rig: Rig, photo_of: PhotoOf) -> None:
    photos = {"logo": photo_of(UNCLEAR, seed=931), "stitching": photo_of(UNCLEAR, seed=932)}
    first = rig.station.scan(request_of("bag", **photos), lambda: rig.model)
    again = Rig(rig.home).station.scan(request_of("bag", **photos), lambda: rig.model)
    assert (again.again, again.record) == (True, first.record)
    assert content_id(first.record) == first.record.record_id


def test_a_session_and_a_scan_of_one_item_know_of_each_other(rig: Rig, look: Callable[..., Record]) -> None:
    look("bag", UNCLEAR)
    session = rig.station.begin(lambda: rig.model)
    for view in ("logo", "stitching"):
        session.add(view, request_photo(GOOD))
    assert session.finish("bag", None).record.verdict == "uncertain"


def request_photo(red: int) -> bytes:
    return make_photo(red, seed=next(SEEDS))


def test_of_two_processes_that_scan_one_item_at_once_only_one_is_the_first(rig: Rig) -> None:
    """Both have their verdict before either has its record: whichever record is second must know the first."""
    rigs = [rig, Rig(rig.home)]
    for number in range(12):
        start, found = threading.Barrier(2), {}

        def scan(which: int, red: int, item: str, start: threading.Barrier, found: dict[int, Record]) -> None:
            mine, photos = rigs[which], {view: request_photo(red) for view in ("logo", "stitching")}
            session = mine.station.begin(lambda: mine.model)
            for view, photo in photos.items():
                session.add(view, photo)
            start.wait(20)
            found[which] = session.finish(item, None).record

        threads = [
            threading.Thread(target=scan, args=(which, red, f"bag {number}", start, found))
            for which, red in ((0, GOOD), (1, UNCLEAR))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        good, unclear = found[0], found[1]
        assert unclear.verdict == "uncertain"
        if good.rescan_of is None:
            assert (good.verdict, unclear.rescan_of) == ("authentic", good.record_id)
        else:
            assert (good.verdict, codes_of(good), unclear.rescan_of) == ("uncertain", ["rescan"], None)


def test_a_daemon_and_a_scan_beside_it_know_of_each_others_items(home_with_model: Home, tmp_path: Path) -> None:
    daemon = Daemon(home_with_model.root)
    daemon.ready_line()
    for number in range(3):
        filling, photos = home_with_model.inbox / f".bag {number}", []
        filling.mkdir()
        for view in ("logo", "stitching"):
            (filling / f"{view}.jpg").write_bytes(request_photo(UNCLEAR))
            photos.append(tmp_path / f"{view}.jpg")
            photos[-1].write_bytes(request_photo(GOOD))
        arguments = ["scan", *photos, "--item", f"bag {number}", "--json", "--home", home_with_model.root]
        scan = subprocess.Popen(
            [sys.executable, "-m", "edge_agent.cli", *map(str, arguments)], cwd=REPOSITORY, stdout=subprocess.PIPE
        )
        filling.rename(home_with_model.inbox / f"bag {number}")
        record = decode(Record, json.loads(scan.communicate(timeout=60)[0]), "stdout")
        wait_until(lambda: not list(home_with_model.inbox.iterdir()), "the inbox is empty")
        assert (record.verdict == "authentic") == (record.rescan_of is None)
    assert daemon.end() == 0
    with closing(Outbox(home_with_model.database_file)) as outbox:
        assert outbox.tally().recorded == 6


# Any order of scans and answers, against a model of the rule in plain words.

LOOKS: tuple[tuple[Verdict, tuple[str, ...], bool], ...] = (
    ("authentic", ("within_budget",), True),
    ("authentic", ("within_budget",), True),
    ("suspect", ("photos_differ",), True),
    ("uncertain", ("photos_unclear",), True),
    ("uncertain", ("listing_missing",), True),
    ("uncertain", ("missing_view",), False),
)
EVENTS = st.lists(
    st.tuples(st.just("scan"), st.integers(0, 1), st.sampled_from(LOOKS), st.integers(0, 3))
    | st.tuples(st.just("answer"), st.integers(0, 9), st.sampled_from(["genuine", "counterfeit"])),
    max_size=14,
)


def looked(number: int, item: int, verdict: Verdict, codes: Sequence[str], scored: bool, photo: int) -> Record:
    plain = make_record(number, verdict=verdict)
    return dataclasses.replace(
        plain,
        item_id=ItemId(f"item {item}"),
        reasons=tuple(Reason(code=code, text=code) for code in codes),
        prediction=dataclasses.replace(plain.prediction, p_counterfeit=0.5 if scored else None),
        views=(ViewScore(view="logo", photo=f"{photo if photo == 0 else 100 * number + photo:064x}", logit=0.0),),
    )


def keep(outbox: Outbox, record: Record) -> Record:
    with outbox.writing() as db:
        record = restrained(record, item_history(db, record.item_id), photo_uses(db, record))
        assert insert_record(db, record)
    return record


@settings(deadline=None, max_examples=150)
@given(EVENTS)
def test_whatever_the_order_no_scan_is_better_than_the_first_complete_one_that_no_expert_called_genuine(
    events: list[tuple[object, ...]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder) / "station.db")
        kept: list[Record] = []
        said: dict[RecordId, str] = {}
        for event in events:
            if event[0] == "answer":
                if kept:
                    record = kept[event[1] % len(kept)]  # type: ignore[operator]
                    answer(outbox, record, event[2])  # type: ignore[arg-type]
                    said[record.record_id] = event[2]  # type: ignore[assignment]
                continue
            _, item, (verdict, codes, scored), photo = event  # type: ignore[misc]
            plain = looked(len(kept) + 1, item, verdict, codes, scored, photo)  # type: ignore[has-type]
            record = keep(outbox, plain)
            before = [one for one in kept if one.item_id == record.item_id]
            complete = [one for one in before if is_complete(one)]
            held = any(binds(one) and one.record_id not in said for one in before)
            held |= any(said.get(one.record_id) == "counterfeit" for one in before)
            used = any(plain.views[0].photo == one.views[0].photo for one in kept if one.item_id != record.item_id)
            assert record.rescan_of == (complete[0].record_id if complete else None)
            assert record.verdict == ("uncertain" if verdict == "authentic" and (held or used) else verdict)
            bound = bool(complete) and binds(complete[0]) and said.get(complete[0].record_id) != "genuine"
            assert not (record.verdict == "authentic" and bound)
            kept.append(record)
        outbox.close()


# An agent that did not look back yet, and its file.


def as_version_1(record: Record) -> bytes:
    body = {key: value for key, value in encode(record).items() if key not in ("rescan_of", "features_as_of")}
    return canonical_json(body | {"v": 1})


def file_of_step_1(path: Path, records: Sequence[Record]) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    for statement in outbox_schema.STEPS[0]:
        db.execute(statement)
    db.execute("PRAGMA user_version = 1")
    for record in records:
        db.execute(
            "INSERT INTO record (record_id, item_id, is_case, priority, body) VALUES (?, ?, 1, 0, ?)",
            (record.record_id, record.item_id, as_version_1(record)),
        )
    db.close()


def test_an_outbox_of_before_remembers_what_it_held(tmp_path: Path) -> None:
    looks = [(item, look, photo) for item in (0, 1) for look in LOOKS for photo in (0, 1)]
    records = [looked(number, item, *look, photo) for number, (item, look, photo) in enumerate(looks, 1)]
    records.append(dataclasses.replace(looked(99, 2, *LOOKS[4], 5), reasons=(*records[0].reasons, *records[8].reasons)))
    file_of_step_1(tmp_path / "old.db", records)
    old, new = Outbox(tmp_path / "old.db"), Outbox(tmp_path / "new.db")
    for record in records:
        new.add(record)
    assert remembered(old) == remembered(new) != ([], [])
    assert [old.find(record.record_id) for record in records] == [dataclasses.replace(one, v=1) for one in records]
    assert keep(old, looked(200, 0, *LOOKS[0], 7)).verdict == "uncertain"
    old.close()
    new.close()


def remembered(outbox: Outbox) -> tuple[list[object], list[object]]:
    with outbox.reading() as db:
        return (
            db.execute("SELECT seq, record_id, item_id, scanned_at, binds FROM complete_scan ORDER BY seq").fetchall(),
            db.execute("SELECT * FROM photo_use ORDER BY 1, 2, 3").fetchall(),
        )


def test_records_that_went_are_still_known(outbox: Outbox) -> None:
    keep(outbox, looked(1, 0, *LOOKS[3], 1))
    with outbox.writing() as db:
        db.execute("DELETE FROM photo")
        db.execute("DELETE FROM record")
    assert keep(outbox, looked(2, 0, *LOOKS[0], 2)).verdict == "uncertain"


def test_a_restored_history_counts_as_taken_and_binds(outbox: Outbox) -> None:
    theirs = [looked(1, 0, *LOOKS[3], 1), looked(2, 1, *LOOKS[0], 2)]
    outbox.restore(theirs)
    outbox.restore(theirs)
    tally = outbox.tally()
    assert (tally.recorded, tally.acked, tally.pending) == (2, 2, 0)
    assert outbox.lease(now_s=0, lease_s=1, limit=9) == ()
    assert outbox.drop_oldest(str) is None, "their photos were never here"
    assert keep(outbox, looked(3, 0, *LOOKS[0], 3)).rescan_of == theirs[0].record_id
    stolen = dataclasses.replace(looked(4, 2, *LOOKS[0], 4), views=theirs[1].views)
    with outbox.reading() as db:
        assert photo_uses(db, stolen) == (PhotoUse(view="logo", used_for=ItemId("item 1"), used_as="logo"),)
        assert item_history(db, ItemId("nobody's")) == ItemHistory()


def test_the_body_on_disk_is_the_record_that_was_shown(rig: Rig, look: Callable[..., Record]) -> None:
    look("bag", UNCLEAR)
    again = look("bag", GOOD)
    with rig.outbox.reading() as db:
        (body,) = db.execute("SELECT body FROM record WHERE record_id = ?", (again.record_id,)).fetchone()
    assert json.loads(body)["v"] == 2
    assert body == canonical_json(again)
    assert rig.outbox.tally().cases == 2
