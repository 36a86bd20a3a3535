"""What the operator page and the commands read: in order, in pages, with what became of each record."""

from __future__ import annotations

import pytest

from edge_agent.outbox import AUDITED, OBJECTED, READ_FACT, REST, SUSPECT, Outbox
from runtime.contracts.errors import Unsupported
from runtime.contracts.records import Record, RecordId
from runtime.contracts.sync import MAX_OBJECTION_CHARS, Answer, Objection
from tests.edge_agent.rigs import make_record

AT = "2026-11-27T09:30:00+00:00"


def answer(seq: int, record: Record) -> Answer:
    return Answer(
        seq=seq, record_id=record.record_id, item_id=record.item_id, outcome="genuine", resolved_at="2026-11-24"
    )


def items(listed: tuple[object, ...]) -> list[str]:
    return [one.record.item_id for one in listed]  # type: ignore[attr-defined]


@pytest.fixture
def five(outbox: Outbox) -> Outbox:
    outbox.add(make_record(1, verdict="authentic"))
    outbox.add(make_record(2, verdict="authentic", audited=True))
    outbox.add(make_record(3, verdict="uncertain"))
    outbox.add(make_record(4, verdict="suspect", audited=True))
    outbox.add(make_record(11, verdict="authentic"))
    return outbox


def test_pages_go_back_from_the_newest_and_end(five: Outbox) -> None:
    first = five.page(None, 2)
    second = five.page(first[-1].seq, 2)
    assert [items(first), items(second)] == [["item 11", "item 4"], ["item 3", "item 2"]]
    assert items(five.page(second[-1].seq, 2)) == ["item 1"]
    assert five.page(1, 2) == ()


def test_a_page_can_be_of_one_item_or_one_state(five: Outbox) -> None:
    assert items(five.page(None, 9, "ITEM 1")) == ["item 11", "item 1"]
    assert items(five.page(None, 9, "%")) == []
    five.ack(make_record(3).record_id)
    five.park(make_record(4).record_id, until_s=9, error="refused")
    assert items(five.page(None, 9, states=("acked",))) == ["item 3"]
    assert items(five.page(None, 9, states=("pending", "parked"))) == ["item 11", "item 4", "item 2", "item 1"]


def test_a_listed_record_says_what_became_of_it(five: Outbox) -> None:
    record = make_record(4, verdict="suspect", audited=True)
    five.park(record.record_id, until_s=9, error="the server said no")
    five.add_answers([answer(7, record), answer(9, record)])
    (listed,) = five.page(None, 1, "item 4")
    assert (listed.seq, listed.record, listed.state, listed.priority) == (4, record, "parked", SUSPECT)
    assert (listed.objected, listed.error, listed.answer) == (False, "the server said no", answer(9, record))
    assert [one.priority for one in five.page(None, 9)][-1] == REST
    assert [one.priority for one in five.page(None, 9, "item 2")] == [AUDITED]


def test_cases_without_an_answer_wait_and_audited_scans_are_held(five: Outbox) -> None:
    assert items(five.waiting(9)) == ["item 2", "item 3", "item 4"]
    assert items(five.waiting(2)) == ["item 2", "item 3"]
    assert items(five.holds(9)) == ["item 2", "item 4"]
    five.ack(make_record(2).record_id)
    assert items(five.waiting(9)) == ["item 2", "item 3", "item 4"], "taken by the server is not answered"
    five.add_answers([answer(1, make_record(2)), answer(2, make_record(3))])
    assert items(five.waiting(9)) == items(five.holds(9)) == ["item 4"]


