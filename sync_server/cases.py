"""Cases: what waits for an expert, their labels, and the answers that go back to the stations.

Labels are blind: while a case is open, whoever may label it sees neither the others' labels nor what the model thought,
even after their own label, which they may still change. A station's answers are numbered under a lock on its row, so a
lower number is never seen later.

A settled case that a person at the station objects to is open again. Its labels stay, and so does the answer that it
gave, until it settles by a label given since: that is another answer, with a number of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, case, func, select, update

from runtime.contracts.codec import decode, parse_json
from runtime.contracts.durable import check_hash
from runtime.contracts.errors import Unsupported
from runtime.contracts.records import ItemId, Label, Prediction, Record, RecordId, StationId, check_name
from runtime.contracts.sync import Answer, Answers, Objection
from sync_server.auth import Person
from sync_server.consensus import outcome_of
from sync_server.refusals import Conflict, NotFound
from sync_server.schema import CASES, LABELS, OBJECTIONS, RECORDS, STATIONS, stamp
from sync_server.store import insert_new

CaseState = Literal["open", "resolved"]
MAX_ANSWERS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseSummary:
    """One line of the list.

    Attributes:
        opened_at: ISO 8601 in UTC.
        reopened_at: when a person at the station brought it back after it had been settled.
        photo: SHA-256 of the first photo, if any.
        mine: the asker's own label.
        to_look_again: that label is from before the case was reopened.
        outcome: what a settled case is settled as.
    """

    record_id: RecordId
    item_id: ItemId
    station_id: StationId
    station: str
    state: CaseState
    opened_at: str
    reopened_at: str | None
    photo: str | None
    mine: Label | None
    to_look_again: bool
    outcome: Label | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePage:
    """Part of the list; pass ``next_after`` as ``after`` for the following part (``None``: there is none)."""

    cases: tuple[CaseSummary, ...]
    next_after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelGiven:
    """One expert's answer; ``at`` is ISO 8601 in UTC."""

    person: str
    label: Label
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseDetail:
    """One case as its asker may see it.

    It is ``blind`` for whoever may label it, until it is settled: the record's verdict reads ``uncertain``; its
    reasons, prediction, logits, timings, which scan it repeats and whether it was audited are blanked; ``labels`` holds
    only the asker's own. What a person at the station objected
    is shown all the same: it is what they saw, for the expert to look at.
    """

    case: CaseSummary
    record: Record
    blind: bool
    labels: tuple[LabelGiven, ...]
    objection: Objection | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelResult:
    """What a label did: the case's state afterwards, and the outcome if it is settled."""

    record_id: RecordId
    label: Label
    state: CaseState
    outcome: Label | None


def list_cases(
    connection: Connection, person: Person, state: CaseState | None, after: str | None, limit: int
) -> CasePage:
    """Return cases: open ones first, each group oldest first.

    Args:
        connection: a reading transaction.
        person: who asks.
        state: only these; ``None``: all.
        after: ``next_after`` of the part before.
        limit: at most this many, 1 to 200.

    Raises:
        Unsupported: ``after`` cannot be one that was given out.
    """
    rank = case((CASES.c.state == "open", "0"), else_="1")
    key = rank + ":" + CASES.c.opened_at + ":" + CASES.c.record_id
    query = _summaries(person).add_columns(key.label("key")).order_by(key).limit(limit + 1)
    if state is not None:
        query = query.where(CASES.c.state == state)
    if after:
        query = query.where(key > check_name(after, "after"))
    rows = connection.execute(query).all()
    more = len(rows) > limit
    shown = rows[:limit]
    return CasePage(cases=tuple(_summary(row) for row in shown), next_after=shown[-1].key if more else None)


def count_open(connection: Connection) -> int:
    """Return how many cases wait."""
    return connection.execute(select(func.count()).where(CASES.c.state == "open")).scalar_one()


def next_open(connection: Connection, person: Person) -> RecordId | None:
    """Return the oldest open case that ``person`` has not labelled, or not since it was reopened."""
    unseen = LABELS.c.label.is_(None) | (LABELS.c.at <= CASES.c.reopened_at)
    query = _summaries(person).where(CASES.c.state == "open", unseen)
    row = connection.execute(query.order_by(CASES.c.opened_at, CASES.c.record_id).limit(1)).one_or_none()
    return None if row is None else row.record_id


def show_case(connection: Connection, person: Person, record_id: str) -> CaseDetail:
    """Return one case with what ``person`` may see of it now.

    Raises:
        NotFound: there is no such case.
    """
    row = connection.execute(_summaries(person).where(CASES.c.record_id == _case_id(record_id))).one_or_none()
    if row is None:
        raise NotFound(f"case {record_id[:12]!r}: there is none of this id")
    summary = _summary(row)
    blind = may_label(person) and summary.state == "open"
    given = connection.execute(select(LABELS).where(LABELS.c.record_id == record_id).order_by(LABELS.c.at))
    labels = tuple(
        LabelGiven(person=label.person, label=label.label, at=label.at)
        for label in given
        if not blind or label.person == person.name
    )
    record = read_record(row.body)
    return CaseDetail(
        case=summary,
        record=blinded(record) if blind else record,
        blind=blind,
        labels=labels,
        objection=find_objection(connection, record_id),
    )


def find_objection(connection: Connection, record_id: str) -> Objection | None:
    """Return what a person at the station objected to a record, if anybody did."""
    row = connection.execute(select(OBJECTIONS).where(OBJECTIONS.c.record_id == record_id)).one_or_none()
    return None if row is None else Objection(text=row.text, made_at=row.made_at)


