"""One contract for every database: the same tests over SQLite and a real PostgreSQL."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import jwt
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, select, text, update

from runtime.contracts.codec import decode, parse_json
from runtime.contracts.errors import StationFault, TryLater, Unsupported
from runtime.contracts.records import (
    ItemId,
    Record,
    StationId,
)
from runtime.contracts.sync import EnrolRequest, Heartbeat, ScoreBins, StationReport, request_claims
from sync_server import heartbeats, releases
from sync_server.auth import Person, SignedRequest, add_person, person_of, station_of
from sync_server.blobs import Blobs
from sync_server.cases import answers_after, label_case, list_cases, show_case
from sync_server.datasets import find_dataset, freeze
from sync_server.devices import enrol, issue_code, store_report
from sync_server.fleet import list_stations
from sync_server.founding import found_server
from sync_server.heartbeats import list_heartbeats, store_heartbeat
from sync_server.intake import Photo, note_photo, take_record
from sync_server.refusals import Conflict, Forbidden, NotFound, PhotosMissing, Unauthenticated
from sync_server.schema import CASES, METADATA, PEOPLE, RECORDS, TUF_METADATA
from sync_server.settings import settings_for
from sync_server.store import Store, insert_new
from tests.sync_server.store_rigs import KEY, NOW, enrolled, record_of, stored_photo, take

GOLDEN = Path(__file__).parents[1] / "contracts" / "golden"


def test_the_migrations_build_exactly_the_tables_that_the_code_knows(store: Store) -> None:
    store.migrate()
    with store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_processes_that_start_together_migrate_once(url: str) -> None:
    stores = [Store(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Store.migrate, stores))
    with stores[0].read() as connection:
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar_one() == 1
    for opened in stores:
        opened.close()


def test_a_database_of_a_newer_program_is_refused_with_what_to_do(store: Store) -> None:
    with store.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StationFault, match="upgrade touchstone-server"):
        store.migrate()


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.write() as connection:
        add_person(connection, "ann", "viewer")
        raise RuntimeError
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(PEOPLE)).scalar_one() == 0


def test_a_token_is_known_again_and_never_stored(store: Store) -> None:
    with store.write() as connection:
        token = add_person(connection, "ann", "reviewer")
    with store.read() as connection:
        assert person_of(connection, token) == Person(name="ann", role="reviewer")
        assert token not in str(connection.execute(select(PEOPLE)).all())
    with pytest.raises(Conflict), store.write() as connection:
        add_person(connection, "ann", "admin")


def test_a_code_enrols_one_key_however_often_and_no_other(store: Store) -> None:
    with store.write() as connection:
        code = issue_code(connection, b"root", 24, NOW)
    ask = EnrolRequest(secret=code.secret, public_key=KEY, name="dock")
    for _ in range(2):
        with store.write() as connection:
            assert enrol(connection, ask, NOW).startswith("st-")
    with pytest.raises(Forbidden, match="ask an admin"), store.write() as connection:
        enrol(connection, replace(ask, public_key="cd" * 32), NOW)
    with pytest.raises(Forbidden, match="ask an admin"), store.write() as connection:
        enrol(connection, ask, NOW + timedelta(hours=25))
    with store.read() as connection:
        assert len(list_stations(connection)) == 1


def test_two_stations_that_race_for_one_code_do_not_both_get_it(store: Store) -> None:
    with store.write() as connection:
        code = issue_code(connection, b"root", 24, NOW)
    start = Barrier(2)

    def race(key: str) -> bool:
        start.wait()
        try:
            with store.write() as connection:
                enrol(connection, EnrolRequest(secret=code.secret, public_key=key, name="dock"), NOW)
        except Forbidden:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(race, ("aa" * 32, "bb" * 32))) == [False, True]


def test_a_report_is_what_the_list_of_stations_shows(store: Store) -> None:
    station = enrolled(store)
    report = StationReport(
        bundle_id=None, release=None, variant=None, state="no-model", detail="", recorded=3, acked=2, pending=1
    )
    with store.write() as connection:
        store_report(connection, station, report, NOW)
    with store.read() as connection:
        (shown,) = list_stations(connection)
    assert shown.report == report
    assert shown.last_seen == "2026-11-20T09:00:00.000000+00:00"


def heartbeat_of(scans: int) -> Heartbeat:
    return Heartbeat(
        made_at="2026-11-20T09:00:00Z",
        started_at="2026-11-20T08:00:00Z",
        uptime_s=3600.0,
        model=None,
        versions={"agent": "0.1.0"},
        counters={'touchstone_scans_total{verdict="authentic"}': scans},
        gauges={"touchstone_free_bytes": 5.0},
        latencies_us={"until_stored": {"301": scans}},
        scores=(ScoreBins(release=1, score="p_fraud", bins=(scans, *[0] * 19)),),
    )


def beat(store: Store, station: StationId, seq: int, scans: int, minutes: int = 0) -> bool:
    with store.write() as connection:
        return store_heartbeat(connection, station, seq, heartbeat_of(scans), NOW + timedelta(minutes=minutes))


def beats(store: Store, station: str, limit: int = 50) -> list[tuple[int, int]]:
    with store.read() as connection:
        found = list_heartbeats(connection, station, limit)
    return [(one.seq, sum(one.heartbeat.counters.values())) for one in found]


def test_a_heartbeat_counts_once_and_comes_back_as_it_was(store: Store) -> None:
    station, other = enrolled(store), enrolled(store, "cd" * 32)
    assert [beat(store, station, 1, 10), beat(store, station, 1, 10, minutes=9)] == [True, False]
    assert beat(store, other, 1, 99)
    assert beat(store, station, 2, 20, minutes=5)
    assert beats(store, station) == [(2, 20), (1, 10)]
    assert beats(store, station, limit=1) == [(2, 20)]
    assert beats(store, other) == [(1, 99)]
    with store.read() as connection:
        assert list_heartbeats(connection, station, 1)[0].heartbeat == heartbeat_of(20)
        shown = {one.station_id: one.last_seen for one in list_stations(connection)}
    assert shown[station] == "2026-11-20T09:05:00.000000+00:00"
    with pytest.raises(NotFound, match="not enrolled"):
        beats(store, "st-unknown")


def test_a_station_that_begins_to_count_anew_replaces_what_it_said(store: Store) -> None:
    station = enrolled(store)
    for seq in (1, 2, 3):
        beat(store, station, seq, seq * 10, minutes=seq)
    assert not beat(store, station, 1, 7, minutes=10)
    assert beats(store, station) == [(1, 7), (3, 30), (2, 20)]


def test_only_the_newest_heartbeats_of_each_station_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "KEPT", 3)
    station, other = enrolled(store), enrolled(store, "cd" * 32)
    beat(store, other, 1, 1)
    for seq in range(1, 6):
        beat(store, station, seq, seq, minutes=seq)
    assert [seq for seq, _ in beats(store, station)] == [5, 4, 3]
    assert beats(store, other) == [(1, 1)]


def test_the_same_heartbeat_sent_twice_at_once_is_stored_once(store: Store) -> None:
    station = enrolled(store)
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(lambda _: beat(store, station, 1, 5), range(4))) == [False, False, False, True]
    assert beats(store, station) == [(1, 5)]


def test_a_record_is_taken_once_and_never_replaced(store: Store, blobs: Blobs) -> None:
    record = record_of(enrolled(store), "bag", stored_photo(store, blobs, b"photo"))
    assert take(store, blobs, record)
    assert not take(store, blobs, record)
    with pytest.raises(Conflict, match="not replaced"):
        take(store, blobs, replace(record, verdict="suspect"))


def test_the_same_record_in_other_bytes_is_the_same_record(store: Store, blobs: Blobs) -> None:
    """An agent of a later wire version encodes what an older one recorded with more fields, or in another order."""
    raw = (GOLDEN / "record.v1.json").read_bytes()
    record = replace(decode(Record, parse_json(raw, "record"), "record"), station_id=enrolled(store))
    for score in record.views:
        with store.write() as connection:
            note_photo(connection, Photo(sha256=score.photo, size=5, media_type="image/png"))
        blobs.path(score.photo).parent.mkdir(exist_ok=True)
        blobs.path(score.photo).write_bytes(b"photo")
    assert take(store, blobs, record)
    # As a server of that version stored it: its fields alone, and perhaps in another order, with other numbers.
    data = dict(reversed(parse_json(raw, "record").items())) | {"station_id": record.station_id}
    data["listing"]["seller_items"] = 3
    with store.write() as connection:
        connection.execute(update(RECORDS).values(body=json.dumps(data, indent=1)))
    assert not take(store, blobs, record)
    for change in ({"verdict": "authentic"}, {"item_id": ItemId("another")}, {"timings_us": {}}):
        with pytest.raises(Conflict, match="not replaced"):
            take(store, blobs, replace(record, **change))
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(CASES)).scalar_one() == 1


def test_the_same_record_sent_twice_at_once_makes_one_case(store: Store, blobs: Blobs) -> None:
    record = record_of(enrolled(store), "bag", stored_photo(store, blobs, b"photo"))
    with ThreadPoolExecutor(4) as pool:
        new = list(pool.map(lambda _: take(store, blobs, record), range(4)))
    assert sorted(new) == [False, False, False, True]


def test_a_case_without_its_photos_is_not_taken_and_says_which(store: Store, blobs: Blobs) -> None:
    there = stored_photo(store, blobs, b"photo")
    lost = stored_photo(store, blobs, b"its row is there, its file is lost")
    blobs.path(lost).unlink()
    record = record_of(enrolled(store), "bag", there, "f" * 64, lost)
    with pytest.raises(PhotosMissing) as refused:
        take(store, blobs, record)
    assert refused.value.missing == tuple(sorted((lost, "f" * 64)))
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(CASES)).scalar_one() == 0


def test_a_confident_unaudited_record_needs_no_photo_and_makes_no_case(store: Store, blobs: Blobs) -> None:
    record = replace(record_of(enrolled(store), "bag", "f" * 64), verdict="authentic")
    assert take(store, blobs, record)
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(CASES)).scalar_one() == 0


def test_labels_that_race_settle_a_case_once(store: Store, blobs: Blobs, reviewers: list[Person]) -> None:
    station = enrolled(store)
    records = [record_of(station, f"bag {i}", stored_photo(store, blobs, b"photo")) for i in range(6)]
    for record in records:
        take(store, blobs, record)
    start = Barrier(len(reviewers))

    def label_all(person: Person) -> list[str]:
        start.wait()
        states = []
        for record in records:
            try:
                with store.write() as connection:
                    done = label_case(connection, person, record.record_id, "genuine", 2, NOW)
                states.append(done.state)
            except Conflict:
                states.append("late")
        return states

    with ThreadPoolExecutor(len(reviewers)) as pool:
        states = list(pool.map(label_all, reviewers))
    for one_case in zip(*states, strict=True):
        assert sorted(one_case) == ["late", "late", "open", "resolved"]
    with store.read() as connection:
        answers = answers_after(connection, station, 0).answers
        assert [answer.seq for answer in answers] == [1, 2, 3, 4, 5, 6]
        assert {answer.record_id for answer in answers} == {record.record_id for record in records}
        assert [a.seq for a in answers_after(connection, station, 4).answers] == [5, 6]


def test_answers_are_numbered_for_each_station_alone(store: Store, blobs: Blobs, reviewers: list[Person]) -> None:
    stations = [enrolled(store, key * 32) for key in ("aa", "bb")]
    photo = stored_photo(store, blobs, b"photo")
    for i, station in enumerate((stations[0], stations[1], stations[0])):
        record = record_of(station, f"bag {i}", photo)
        take(store, blobs, record)
        for person in reviewers[:2]:
            with store.write() as connection:
                label_case(connection, person, record.record_id, "counterfeit", 2, NOW)
    with store.read() as connection:
        seqs = [[a.seq for a in answers_after(connection, station, 0).answers] for station in stations]
    assert seqs == [[1, 2], [1]]


def test_a_label_can_change_only_while_the_case_is_open(store: Store, blobs: Blobs, reviewers: list[Person]) -> None:
    record = record_of(enrolled(store), "bag", stored_photo(store, blobs, b"photo"))
    take(store, blobs, record)
    ann, ben, cem, _ = reviewers

    def give(person: Person, label: str) -> str:
        with store.write() as connection:
            return label_case(connection, person, record.record_id, label, 2, NOW).state

    assert [give(ann, "counterfeit"), give(ann, "genuine"), give(ann, "genuine")] == ["open"] * 3
    assert give(ben, "genuine") == "resolved"
    assert give(ben, "genuine") == "resolved"
    for person in (ben, cem):
        with pytest.raises(Conflict, match="settled"):
            give(person, "counterfeit")
    with pytest.raises(Forbidden), store.write() as connection:
        label_case(connection, Person(name="x", role="viewer"), record.record_id, "genuine", 2, NOW)


def test_the_list_of_cases_is_paged_open_first_and_oldest_first(
    store: Store, blobs: Blobs, reviewers: list[Person]
) -> None:
    station = enrolled(store)
    photo = stored_photo(store, blobs, b"photo")
    for i in range(5):
        with store.write() as connection:
            take_record(connection, record_of(station, f"bag {i}", photo), blobs, NOW + timedelta(minutes=i))
    settled = record_of(station, "bag 1").record_id
    for person in reviewers[:2]:
        with store.write() as connection:
            label_case(connection, person, settled, "genuine", 2, NOW)
    seen: list[str] = []
    after = None
    while True:
        with store.read() as connection:
            page = list_cases(connection, reviewers[2], None, after, 2)
        seen += [case.item_id for case in page.cases]
        after = page.next_after
        if after is None:
            break
    assert seen == ["bag 0", "bag 2", "bag 3", "bag 4", "bag 1"]


def test_labels_are_blind_until_the_case_is_settled(store: Store, blobs: Blobs, reviewers: list[Person]) -> None:
    record = replace(record_of(enrolled(store), "bag", stored_photo(store, blobs, b"photo")), verdict="suspect")
    take(store, blobs, record)
    ann, ben, _, _ = reviewers

    def seen_by(person: Person) -> tuple[bool, str, float | None, list[str]]:
        with store.read() as connection:
            detail = show_case(connection, person, record.record_id)
        names = [label.person for label in detail.labels]
        return detail.blind, detail.record.verdict, detail.record.prediction.p_counterfeit, names

    viewer = Person(name="viv", role="viewer")
    with store.write() as connection:
        label_case(connection, ann, record.record_id, "genuine", 2, NOW)
    assert seen_by(ann) == (True, "uncertain", None, ["ann"])
    assert seen_by(ben) == (True, "uncertain", None, [])
    assert seen_by(viewer) == (False, "suspect", 0.5, ["ann"])
    with store.write() as connection:
        label_case(connection, ben, record.record_id, "genuine", 2, NOW)
    assert seen_by(ann) == seen_by(reviewers[2]) == (False, "suspect", 0.5, ["ann", "ben"])


@pytest.mark.parametrize("text", ["\x00", "\ud800"])
def test_text_that_a_database_does_not_keep_is_refused_before_it_gets_there(store: Store, text: str) -> None:
    ann = Person(name="ann", role="reviewer")
    request = SignedRequest(method="GET", path="/", body_sha256="0" * 64)
    claims = request_claims(StationId(text), "GET", "/", "0" * 64, 0)
    with store.write() as connection:
        with pytest.raises(Unauthenticated, match="iss"):
            station_of(connection, jwt.encode(claims, "k" * 32), request, NOW)
        with pytest.raises(Unsupported, match="person"):
            add_person(connection, text, "viewer")
        with pytest.raises(Unsupported, match="after"):
            list_cases(connection, ann, None, text, 10)
        with pytest.raises(NotFound):
            show_case(connection, ann, text)
        with pytest.raises(NotFound):
            label_case(connection, ann, text, "genuine", 2, NOW)


def test_freezing_the_same_content_gives_the_same_dataset(store: Store, blobs: Blobs, reviewers: list[Person]) -> None:
    station = enrolled(store)
    photo = stored_photo(store, blobs, b"photo")
    ids = []
    for i in range(2):
        record = record_of(station, f"bag {i}", photo)
        take(store, blobs, record)
        for person in reviewers[:2]:
            with store.write() as connection:
                label_case(connection, person, record.record_id, "genuine", 2, NOW)
        for later in (0, 1):
            with store.write() as connection:
                frozen, new = freeze(connection, NOW + timedelta(days=later))
            assert new == (later == 0)
            ids.append(frozen.dataset_id)
    assert ids[0] == ids[1] != ids[2] == ids[3]
    with store.read() as connection:
        assert len(find_dataset(connection, ids[0]).dataset.items) == 1
        assert len(find_dataset(connection, ids[2]).dataset.items) == 2


def test_processes_that_find_the_timestamp_old_at_once_sign_one_new_one(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(tmp_path / "home", database=url, audit_share=0.02, labels_needed=2)
    found_server(settings, tmp_path / "offline", url, NOW)
    stores = [Store(url) for _ in range(4)]
    load_keys, all_found_it_old = releases.online_signers, Barrier(4)

    def load_together(folder: Path) -> object:
        all_found_it_old.wait(10)
        return load_keys(folder)

    monkeypatch.setattr(releases, "online_signers", load_together)
    later = NOW + timedelta(hours=13)
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda s: releases.fresh_timestamp(s, settings.online_keys, later), stores))
    assert len(set(seen)) == 1
    with stores[0].read() as connection:
        rows = connection.execute(select(TUF_METADATA.c.role, TUF_METADATA.c.version)).all()
    assert sorted(map(tuple, rows)) == [("root", 1), ("snapshot", 1), ("targets", 1), ("timestamp", 2)]
    for opened in stores:
        opened.close()


def test_an_old_snapshot_is_signed_anew_with_its_timestamp(url: str, tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "home", database=url, audit_share=0.02, labels_needed=2)
    found_server(settings, tmp_path / "offline", url, NOW)
    store = Store(url)
    releases.fresh_timestamp(store, settings.online_keys, NOW + timedelta(days=4))
    with store.read() as connection:
        assert releases.stored_metadata(connection, "snapshot", 2) is not None
        assert releases.stored_metadata(connection, "timestamp", 2) is not None
    store.close()


def test_init_refuses_a_database_that_holds_another_server(url: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        settings = settings_for(tmp_path / name, database=url, audit_share=0.02, labels_needed=2)
        if name == "one":
            found_server(settings, tmp_path / "offline one", url, NOW)
    with pytest.raises(StationFault, match="another server"):
        found_server(settings, tmp_path / "offline two", url, NOW)


def test_insert_new_tells_which_of_two_racing_rows_won(store: Store) -> None:
    row = {"name": "ann", "role": "viewer", "token_hash": "0" * 64}

    def insert(_: int) -> bool:
        with store.write() as connection:
            return insert_new(connection, PEOPLE, row)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(insert, range(4))) == [False, False, False, True]


def test_a_database_that_is_away_is_worth_another_try(tmp_path: Path) -> None:
    store = Store(f"postgresql://nobody@/none?host={tmp_path}&connect_timeout=2")
    with pytest.raises(TryLater, match="not reachable"), store.read():
        pass
    store.close()


def test_a_url_of_another_database_is_refused() -> None:
    with pytest.raises(Unsupported, match="postgresql"):
        Store("mysql://root@localhost/x")