def test_waiting_cases_are_found_by_an_index(five: Outbox) -> None:
    statements: list[str] = []
    five._db.set_trace_callback(statements.append)
    five.waiting(5)
    five._db.set_trace_callback(None)
    (query,) = [one for one in statements if "SELECT" in one]
    plan = [row[3] for row in five._db.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert not [step for step in plan if step.startswith("SCAN")], plan


def test_an_objection_makes_a_case_that_goes_first_and_the_counts_stay_right(five: Outbox) -> None:
    record = make_record(1, verdict="authentic")
    five.ack(record.record_id)
    five.object_to(record.record_id, "the seam is crooked", AT)
    five.object_to(record.record_id, "the seam is crooked", "2026-11-28T00:00:00+00:00")
    tally = five.tally()
    assert (tally.recorded, tally.acked, tally.pending, tally.cases, tally.waiting_cases) == (5, 0, 5, 4, 4)
    (listed,) = five.page(2, 1)
    assert (listed.objected, listed.priority, listed.state, listed.record) == (True, OBJECTED, "pending", record)
    assert items(five.waiting(9))[0] == "item 1"
    first = five.lease(now_s=0, lease_s=1, limit=9)[0]
    assert (first.record, first.objection) == (record, Objection(text="the seam is crooked", made_at=AT))


def test_photos_of_a_record_that_somebody_objected_to_never_go(outbox: Outbox) -> None:
    outbox.add(make_record(1, verdict="authentic", photos=["a" * 64]))
    outbox.object_to(make_record(1).record_id, "x", AT)
    assert outbox.drop_oldest(str) is None
    assert outbox.unsent_photos(audited_only=False) == ("a" * 64,)


def test_an_objection_to_a_case_sends_it_again(five: Outbox) -> None:
    record = make_record(4, verdict="suspect", audited=True)
    five.ack(record.record_id)
    five.object_to(record.record_id, "it is genuine", AT)
    (leased,) = five.lease(now_s=0, lease_s=1, limit=1)
    assert leased.record == record
    five.ack(record.record_id, objected=True)
    assert five.tally().acked == 1


def test_an_ack_that_knows_nothing_of_an_objection_does_not_lose_it(five: Outbox) -> None:
    record_id = make_record(3).record_id
    leased = {one.record.item_id: one for one in five.lease(now_s=0, lease_s=900, limit=9)}
    assert leased["item 3"].objection is None
    five.object_to(record_id, "look at the clasp", AT)  # while the record is on its way
    five.ack(record_id)
    assert five.tally().acked == 0
    (again,) = five.lease(now_s=0, lease_s=900, limit=9)
    assert again.objection is not None
    five.ack(record_id, objected=True)
    assert five.tally().acked == 1
    assert five.page(4, 1)[0].objected


def test_what_cannot_be_objected_to_says_why_and_changes_nothing(five: Outbox) -> None:
    five.add(make_record(20, verdict="authentic", photos=["a" * 64]))
    for _ in range(3):
        five.drop_oldest(str)
    five.object_to(make_record(3).record_id, "one thing", AT)
    for record_id, text, made_at, why in (
        (make_record(20).record_id, "x", AT, "scan it again"),
        (RecordId("f" * 64), "x", AT, "none of this id"),
        (make_record(3).record_id, "another thing", AT, "already"),
        (make_record(4).record_id, " ", AT, "say in a few words"),
        (make_record(4).record_id, "a\x00b", AT, "say in a few words"),
        (make_record(4).record_id, "x" * (MAX_OBJECTION_CHARS + 1), AT, "say in a few words"),
        (make_record(4).record_id, "x", "yesterday", "ISO 8601"),
        (make_record(4).record_id, "x", "2026-11-27T09:30:00", "ISO 8601"),
    ):
        with pytest.raises(Unsupported, match=why):
            five.object_to(record_id, text, made_at)
    assert [one.record.item_id for one in five.page(None, 9) if one.objected] == ["item 3"]


def test_what_a_person_has_read_is_a_fact(five: Outbox) -> None:
    assert five.fact(READ_FACT) is None
    five.set_facts({READ_FACT: "7"})
    assert five.fact(READ_FACT) == "7"
    five.add_answers([answer(seq, make_record(3)) for seq in (6, 7, 8)])
    assert [one.seq for one in five.answers(after=7)] == [8]


def test_the_photos_of_unsent_cases_are_listed_once(outbox: Outbox) -> None:
    outbox.add(make_record(1, verdict="authentic", photos=["a" * 64]))
    outbox.add(make_record(2, verdict="authentic", audited=True, photos=["b" * 64, "c" * 64]))
    outbox.add(make_record(3, verdict="uncertain", photos=["c" * 64]))
    outbox.add(make_record(4, verdict="suspect", photos=["d" * 64]))
    outbox.ack(make_record(4).record_id)
    assert outbox.unsent_photos(audited_only=False) == ("b" * 64, "c" * 64)
    assert outbox.unsent_photos(audited_only=True) == ("b" * 64, "c" * 64)
