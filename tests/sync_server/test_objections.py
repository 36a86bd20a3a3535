"""Objections: the same tests over SQLite and a real PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from runtime.contracts.errors import Unsupported
from runtime.contracts.records import (
    Label,
    Record,
    StationId,
)
from runtime.contracts.sync import Objection
from sync_server.auth import Person
from sync_server.blobs import Blobs
from sync_server.cases import LabelResult, answers_after, label_case, next_open, show_case
from sync_server.datasets import freeze
from sync_server.objections import take_objection
from sync_server.refusals import Conflict, Forbidden, NotFound, PhotosMissing
from sync_server.schema import CASES
from sync_server.store import Store
from tests.sync_server.store_rigs import NOW, enrolled, record_of, stored_photo, take


def objecting(
    store: Store, blobs: Blobs, record: Record, text: str = "a seam", station: StationId | None = None
) -> bool:
    with store.write() as connection:
        objection = Objection(text=text, made_at="2026-11-27T09:30:00+00:00")
        return take_objection(connection, record.record_id, station or record.station_id, objection, blobs, NOW)


def test_an_objection_opens_a_case_once_and_shows_what_was_seen(
    store: Store, blobs: Blobs, reviewers: list[Person]
) -> None:
    photo = stored_photo(store, blobs, b"photo")
    record = replace(record_of(enrolled(store), "bag", photo), verdict="authentic")
    take(store, blobs, record)
    assert objecting(store, blobs, record)
    assert not objecting(store, blobs, record)
    with store.read() as connection:
        detail = show_case(connection, reviewers[0], record.record_id)
    assert (detail.blind, detail.case.state) == (True, "open")
    assert detail.objection == Objection(text="a seam", made_at="2026-11-27T09:30:00+00:00")
    with pytest.raises(Conflict, match="not replaced"):
        objecting(store, blobs, record, "another seam")


def test_an_objection_sent_twice_at_once_makes_one_case(store: Store, blobs: Blobs) -> None:
    record = replace(record_of(enrolled(store), "bag", stored_photo(store, blobs, b"photo")), verdict="authentic")
    take(store, blobs, record)
    with ThreadPoolExecutor(4) as pool:
        new = list(pool.map(lambda _: objecting(store, blobs, record), range(4)))
    assert sorted(new) == [False, False, False, True]
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(CASES)).scalar_one() == 1


def said(store: Store, person: Person, record: Record, label: Label, minutes: int) -> LabelResult:
    with store.write() as connection:
        return label_case(connection, person, record.record_id, label, 2, NOW + timedelta(minutes=minutes))


def answered(store: Store, record: Record, after: int = 0) -> list[tuple[int, Label]]:
    with store.read() as connection:
        return [(one.seq, one.outcome) for one in answers_after(connection, record.station_id, after).answers]


def settled_then_objected(store: Store, blobs: Blobs, reviewers: list[Person]) -> Record:
    record = record_of(enrolled(store), "bag", stored_photo(store, blobs, b"photo"))
    take(store, blobs, record)
    for minutes, person in enumerate(reviewers[:2]):
        said(store, person, record, "genuine", minutes - 10)
    assert [objecting(store, blobs, record) for _ in range(2)] == [True, False]
    return record


def test_an_objection_to_a_settled_case_brings_it_back_to_the_experts(
    store: Store, blobs: Blobs, reviewers: list[Person]
) -> None:
    ann, ben, cem, _ = reviewers
    record = settled_then_objected(store, blobs, reviewers)
    assert answered(store, record) == [(1, "genuine")], "the answer that it gave stands"
    with store.read() as connection:
        detail, stranger = (show_case(connection, person, record.record_id) for person in (ann, cem))
        assert [next_open(connection, person) for person in reviewers] == [record.record_id] * 4
    with store.write() as connection:
        assert not freeze(connection, NOW)[0].dataset.items
    shown = detail.case
    assert (shown.state, shown.outcome, shown.mine, shown.to_look_again) == ("open", None, "genuine", True)
    assert (detail.blind, detail.objection is not None) == (True, True)
    assert [given.person for given in detail.labels] == [ann.name]
    assert (stranger.labels, stranger.case.to_look_again) == ((), False)

    assert said(store, ann, record, "counterfeit", 1).state == "open"
    with store.read() as connection:
        assert next_open(connection, ann) is None
        assert next_open(connection, ben) == record.record_id
    assert said(store, cem, record, "counterfeit", 2).state == "open"
    assert answered(store, record) == [(1, "genuine")]
    assert said(store, ben, record, "counterfeit", 3).outcome == "counterfeit"
    assert answered(store, record, after=1) == [(2, "counterfeit")]
    assert not objecting(store, blobs, record), "the same objection again reopens nothing"
    with store.read() as connection:
        assert show_case(connection, ann, record.record_id).case.state == "resolved"


def test_an_expert_who_says_the_same_again_settles_a_reopened_case(
    store: Store, blobs: Blobs, reviewers: list[Person]
) -> None:
    record = settled_then_objected(store, blobs, reviewers)
    assert said(store, reviewers[0], record, "genuine", 1).outcome == "genuine"
    assert answered(store, record, after=1) == [(2, "genuine")]
    assert said(store, reviewers[0], record, "genuine", 2).outcome == "genuine"
    assert answered(store, record, after=2) == []


def test_an_objection_needs_its_record_its_station_and_its_photos(store: Store, blobs: Blobs) -> None:
    record = replace(record_of(enrolled(store), "bag", "f" * 64), verdict="authentic")
    with pytest.raises(NotFound, match="before its objection"):
        objecting(store, blobs, record)
    take(store, blobs, record)
    with pytest.raises(PhotosMissing) as refused:
        objecting(store, blobs, record)
    assert refused.value.missing == ("f" * 64,)
    with pytest.raises(Forbidden, match="another station's"):
        objecting(store, blobs, record, station=enrolled(store, "cd" * 32))
    with pytest.raises(Unsupported, match="say in a few words"):
        objecting(store, blobs, record, "\x00")
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(CASES)).scalar_one() == 0
