"""What the page lists of the outbox: records, cases that wait, items to hold. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from edge_agent.outbox import Outbox
from runtime.contracts.codec import decode, parse_json
from runtime.contracts.records import Record
from runtime.contracts.sync import Answer

State = Literal["pending", "parked", "acked"]
_ANSWER = ("seq", "record_id", "item_id", "outcome", "resolved_at")
_LISTED = """
    SELECT record.seq, body, state, answer.seq, answer.record_id, answer.item_id, outcome, resolved_at FROM record
    LEFT JOIN answer ON answer.seq = (SELECT MAX(seq) FROM answer WHERE answer.record_id = record.record_id)
"""


class Listed(Protocol):
    """One record and what became of it."""

    @property
    def seq(self) -> int:
        """Its number at this station, in the order of scanning."""
        ...

    @property
    def record(self) -> Record:
        """As it was scanned."""
        ...

    @property
    def state(self) -> State:
        """``parked``: the server refused it for good."""
        ...

    @property
    def objected(self) -> bool:
        """Whether a person here disagreed with its verdict."""
        ...

    @property
    def answer(self) -> Answer | None:
        """The experts' word, if it has come."""
        ...


class Ledger(Protocol):
    """What the desk reads of the outbox."""

    def page(self, before: int | None, limit: int, item: str = "") -> tuple[Listed, ...]:
        """Return records, newest first: those with a lower ``seq`` than ``before``, whose item id contains ``item``."""
        ...

    def waiting(self, limit: int) -> tuple[Listed, ...]:
        """Return cases without an answer, oldest first."""
        ...

    def holds(self, limit: int) -> tuple[Listed, ...]:
        """Return scans drawn for audit without an answer, oldest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    seq: int
    record: Record
    state: State
    objected: bool
    answer: Answer | None


class OwnLedger:
    """A ledger by SQL of its own."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def page(self, before: int | None, limit: int, item: str = "") -> tuple[_Row, ...]:
        """See ``Ledger``."""
        return self._listed(
            "WHERE record.seq < ? AND instr(lower(record.item_id), lower(?)) > 0 ORDER BY record.seq DESC LIMIT ?",
            2**62 if before is None else before,
            item,
            limit,
        )

    def waiting(self, limit: int) -> tuple[_Row, ...]:
        """See ``Ledger``."""
        return self._listed("WHERE is_case = 1 AND answer.seq IS NULL ORDER BY record.seq LIMIT ?", limit)

    def holds(self, limit: int) -> tuple[_Row, ...]:
        """See ``Ledger``."""
        audited = "json_extract(CAST(body AS TEXT), '$.audited')"
        return self._listed(
            f"WHERE is_case = 1 AND answer.seq IS NULL AND {audited} ORDER BY record.seq LIMIT ?", limit
        )

    def _listed(self, which: str, *values: object) -> tuple[_Row, ...]:
        with self._outbox.reading() as db:
            rows: list[tuple[Any, ...]] = db.execute(_LISTED + which, values).fetchall()
        return tuple(
            _Row(
                seq=seq,
                record=decode(Record, parse_json(body, "outbox: record"), "outbox: record"),
                state=state,
                objected=False,
                answer=None
                if answer[0] is None
                else decode(Answer, dict(zip(_ANSWER, answer, strict=True)), "outbox: answer"),
            )
            for seq, body, state, *answer in rows
        )
