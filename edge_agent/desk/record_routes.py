"""Routes of what was decided: records, their photos, the references beside them, the experts' answers, objections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from edge_agent.desk import views
from edge_agent.desk.bodies import MAX_NUMBER, number, read_json
from edge_agent.desk.quality import reference_of, references_of
from edge_agent.desk.refusals import Conflict, NotFound
from edge_agent.desk.services import Desk, desk_of, now, say
from runtime.contracts.durable import check_hash
from runtime.contracts.errors import Unsupported, Untrusted
from runtime.contracts.records import Record, RecordId

READ_FACT = "read_up_to"
"""The highest ``seq`` of the answers that a person here has read."""

_MOST_LISTED = 200
_MOST_ANSWERS = 200
_FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}
_KINDS = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG", "image/png"), (b"RIFF", "image/webp"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """``POST /v1/records/{id}/objection``."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """``POST /v1/inbox/read``."""

    seq: int


async def page(request: Request) -> Response:
    """List records, newest first."""
    desk = desk_of(request)
    before = number(request, "before", None, 0, MAX_NUMBER)
    limit = number(request, "limit", 50, 1, _MOST_LISTED) or 1
    found = await desk.blocking(desk.parts.outbox.page, before, limit, request.query_params.get("item", ""))
    next_before = found[-1].seq if len(found) == limit else None
    return say({"records": [views.summary(one) for one in found], "next_before": next_before})


async def show(request: Request) -> Response:
    """Show one record."""
    desk = desk_of(request)
    return say(await desk.blocking(_show, desk, request.path_params["record_id"]))


async def object_to(request: Request) -> Response:
    """Disagree with a verdict."""
    desk = desk_of(request)
    record_id = request.path_params["record_id"]
    asked = await read_json(request, Objection, "objection")
    await desk.blocking(_object_to, desk, record_id, asked.text)
    desk.on_record()
    return Response(status_code=204)


async def photo(request: Request) -> Response:
    """Give a photo of this station."""
    desk = desk_of(request)
    data = await desk.blocking(_photo, desk, request.path_params["sha256"])
    return _image(data, _FOR_EVER)


async def reference(request: Request) -> Response:
    """Give a genuine photo of the running bundle."""
    desk = desk_of(request)
    data = await desk.blocking(_reference, desk, request.path_params["view"], request.path_params["number"])
    return _image(data, {"Cache-Control": "no-cache"})


async def inbox(request: Request) -> Response:
    """Show what experts said, and what they have not yet."""
    desk = desk_of(request)
    return say(await desk.blocking(_inbox, desk))


async def read(request: Request) -> Response:
    """Remember up to where a person has read the answers."""
    desk = desk_of(request)
    asked = await read_json(request, Read, "read")
    await desk.blocking(_read, desk, asked.seq)
    return Response(status_code=204)


def shown_record(desk: Desk, record: Record, *, again: bool = False) -> dict[str, Any]:
    """Show a record and what became of it, with the references of its views as far as its photos are still here."""
    found: dict[str, tuple[int, float | None]] = {}
    current = desk.parts.slot.current
    for score in record.views:
        if current is None or score.view in found or not references_of(current.inspector).files(score.view):
            continue
        try:
            closest = reference_of(current.inspector, score.view, desk.parts.photos.read(score.photo))
        except (OSError, Untrusted, Unsupported):
            continue
        if closest is not None:
            found[score.view] = closest
    became = desk.parts.outbox.listed(record.record_id)
    return views.verdict(record, again=again, became=became, references=found)


def read_up_to(desk: Desk) -> int:
    """Return up to where a person has read the answers."""
    return int(desk.parts.outbox.fact(READ_FACT) or "0")


def _record(desk: Desk, record_id: str) -> Record:
    record = desk.parts.outbox.find(RecordId(record_id))
    if record is None:
        raise NotFound(f"record {record_id[:80]!a}: there is none at this station")
    return record


def _show(desk: Desk, record_id: str) -> dict[str, Any]:
    return shown_record(desk, _record(desk, record_id))


def _object_to(desk: Desk, record_id: str, text: str) -> None:
    record = _record(desk, record_id)
    if any(score.photo not in desk.parts.photos for score in record.views):
        raise Conflict(f"record {record_id[:12]}: its photos made room for others, so no expert could look; scan again")
    desk.parts.outbox.object_to(record.record_id, text, now().isoformat(timespec="milliseconds"))


def _photo(desk: Desk, sha256: str) -> bytes:
    try:
        return desk.parts.photos.read(check_hash(sha256))
    except (FileNotFoundError, Unsupported, Untrusted) as error:
        raise NotFound(f"photo {sha256[:80]!a}: it is not, or no longer, at this station") from error


def _reference(desk: Desk, view: str, number: str) -> bytes:
    current = desk.parts.slot.current
    files = () if current is None else references_of(current.inspector).files(view)
    if current is None or not (number.isascii() and number.isdigit() and 1 <= int(number[:9]) <= len(files)):
        raise NotFound(f"reference {view[:40]!a} {number[:9]!a}: the running model has no such photo")
    try:
        return current.inspector.bundle.path(files[int(number) - 1]).read_bytes()
    except OSError as error:  # swapped, and cleaned up, a moment ago
        raise NotFound(f"reference {view[:40]!a} {number[:9]!a}: its bundle runs no more; look again") from error


def _inbox(desk: Desk) -> dict[str, Any]:
    outbox = desk.parts.outbox
    answers = outbox.answers(after=max(0, outbox.last_answer() - _MOST_ANSWERS))
    with_records = [(answer, outbox.find(answer.record_id)) for answer in reversed(answers)]
    return views.inbox(
        with_records, desk.parts.outbox.waiting(_MOST_LISTED), desk.parts.outbox.holds(_MOST_LISTED), read_up_to(desk)
    )


def _read(desk: Desk, seq: int) -> None:
    last = desk.parts.outbox.last_answer()
    if not 0 <= seq <= last:
        raise Unsupported(f"seq: expected one up to {last}, got {seq}")
    desk.parts.outbox.set_facts({READ_FACT: str(max(seq, read_up_to(desk)))})


def _image(data: bytes, headers: dict[str, str]) -> Response:
    kind = next((kind for start, kind in _KINDS if data.startswith(start)), "application/octet-stream")
    return Response(data, media_type=kind, headers=headers)
