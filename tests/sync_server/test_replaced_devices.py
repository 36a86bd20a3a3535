"""A new device for a station that is there: its key counts from then on, the old one is named, the history is whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import alembic.command
import alembic.config
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

import sync_server
from runtime.contracts.codec import decode
from runtime.contracts.records import Record, StationId
from runtime.contracts.sync import EnrolRequest, StationHistory, request_claims
from sync_server import history
from sync_server.auth import Person, SignedRequest, station_of
from sync_server.blobs import Blobs
from sync_server.cases import show_case
from sync_server.devices import enrol, issue_code
from sync_server.fleet import list_stations
from sync_server.history import history_after
from sync_server.intake import take_record
from sync_server.refusals import Forbidden, NotFound, Unauthenticated
from sync_server.store import Store
from tests.sync_server.test_store_contract import NOW, enrolled, record_of, stored_photo, take

REQUEST = SignedRequest(method="GET", path="/v1/answers", body_sha256="0" * 64)


def hex_of(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


def replaced(store: Store, station: StationId, public_key: str, name: str = "new") -> StationId:
    with store.write() as connection:
        code = issue_code(connection, b"root", 24, NOW, replaces=station)
        return enrol(connection, EnrolRequest(secret=code.secret, public_key=public_key, name=name), NOW)


def who(store: Store, station: StationId, key: Ed25519PrivateKey) -> StationId:
    claims = request_claims(station, REQUEST.method, REQUEST.path, REQUEST.body_sha256, int(NOW.timestamp()))
    with store.read() as connection:
        return station_of(connection, jwt.encode(claims, key, algorithm="EdDSA"), REQUEST, NOW)


def test_the_new_key_speaks_for_the_station_and_the_old_one_is_told_why_not(store: Store) -> None:
    old, new, newest, stranger = (Ed25519PrivateKey.generate() for _ in range(4))
    station = enrolled(store, hex_of(old))
    assert replaced(store, station, hex_of(new), "dock 2") == station
    assert who(store, station, new) == station
    with pytest.raises(Forbidden, match="another device took its place on 2026-11-20"):
        who(store, station, old)
    with pytest.raises(Unauthenticated):
        who(store, station, stranger)
    replaced(store, station, hex_of(newest))
    for locked_out in (old, new):
        with pytest.raises(Forbidden):
            who(store, station, locked_out)
    with store.read() as connection:
        (shown,) = list_stations(connection)
    assert (shown.station_id, shown.name) == (station, "new")


def test_until_its_code_is_spent_the_old_device_goes_on(store: Store) -> None:
    old = Ed25519PrivateKey.generate()
    station = enrolled(store, hex_of(old))
    with store.write() as connection:
        issue_code(connection, b"root", 24, NOW, replaces=station)
    assert who(store, station, old) == station


def test_a_spent_code_answers_its_own_device_again_and_no_other(store: Store) -> None:
    station = enrolled(store, "aa" * 32)
    with store.write() as connection:
        code = issue_code(connection, b"root", 24, NOW, replaces=station)
    ask = EnrolRequest(secret=code.secret, public_key="bb" * 32, name="new")
    for _ in range(2):
        with store.write() as connection:
            assert enrol(connection, ask, NOW) == station
    for other in ("aa" * 32, "cc" * 32):
        with pytest.raises(Forbidden, match="ask an admin"), store.write() as connection:
            enrol(connection, replace(ask, public_key=other), NOW)


def test_two_devices_that_race_for_one_replacement_do_not_both_get_it(store: Store) -> None:
    station = enrolled(store, "aa" * 32)
    with store.write() as connection:
        code = issue_code(connection, b"root", 24, NOW, replaces=station)
    start = Barrier(2)

    def race(key: str) -> bool:
        start.wait()
        try:
            with store.write() as connection:
                enrol(connection, EnrolRequest(secret=code.secret, public_key=key, name="new"), NOW)
        except Forbidden:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(race, ("bb" * 32, "cc" * 32))) == [False, True]


def test_a_key_that_is_taken_or_was_replaced_takes_over_nothing(store: Store) -> None:
    station, other = enrolled(store, "aa" * 32), enrolled(store, "bb" * 32)
    with pytest.raises(Forbidden, match="another station already"):
        replaced(store, station, "bb" * 32)
    replaced(store, station, "cc" * 32)
    for wanted in (station, other):
        with pytest.raises(Forbidden, match="replaced by another device"):
            replaced(store, wanted, "aa" * 32)
    with pytest.raises(Forbidden, match="replaced by another device"):
        enrolled(store, "aa" * 32)
    assert enrolled(store, "cc" * 32) == station, "a key says who it is, whatever the code"
    assert replaced(store, station, "cc" * 32) == station


def test_a_code_for_nobody_is_not_issued(store: Store) -> None:
    with pytest.raises(NotFound, match="none of this id"), store.write() as connection:
        issue_code(connection, b"root", 24, NOW, replaces=StationId("st-nobody"))


def pages(store: Store, station: StationId) -> list[list[Record]]:
    found: list[list[Record]] = []
    after = None
    while True:
        with store.read() as connection:
            page = history_after(connection, station, after)
        if not page.records:
            return found
        found.append(list(page.records))
        after = page.records[-1].record_id


def test_a_history_comes_in_pages_whole_and_of_its_own_station_only(
    store: Store, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = enrolled(store, "aa" * 32), enrolled(store, "bb" * 32)
    photo = stored_photo(store, blobs, b"photo")
    records = [record_of(mine, f"bag {number}", photo) for number in range(7)]
    for number, record in enumerate(records):  # two of them at each moment
        with store.write() as connection:
            take_record(connection, record, blobs, NOW + timedelta(seconds=number // 2))
    take(store, blobs, record_of(other, "another station's", photo))
    assert pages(store, StationId("st-nobody")) == []
    (whole,) = pages(store, mine)
    assert sorted(whole, key=lambda r: r.item_id) == records
    assert [{record.item_id for record in whole[at : at + 2]} for at in (0, 2)] == [
        {"bag 0", "bag 1"},
        {"bag 2", "bag 3"},
    ]
    monkeypatch.setattr(history, "MAX_RECORDS", 2)
    assert [len(page) for page in pages(store, mine)] == [2, 2, 2, 1]
    assert [record for page in pages(store, mine) for record in page] == whole
    monkeypatch.setattr(history, "MAX_BYTES", 1)
    assert [len(page) for page in pages(store, mine)] == [1] * 7
    with pytest.raises(NotFound), store.read() as connection:
        history_after(connection, mine, record_of(other, "another station's", photo).record_id)


def test_a_blind_reviewer_does_not_see_that_a_scan_repeats_another(store: Store, blobs: Blobs) -> None:
    record = replace(record_of(enrolled(store), "bag", stored_photo(store, blobs, b"photo")), rescan_of="f" * 64)
    take(store, blobs, record)
    with store.read() as connection:
        assert show_case(connection, Person(name="ann", role="reviewer"), record.record_id).record.rescan_of is None
        assert show_case(connection, Person(name="viv", role="viewer"), record.record_id).record == record


def test_a_server_of_before_is_brought_up_to_date_with_what_it_holds(url: str) -> None:
    store = Store(url)
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(sync_server.__file__).parent / "migrations"))
    with store.write() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "0001")
        connection.execute(
            text(
                "INSERT INTO stations (id, name, public_key, enrolled_at, answers) "
                "VALUES ('st-old', 'old', :key, '2026-11-01', 0)"
            ),
            {"key": "aa" * 32},
        )
        connection.execute(
            text("INSERT INTO enrolment_codes (secret_hash, expires_at, used_by) VALUES ('x', '2026-11-02', 'st-old')")
        )
    store.migrate()
    assert enrolled(store, "aa" * 32) == "st-old"
    assert replaced(store, StationId("st-old"), "bb" * 32) == "st-old"
    store.close()


def test_over_http_a_new_device_gets_the_history_and_the_old_one_a_403(
    home, client, station_class, people, png, command
) -> None:
    old, new = station_class(client), station_class(client)
    old.enrol(home.code())
    record = old.open_case("bag 70", png(70))
    code = command("enrolment-code", "--replace", old.station_id, "--home", home.home).out.strip()
    assert new.enrol(code, "dock 9").json()["audit_key"] == old.audit_key
    assert new.station_id == old.station_id
    refused = old.send("GET", "/v1/answers")
    assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")
    assert "another device took its place" in refused.json()["detail"]
    page = decode(StationHistory, new.send("GET", "/v1/station/history").json(), "history")
    assert (page.records, page.total) == ((record,), 1)
    rest = new.send("GET", f"/v1/station/history?after={record.record_id}").json()
    assert rest == {"records": [], "total": 1}
    assert new.send("GET", f"/v1/station/history?after={'0' * 64}").status_code == 404
    assert new.send("GET", "/v1/station/history?after=x").status_code == 422
    assert new.put_record(record).status_code == 200
    api = people["admin"].send("POST", "/v1/enrolment-codes", json={"replace": old.station_id})
    third = station_class(client)
    assert third.enrol(api.json()["code"]).json()["station_id"] == old.station_id
    assert people["admin"].send("POST", "/v1/enrolment-codes", json={"replace": "st-nobody"}).status_code == 404
    assert new.send("GET", "/v1/answers").status_code == 403
