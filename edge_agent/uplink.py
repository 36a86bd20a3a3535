"""Brings records to the server and the experts' answers back. Never deletes: a record leaves by the server's word only.

A case's photos go first, by content hash, then its record, then what a person here objected. Nothing that comes back
is believed but the answer to the record itself: a box in between that says 200 to everything gets no ack, and a lost
answer only means sending again.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edge_agent.back_off import back_off_s
from edge_agent.bandwidth import Bandwidth
from edge_agent.journal import note
from edge_agent.meter import Meter
from edge_agent.metrics import ACKED, PARKED, UPLOAD, Metrics
from edge_agent.outbox import CLOCK_FACT, CONTACT_FACT, ERROR_FACT, UNCERTAIN, Leased, Outbox
from edge_agent.outbox_traffic import Telemetry
from edge_agent.photo_upload import PhotoUpload
from edge_agent.server_link import Refused, RefusedForGood, RefusedForNow, ServerLink
from runtime.contracts.codec import canonical_json
from runtime.contracts.durable import ContentFolder
from runtime.contracts.errors import StationFault, TryLater, Unsupported, Untrusted
from runtime.contracts.records import RecordId, is_case
from runtime.contracts.sync import Answer, Answers, StationReport

LEASE_S = 900.0
PARKED_FOR_S = 86_400.0
REPORT_EVERY_S = 60.0
PIECE_BYTES = 1024 * 1024
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
        metrics: Metrics | None = None,
        meter: Meter | None = None,
        piece_bytes: int = PIECE_BYTES,
        seed: int | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._outbox = outbox
        self._link = link
        self._stopping = stopping
        self._metrics = metrics or Metrics()
        self._random = random.Random(seed)  # noqa: S311 - jitter, not a secret
        self._now_s = now_s
        self._meter = meter or Meter(outbox, Bandwidth())
        self._upload = PhotoUpload(
            photos=photos, link=link, meter=self._meter, piece_bytes=piece_bytes, stopping=stopping
        )
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
        photos_wait = False
        for leased in self._settling(batch):
            gone = self._stopping.is_set() or failures >= _FAILURES_UNTIL_STOP or isinstance(failure, StationFault)
            if gone or (photos_wait and _photos_of(leased)):
                self._outbox.give_back(leased.record.record_id)
                continue
            started_ns = time.monotonic_ns()
            try:
                sent = self._send(leased)
            except (TryLater, StationFault) as error:
                # One record may be the server's trouble; no answer at all is trouble for every record.
                failure, failures = error, failures + (1 if isinstance(error, Refused) else _FAILURES_UNTIL_STOP)
                self._postpone(leased, error)
            except (Unsupported, Untrusted) as error:
                parked += 1
                self._park(leased, error)
            else:
                failures = 0
                if sent:
                    acked += 1
                    self._ack(leased)
                    self._metrics.count(ACKED)
                    self._metrics.observe(UPLOAD, (time.monotonic_ns() - started_ns) // 1000)
                else:
                    photos_wait = True
                    self._outbox.give_back(leased.record.record_id)
        if failure is not None:
            raise failure
        return Pushed(acked=acked, parked=parked, more=len(batch) == _BATCH)

    def tell(self) -> bool:
        """Send telemetry, when no record is due; tell whether there is more. What the server will not have is dropped.

        Raises:
            TryLater: the server is down; what it has not taken stays.
            StationFault: the server does not let this station in.
        """
        batch = self._outbox.telemetry(_BATCH)
        done: list[int] = []
        try:
            for one in batch:
                if self._stopping.is_set() or not self._meter.take(len(one.body), urgent=False, whole=True):
                    break
                self._tell(one)
                done.append(one.seq)
        finally:
            if done:
                self._outbox.remove_telemetry(done)
        return len(done) == _BATCH

    def _tell(self, one: Telemetry) -> None:
        try:
            self._link.request("PUT", f"/v1/station/heartbeats/{one.seq}", one.body)
        except Refused as refused:
            if refused.status != 404 and not isinstance(refused, RefusedForGood):
                raise
            note("telemetry_dropped", seq=one.seq, why=str(refused), http=refused.status)

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
        for record_id in tuple(
            self._unsettled
        ):  # a full disk ended the last pass before it could note what became of it
            self._outbox.give_back(record_id)
            self._unsettled.remove(record_id)
        photos_up_to = self._meter.photos_up_to()
        batch = self._outbox.lease(now_s=self._now_s(), lease_s=LEASE_S, limit=_BATCH, photos_up_to=photos_up_to)
        self._unsettled = [leased.record.record_id for leased in batch]
        return batch

    def _settling(self, batch: Sequence[Leased]) -> Iterator[Leased]:
        """Yield what was leased; to ask for the next is to say that the outbox knows what became of this one."""
        for leased in batch:
            yield leased
            self._unsettled.remove(leased.record.record_id)

    def _send(self, leased: Leased) -> bool:
        """Send one record with all that belongs to it; False: its photos must wait."""
        record, objection = leased.record, leased.objection
        path = f"/v1/records/{record.record_id}"
        photos, urgent = _photos_of(leased), leased.priority <= UNCERTAIN
        if not all(self._upload.send(sha256, urgent=urgent) for sha256 in photos):
            return False
        if not self._put(path, canonical_json(record), record.record_id, photos, urgent):
            return False
        return objection is None or self._put(
            f"{path}/objection", canonical_json(objection), record.record_id, photos, urgent
        )

    def _put(self, path: str, body: bytes, id_: str, photos: Sequence[str], urgent: bool) -> bool:
        """Put what needs photos; those that the server misses after all are sent then, and it once more."""
        try:
            self._put_once(path, body, id_)
        except Refused as refused:
            missing = _missing_photos(refused)
            if not missing:
                raise
            again = (sha256 for sha256 in photos if sha256 in missing)
            if not all(self._upload.send(sha256, urgent=urgent, even_if_there=True) for sha256 in again):
                return False
            self._put_again(path, body, id_)
        return True

    def _put_again(self, path: str, body: bytes, id_: str) -> None:
        try:
            self._put_once(path, body, id_)
        except Refused as refused:
            if not _missing_photos(refused):
                raise
            # A box in between took the photos for itself: the network is at fault, not the case.
            raise RefusedForNow(f"PUT {path}", refused.status, refused.problem, refused.retry_after_s) from refused

    def _put_once(self, path: str, body: bytes, id_: str) -> None:
        what = f"PUT {path}"
        stored = self._link.request("PUT", path, body).data(what)
        if not isinstance(stored, dict) or stored.get("id") != id_:
            raise TryLater(f"{what}: expected the server's word that it stored this; will send it again")

    def _ack(self, leased: Leased) -> None:
        record, objected = leased.record, leased.objection is not None
        self._outbox.ack(record.record_id, acked_s=self._link.server_now_s(), objected=objected)
        note("acked", record_id=record.record_id[:12], item_id=record.item_id)

    def _postpone(self, leased: Leased, error: TryLater | StationFault) -> None:
        wait_s = back_off_s(leased.attempts, self._random)
        if isinstance(error, Refused):
            wait_s = max(wait_s, error.retry_after_s)
        self._outbox.postpone(leased.record.record_id, until_s=self._now_s() + wait_s, error=str(error))

    def _park(self, leased: Leased, error: Unsupported | Untrusted) -> None:
        self._outbox.park(leased.record.record_id, until_s=self._now_s() + PARKED_FOR_S, error=str(error))
        self._metrics.count(PARKED)
        status = error.status if isinstance(error, RefusedForGood) else None
        note(
            "parked", record_id=leased.record.record_id[:12], item_id=leased.record.item_id, why=str(error), http=status
        )


def _photos_of(leased: Leased) -> tuple[str, ...]:
    """Return the photos that go before this record: those of a case, in a fixed order."""
    if not is_case(leased.record) and leased.objection is None:
        return ()
    return tuple(sorted({score.photo for score in leased.record.views}))


def _missing_photos(refused: Refused) -> list[str]:
    missing = refused.problem.get("missing")
    return missing if refused.status == 409 and isinstance(missing, list) else []


def _check_answers(answers: tuple[Answer, ...], after: int) -> None:
    for answer in answers:
        if not after < answer.seq < _MAX_SEQ:
            raise TryLater(f"answers: expected a seq above {after}, got {answer.seq}; will ask again")
        after = answer.seq
