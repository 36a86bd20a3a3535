"""Guided items: photos come one by one, each durable before it is acknowledged. A restart loses none of them.

The table and the photo folder are the truth. The ``Session`` in memory only saves time: each photo is looked at while
the operator positions the next. One that began with another model, or in another life of the program, is made anew.
A photo of the station's camera that was refused stays in memory a while: the operator may use that very one anyway.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from edge_agent.capture import view_and_number
from edge_agent.desk.quality import problems_of
from edge_agent.desk.refusals import Conflict, NotFound
from edge_agent.desk.session_table import Begun, SessionTable, Shot
from edge_agent.intake import check
from edge_agent.outbox import Outbox
from edge_agent.station import MAX_PHOTOS, Listing, Model, Scanned, Session, Station
from runtime.contracts.durable import ContentFolder
from runtime.contracts.errors import Untrusted
from runtime.contracts.quality import QualityProblem
from runtime.contracts.records import check_name

if TYPE_CHECKING:
    from runtime.preprocess import Frame

KEPT = timedelta(days=1)
MOST_UNFINISHED = 200
_MOST_HELD = 4
_MOST_REFUSED = 4
_HELD_FOR_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of one photo; ``sha256`` where it was kept."""

    view: str
    sha256: str | None
    problems: tuple[QualityProblem, ...]


@dataclass(slots=True, kw_only=True)
class _Held:
    session: Session
    used_s: float