def may_label(person: Person) -> bool:
    """Tell whether this person labels cases."""
    return person.role in ("reviewer", "admin")


def label_case(
    connection: Connection, person: Person, record_id: str, label: Label, labels_needed: int, now: datetime
) -> LabelResult:
    """Give or change a label; settle the case when one answer leads by ``labels_needed``.

    In a reopened case all labels count, and the same label given anew is a second look: it may settle the case, too.

    Raises:
        Conflict: the case is settled, with another label of this person or none.
        Forbidden: this person does not label.
        NotFound: there is no such case.
    """
    person.must_be("reviewer")
    query = select(CASES).where(CASES.c.record_id == _case_id(record_id)).with_for_update()
    found = connection.execute(query).one_or_none()
    if found is None:
        raise NotFound(f"case {record_id[:12]!r}: there is none of this id")
    mine = (LABELS.c.record_id == record_id) & (LABELS.c.person == person.name)
    given = connection.execute(select(LABELS.c.label, LABELS.c.at).where(mine)).one_or_none()
    is_new = given is None or given.label != label or _is_before(given.at, found.reopened_at)
    outcome: Label | None = found.outcome if found.state == "resolved" else None
    if found.state == "resolved" and (given is None or given.label != label):
        raise Conflict(f"case {record_id[:12]}: it is settled already; labels no longer change")
    if found.state == "open" and is_new:
        row = {"record_id": record_id, "person": person.name, "label": label, "at": stamp(now)}
        if not insert_new(connection, LABELS, row):
            connection.execute(update(LABELS).where(mine).values(label=label, at=stamp(now)))
        labels = connection.execute(select(LABELS.c.label).where(LABELS.c.record_id == record_id)).scalars()
        outcome = outcome_of(labels, labels_needed)
        if outcome is not None:
            _settle(connection, found, outcome, now)
    state: CaseState = "open" if outcome is None else "resolved"
    return LabelResult(record_id=RecordId(record_id), label=label, state=state, outcome=outcome)


def reopen_case(connection: Connection, record_id: RecordId, now: datetime) -> None:
    """Bring a settled case back to the experts; one that is open stays as it is."""
    settled = (CASES.c.record_id == record_id) & (CASES.c.state == "resolved")
    connection.execute(update(CASES).where(settled).values(state="open", reopened_at=stamp(now)))


def answers_after(connection: Connection, station_id: StationId, after: int) -> Answers:
    """Return a station's answers with ``seq`` above ``after``, oldest first, at most 500."""
    query = (
        select(CASES, RECORDS.c.item_id)
        .join(RECORDS, RECORDS.c.record_id == CASES.c.record_id)
        .where(CASES.c.station_id == station_id, CASES.c.seq > after)
        .order_by(CASES.c.seq)
        .limit(MAX_ANSWERS)
    )
    return Answers(
        answers=tuple(
            Answer(
                seq=row.seq,
                record_id=row.record_id,
                item_id=row.item_id,
                outcome=row.outcome,
                resolved_at=row.resolved_at,
            )
            for row in connection.execute(query)
        )
    )


def blinded(record: Record) -> Record:
    """Return ``record`` without anything that would tell an expert what the model thinks."""
    return replace(
        record,
        verdict="uncertain",
        reasons=(),
        prediction=Prediction(p_counterfeit=None, p_fraud=None),
        audited=False,
        views=tuple(replace(view, logit=None) for view in record.views),
        timings_us={},
        rescan_of=None,
    )


def read_record(body: str) -> Record:
    """Decode a stored record."""
    return decode(Record, parse_json(body.encode(), "record"), "record")


def _case_id(text: str) -> RecordId:
    try:
        return RecordId(check_hash(text))
    except Unsupported as error:
        raise NotFound(f"case {text[:12]!r}: there is none of this id") from error


def _settle(connection: Connection, found: Row[Any], outcome: Label, now: datetime) -> None:
    # the counter's row lock is held until commit: this station's numbers become visible in their order
    counter = update(STATIONS).where(STATIONS.c.id == found.station_id).values(answers=STATIONS.c.answers + 1)
    seq = connection.execute(counter.returning(STATIONS.c.answers)).scalar_one()
    values = {"state": "resolved", "outcome": outcome, "resolved_at": stamp(now), "seq": seq}
    connection.execute(update(CASES).where(CASES.c.record_id == found.record_id).values(values))


def _summaries(person: Person) -> Select[Any]:
    mine = (LABELS.c.record_id == CASES.c.record_id) & (LABELS.c.person == person.name)
    return (
        select(CASES, RECORDS.c.item_id, RECORDS.c.body, STATIONS.c.name.label("station"))
        .add_columns(LABELS.c.label.label("mine"), LABELS.c.at.label("mine_at"))
        .join(RECORDS, RECORDS.c.record_id == CASES.c.record_id)
        .join(STATIONS, STATIONS.c.id == CASES.c.station_id)
        .join(LABELS, mine, isouter=True)
    )


def _summary(row: Row[Any]) -> CaseSummary:
    views = read_record(row.body).views
    return CaseSummary(
        record_id=row.record_id,
        item_id=row.item_id,
        station_id=row.station_id,
        station=row.station,
        state=row.state,
        opened_at=row.opened_at,
        reopened_at=row.reopened_at,
        photo=views[0].photo if views else None,
        mine=row.mine,
        to_look_again=row.state == "open" and row.mine is not None and _is_before(row.mine_at, row.reopened_at),
        outcome=row.outcome if row.state == "resolved" else None,
    )


def _is_before(labelled_at: str, reopened_at: str | None) -> bool:
    return reopened_at is not None and labelled_at <= reopened_at
