"""Looks whether the outbox is whole, and says of each thing that is not what to do. Reads only; slow on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_agent.outbox import Outbox
from edge_agent.outbox_views import Stored, read_record
from runtime.contracts.durable import ContentFolder
from runtime.contracts.errors import Untrusted
from runtime.contracts.records import content_id, is_case

_PART = 200
_KEEP = "keep station.db, and restore it from a copy"


def problems(
    outbox: Outbox, photos: ContentFolder, progress: Callable[[int, int], object] = lambda done, total: None
) -> Iterator[str]:
    """Yield one line a problem; none: every record decodes and has the id that its content gives it, every photo of
    an unsent case is here with its hash, and ``recorded = acked + pending``.

    Args:
        outbox: to look through.
        photos: of the same station.
        progress: told how many of all records are done.
    """
    tally = outbox.tally()
    if tally.recorded != tally.acked + tally.pending:
        yield f"outbox: {tally.recorded} recorded, but {tally.acked} acked + {tally.pending} pending; {_KEEP}"
    after = done = 0
    while part := outbox.stored(after=after, limit=_PART):
        for one in part:
            yield from _record_problems(one)
            if one.is_case and one.state != "acked":
                yield from _photo_problems(one, photos)
        after, done = part[-1].seq, done + len(part)
        progress(done, max(done, tally.recorded))


def _record_problems(one: Stored) -> Iterator[str]:
    try:
        record = read_record(one.body)
    except Untrusted as error:
        yield f"record {one.record_id[:12]}: {error}; {_KEEP}"
        return
    if not record.record_id == one.record_id == content_id(record):
        yield f"record {one.record_id[:12]}: its content is that of {content_id(record)[:12]}; {_KEEP}"
    if set(one.photos) != {score.photo for score in record.views}:
        yield f"record {one.record_id[:12]}: its list of photos is not that of its content; {_KEEP}"
    if one.is_case != (is_case(record) or one.objection is not None):
        yield f"record {one.record_id[:12]}: it is {'no ' if one.is_case else 'a '}case by its content; {_KEEP}"


def _photo_problems(one: Stored, photos: ContentFolder) -> Iterator[str]:
    for sha256 in one.photos:
        try:
            photos.read(sha256)
        except FileNotFoundError:
            yield f"record {one.record_id[:12]}: photo {sha256[:12]} is gone; scan the item again, or restore the photo"
        except OSError as error:
            yield f"record {one.record_id[:12]}: photo {sha256[:12]} cannot be read ({error.strerror}); check the disk"
        except Untrusted:
            yield f"record {one.record_id[:12]}: photo {sha256[:12]} has rotted; scan the item again, or restore it"