class Sessions:
    """The items before the operator. Thread-safe: one thing at a time for each of them."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        photos: ContentFolder,
        station: Station,
        model: Callable[[], Model],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._table = SessionTable(outbox)
        self._outbox = outbox
        self._photos = photos
        self._station = station
        self._model = model
        self._now = now
        self._lock = threading.Lock()  # of the three below
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._refused: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def begin(self, item_id: str) -> Begun:
        """Begin an item.

        Raises:
            Unsupported: its id cannot be one.
            Conflict: too many items are not finished.
            StationFault: there is no model.
        """
        check_name(item_id, "item id")
        self._model()
        if len(self._table.unfinished()) >= MOST_UNFINISHED:
            raise Conflict(f"{MOST_UNFINISHED} items are not finished; finish or cancel some of them first")
        return self._table.begin(item_id, self._now().isoformat(timespec="milliseconds"))

    def unfinished(self) -> tuple[Begun, ...]:
        """Return the items that are not finished, newest first."""
        return self._table.unfinished()

    def show(self, session_id: str) -> Begun:
        """Return one item that is not finished.

        Raises:
            NotFound: there is none.
        """
        begun = self._find(session_id)
        if begun.record_id is not None:
            raise NotFound(f"session {session_id[:40]!a}: it is finished; its record is {begun.record_id}")
        return begun

    def put(self, session_id: str, view: str, photo: bytes | Frame, *, keep: bool) -> Taken:
        """Take a photo of a view, in place of the one before; it is durable when this returns.

        Args:
            session_id: whose.
            view: ``logo``, or ``logo~2`` for a second one.
            photo: encoded, or a frame of the camera.
            keep: keep it whatever is wrong with it.

        Raises:
            NotFound: there is no such session.
            Unsupported: it is no photo, or the view cannot be one.
            StationFault: the disk is full, or there is no model.
        """
        checked = check(view_and_number(view)[0], photo, check_name(view, "view"))
        with self._turn(session_id) as begun:
            model = self._model()
            problems = problems_of(model.inspector, checked.view, checked.shown)
            if problems and not keep:
                if not isinstance(photo, bytes):  # only the station has it; whoever sent a photo can send it again
                    self._hold_refused(session_id, view, checked.data)
                return Taken(view=view, sha256=None, problems=problems)
            before = {shot.view: shot.sha256 for shot in begun.shots}
            if view not in before and len(before) >= MAX_PHOTOS:
                raise Conflict(f"item {begun.item_id!r}: it has {MAX_PHOTOS} photos, and may have no more")
            self._station.store(checked)
            self._table.put(session_id, Shot(view=view, sha256=checked.sha256, problems=problems))
            self._station.store(checked)  # claimed now: whoever shared it can no longer take it back
            if view in before:
                self._station.forget([before[view]])
            with suppress(Conflict):  # another photo has gone: its view is empty now, and this one was taken
                self._hold(begun, model, without=view).replace(checked.view, checked, view_and_number(view)[1])
            return Taken(view=view, sha256=checked.sha256, problems=problems)

    def refused(self, session_id: str, view: str) -> bytes:
        """Return the camera's photo of a view that was refused last.

        Raises:
            NotFound: there is no such session, or no such photo any more.
        """
        self.show(session_id)
        with self._lock:
            photo = self._refused.get((session_id, view))
        if photo is None:
            raise NotFound(f"photo {view[:40]!a}: the one that was refused is gone; take it again")
        return photo

    def drop(self, session_id: str, view: str) -> None:
        """Take a photo back.

        Raises:
            NotFound: there is no such session.
        """
        with self._turn(session_id) as begun:
            self._drop(begun, view)

    def finish(self, session_id: str, listing: Listing | None) -> Scanned:
        """Decide about the item; a second time gives the same record.

        Raises:
            NotFound: there is no such session.
            Unsupported: it has no photo, or one that cannot be used; the item stays.
            Conflict: a photo has gone from the disk; the item stays without it.
            StationFault: a person must act; the item stays.
        """
        with self._turn(session_id, finished_too=True) as begun:
            if begun.record_id is not None and (record := self._outbox.find(begun.record_id)):
                return Scanned(record=record, again=True)
            session = self._hold(begun, self._model())
            self._let_go(session_id)  # whatever happens, it is of no use a second time
            scanned = session.finish(begun.item_id, listing)
            self._table.finish(session_id, scanned.record.record_id)
            self._station.forget([shot.sha256 for shot in begun.shots])
            return scanned

    def cancel(self, session_id: str) -> None:
        """Forget the item and its photos.

        Raises:
            NotFound: there is no such session.
        """
        with self._turn(session_id) as begun:
            self._cancel(begun)

    def tidy(self) -> None:
        """Cancel what is older than a day, and hold no photo in memory that nobody has touched for a while."""
        for begun in self._table.before((self._now() - KEPT).isoformat(timespec="milliseconds")):
            with self._lock:
                turn = self._turns[begun.session_id]
            with turn:
                self._cancel(begun)
        with self._lock:
            for session_id, held in list(self._held.items()):
                if time.monotonic() - held.used_s > _HELD_FOR_S:
                    del self._held[session_id]

    def _find(self, session_id: str) -> Begun:
        begun = self._table.find(session_id)
        if begun is None:
            raise NotFound(f"session {session_id[:40]!a}: there is none; it was cancelled, or is older than a day")
        return begun

    @contextmanager
    def _turn(self, session_id: str, *, finished_too: bool = False) -> Iterator[Begun]:
        self._find(session_id)  # no lock for what does not exist
        with self._lock:
            turn = self._turns[session_id]
        with turn:
            yield self._find(session_id) if finished_too else self.show(session_id)

    def _hold(self, begun: Begun, model: Model, without: str | None = None) -> Session:
        """Return the item's session with the running model, made anew from the disk where it must be."""
        with self._lock:
            held = self._held.get(begun.session_id)
        if held is None or held.session.model.ref != model.ref:
            session = self._station.begin(lambda: model)
            for shot in begun.shots:
                if shot.view != without:
                    view, number = view_and_number(shot.view)
                    session.add(view, self._read(begun, shot), number)
            held = _Held(session=session, used_s=0.0)
        held.used_s = time.monotonic()
        with self._lock:
            self._held[begun.session_id] = held
            self._held.move_to_end(begun.session_id)
            while len(self._held) > _MOST_HELD:  # its photos stay on the disk, where its rows claim them
                self._held.popitem(last=False)
        return held.session

    def _read(self, begun: Begun, shot: Shot) -> bytes:
        try:
            return self._photos.read(shot.sha256)
        except (FileNotFoundError, Untrusted) as error:
            self._drop(begun, shot.view)
            raise Conflict(f"photo {shot.view!r}: the disk has lost it; take it again") from error

    def _hold_refused(self, session_id: str, view: str, photo: bytes) -> None:
        with self._lock:
            self._refused[session_id, view] = photo
            self._refused.move_to_end((session_id, view))
            while len(self._refused) > _MOST_REFUSED:
                self._refused.popitem(last=False)

    def _drop(self, begun: Begun, view: str) -> None:
        self._table.drop(begun.session_id, view)
        with self._lock:
            held = self._held.get(begun.session_id)
        if held is not None:
            held.session.drop(*view_and_number(view))
        self._station.forget([shot.sha256 for shot in begun.shots if shot.view == view])

    def _cancel(self, begun: Begun) -> None:
        held = self._let_go(begun.session_id)
        self._table.remove([begun.session_id])
        if held is not None:
            held.session.cancel()
        self._station.forget([shot.sha256 for shot in begun.shots])
        with self._lock:
            self._turns.pop(begun.session_id, None)

    def _let_go(self, session_id: str) -> _Held | None:
        with self._lock:
            for key in [key for key in self._refused if key[0] == session_id]:
                del self._refused[key]
            return self._held.pop(session_id, None)
