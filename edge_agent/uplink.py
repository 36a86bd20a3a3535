"""Brings records to the server and the experts' answers back. Never deletes: a record leaves by the server's word only.

A case's photos go first, by content hash, then its record. Nothing that comes back is believed but the answer to the
record itself: a box in between that says 200 to everything gets no ack, and a lost answer only means sending again.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edge_agent.back_off import back_off_s
from edge_agent.journal import note
from edge_agent.outbox import CLOCK_FACT, CONTACT_FACT, ERROR_FACT, Leased, Outbox
from edge_agent.server_link import Refused, RefusedForGood, RefusedForNow, ServerLink
from runtime.contracts.codec import canonical_json
from runtime.contracts.durable import ContentFolder
from runtime.contracts.errors import StationFault, TryLater, Unsupported, Untrusted
from runtime.contracts.records import Record, RecordId, is_case
from runtime.contracts.sync import Answer, Answers, StationReport

LEASE_S = 900.0
PARKED_FOR_S = 86_400.0
REPORT_EVERY_S = 60.0
_BATCH = 32
_FAILURES_UNTIL_STOP = 3
_MAX_SEQ = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What one pass did; ``more`` tells that records are still due."""

    acked: int
    parked: int
    more: bool


class Uplink:
    """One pass at a time; the supervisor decides when."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        photos: ContentFolder,
        link: ServerLink,
        stopping: threading.Event,
        seed: int | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._outbox = outbox
        self._photos = photos
        self._link = link
        self._stopping = stopping
        self._random = random.Random(seed)  # noqa: S311 - jitter, not a secret
        self._now_s = now_s
        self._unsettled: list[RecordId] = []
        self._reported: StationReport | None = None
        self._reported_at_s = -REPORT_EVERY_S

    def push(self) -> Pushed:
        """Send what is due, the most urgent first.

        Raises:
            TryLater: the server is down or not itself; everything unsent is due again after a pause.
            StationFault: the server does not let this station in, or the disk is full.
        """
        batch = self._lease()
        acked = parked = failures = 0
        failure: TryLater | StationFault | None = None
        for leased in self._settling(batch):
            if self._stopping.is_set() or failures >= _FAILURES_UNTIL_STOP or isinstance(failure, StationFault):
                self._outbox.give_back(leased.record.record_id)
                continue
            try:
                self._send(leased.record)
            except (TryLater, StationFault) as error:
                # One record may be the server's trouble; no answer at all is trouble for every record.
                failure, failures = error, failures + (1 if isinstance(error, Refused) else _FAILURES_UNTIL_STOP)
                self._postpone(leased, error)
            except (Unsupported, Untrusted) as error:
                parked += 1
                self._park(leased, error)
            else:
                acked, failures = acked + 1, 0
                self._outbox.ack(leased.record.record_id)
                note("acked", record_id=leased.record.record_id[:12], item_id=leased.record.item_id)
        if failure is not None:
            raise failure
        return Pushed(acked=acked, parked=parked, more=len(batch) == _BATCH)

    def pull(self) -> int:
        """Fetch the experts' new answers; return how many came.

        Raises:
            TryLater: the server is down, or did not answer what this route answers.
        """
        after = self._outbox.last_answer()
        path = f"/v1/answers?after={after}"
        fresh = self._link.request("GET", path).read(Answers, "answers").answers
        _check_answers(fresh, after)
        if fresh:
            self._outbox.add_answers(fresh)
            note("answers", count=len(fresh))
        return len(fresh)

    def report(self, report: StationReport) -> None:
        """Tell the server how this station stands, when that changed or some time has passed."""
        now_s = time.monotonic()
        if report == self._reported and now_s - self._reported_at_s < REPORT_EVERY_S:
            return
        self._link.request("PUT", "/v1/station/report", canonical_json(report))
        self._reported, self._reported_at_s = report, now_s

    def remember_contact(self, error: str) -> None:
        """Keep for ``status`` and for the next start: the clock's offset, the last contact, the last error."""
        facts = {CLOCK_FACT: f"{self._link.clock_offset_s:.1f}", ERROR_FACT: error[:500]}
        if self._link.last_contact_s is not None:
            facts[CONTACT_FACT] = f"{self._link.last_contact_s:.0f}"
        known = {name: self._outbox.fact(name) for name in facts}
        contact_age_s = float(facts.get(CONTACT_FACT, "0")) - float(known.get(CONTACT_FACT) or "0")
        if known[CLOCK_FACT] != facts[CLOCK_FACT] or known[ERROR_FACT] != facts[ERROR_FACT] or contact_age_s > 30:
            self._outbox.set_facts(facts)  # not at each pass: an idle station should leave its disk alone

    def _lease(self) -> tuple[Leased, ...]:
        for record_id in tuple(self._unsettled):  # a full disk took the last pass before it could say what became of it
            self._outbox.give_back(record_id)
            self._unsettled.remove(record_id)
        batch = self._outbox.lease(now_s=self._now_s(), lease_s=LEASE_S, limit=_BATCH)
        self._unsettled = [leased.record.record_id for leased in batch]
        return batch

    def _settling(self, batch: Sequence[Leased]) -> Iterator[Leased]:
        """Yield what was leased; to ask for the next is to say that the outbox knows what became of this one."""
        for leased in batch:
            yield leased
            self._unsettled.remove(leased.record.record_id)

    def _send(self, record: Record) -> None:
        hashes = sorted({score.photo for score in record.views}) if is_case(record) else []
        for sha256 in hashes:
            if not self._is_there(sha256):
                self._put_photo(sha256)
        try:
            self._put_record(record)
        except Refused as refused:
            missing = _missing_photos(refused)
            if not missing:
                raise
            for sha256 in hashes:
                if sha256 in missing:
                    self._put_photo(sha256)
            self._put_record_again(record)

    def _put_record_again(self, record: Record) -> None:
        try:
            self._put_record(record)
        except Refused as refused:
            if not _missing_photos(refused):
                raise
            # A box in between took the photos for itself: the network is at fault, not the case.
            raise RefusedForNow(
                f"PUT /v1/records/{record.record_id}", refused.status, refused.problem, refused.retry_after_s
            ) from refused

    def _is_there(self, sha256: str) -> bool:
        try:
            self._link.request("HEAD", f"/v1/photos/{sha256}")
        except Refused as refused:  # an answer to HEAD has no body, so no problem document
            if refused.status == 404:
                return False
            raise
        return True

    def _put_photo(self, sha256: str) -> None:
        try:
            data = self._photos.read(sha256)
        except OSError as error:
            raise Untrusted(
                f"photo {sha256[:12]}: cannot be read ({error.strerror}); restore it from a copy, the case waits"
            ) from error
        self._link.request("PUT", f"/v1/photos/{sha256}", data, content_type="application/octet-stream")

    def _put_record(self, record: Record) -> None:
        path = f"/v1/records/{record.record_id}"
        what = f"PUT {path}"
        stored = self._link.request("PUT", path, canonical_json(record)).data(what)
        if not isinstance(stored, dict) or stored.get("id") != record.record_id:
            raise TryLater(f"{what}: expected the server's word that it stored this record; will send it again")

    def _postpone(self, leased: Leased, error: TryLater | StationFault) -> None:
        wait_s = back_off_s(leased.attempts, self._random)
        if isinstance(error, Refused):
            wait_s = max(wait_s, error.retry_after_s)
        self._outbox.postpone(leased.record.record_id, until_s=self._now_s() + wait_s, error=str(error))

    def _park(self, leased: Leased, error: Unsupported | Untrusted) -> None:
        self._outbox.park(leased.record.record_id, until_s=self._now_s() + PARKED_FOR_S, error=str(error))
        status = error.status if isinstance(error, RefusedForGood) else None
        note(
            "parked", record_id=leased.record.record_id[:12], item_id=leased.record.item_id, why=str(error), http=status
        )


def _missing_photos(refused: Refused) -> list[str]:
    missing = refused.problem.get("missing")
    return missing if refused.status == 409 and isinstance(missing, list) else []


def _check_answers(answers: tuple[Answer, ...], after: int) -> None:
    for answer in answers:
        if not after < answer.seq < _MAX_SEQ:
            raise TryLater(f"answers: expected a seq above {after}, got {answer.seq}; will ask again")
        after = answer.seq
