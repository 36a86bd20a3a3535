"""The composition root of the daemon, its scanning half: what runs with no network at all. See ``edge_agent.online``.

Nothing of the network is imported here, so that a station scans as soon after power-on as it can.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from edge_agent.capture import read_item, reject, remove, sweep, waiting_items
from edge_agent.coming import Coming
from edge_agent.config import Config, read_config
from edge_agent.disk import PhotoBudget, disk_errors
from edge_agent.gauges import read_gauges
from edge_agent.home import Home
from edge_agent.identity import Identity, require_identity
from edge_agent.journal import note
from edge_agent.metrics import REJECTED, Metrics
from edge_agent.model_slot import ModelSlot
from edge_agent.outbox import Outbox
from edge_agent.release_book import ReleaseBook
from edge_agent.station import Scanned, Station
from runtime.contracts.durable import ContentFolder
from runtime.contracts.errors import StationFault, TouchstoneError, Unsupported

_TRIES = 3
_SOON_S = 0.02
"""How soon the inbox is looked at again while an item is being put together."""
_LEFT_AFTER_S = 3600.0


class AlreadyRunning(StationFault):
    """The daemon of this home runs in another process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that a scan needs, built once a process."""

    home: Home
    config: Config
    identity: Identity
    outbox: Outbox
    photos: ContentFolder
    budget: PhotoBudget
    station: Station
    slot: ModelSlot
    metrics: Metrics


def build(home: Home, stopping: threading.Event) -> Parts:
    """Build the scanning half for ``home``.

    Raises:
        StationFault: the station is not enrolled, or its files cannot be used.
    """
    identity = require_identity(home)
    config = read_config(home.config_file)
    home.create()
    outbox = Outbox(home.database_file)
    photos = ContentFolder(home.photos)
    slot = ModelSlot(home=home, book=ReleaseBook(outbox), config=config, stopping=stopping)
    metrics = Metrics(partial(read_gauges, outbox, photos.root, slot))
    budget = PhotoBudget(photos, config.max_photo_bytes)
    station = Station(
        identity=identity,
        outbox=outbox,
        photos=photos,
        min_free_bytes=config.min_free_bytes,
        features_max_age_s=config.features_max_age_s,
        budget=budget,
        metrics=metrics,
        on_scanned=slot.scanned,
    )
    return Parts(
        home=home,
        config=config,
        identity=identity,
        outbox=outbox,
        photos=photos,
        budget=budget,
        station=station,
        slot=slot,
        metrics=metrics,
    )


def hold_lock(home: Home) -> IO[str]:
    """Make this process the one daemon of ``home`` for as long as the returned file is open.

    Raises:
        AlreadyRunning: another one runs.
        StationFault: the disk or its permissions do not allow it.
    """
    home.create()
    with disk_errors(str(home.lock_file)):
        file = home.lock_file.open("w", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise AlreadyRunning(f"{home.root}: another 'touchstone-agent run' is running here; stop that one first") from (
            error
        )
    return file


def restore_model(parts: Parts) -> None:
    """Load the committed model after verifying its signed metadata again, offline; none is fine.

    For the one daemon: what is unproved and killed it again and again is given up first.
    """
    if not parts.slot.book.proved() and parts.slot.book.candidate() is None:
        return
    parts.slot.begin()
    from edge_agent.admission import verify_kept  # costs a tenth of a second, and only this path needs it
    from edge_agent.signed_releases import read_pinned_root

    pinned_root = read_pinned_root(parts.home.root_metadata_file)
    parts.slot.restore(partial(verify_kept, pinned_root=pinned_root))


class Watch:
    """Scans what lies in the inbox, one item a step, oldest first. For the one daemon: it sweeps up."""

    def __init__(self, parts: Parts, on_record: Callable[[], None]) -> None:
        self._parts = parts
        self._on_record = on_record
        self._tries: Counter[str] = Counter()
        self._tidy = False
        self._coming = Coming(parts.home, parts.station, parts.slot.require)
        sweep(parts.home)

    def step(self) -> float:
        """Scan one waiting item; return the seconds until the next look.

        Raises:
            StationFault: the disk is full, or the engine fails; the item stays where it is.
        """
        if self._parts.slot.current is None:
            return self._parts.config.watch_every_s
        waiting = waiting_items(self._parts.home)
        if not waiting:
            self._tries.clear()
            if self._coming.look():
                return _SOON_S
            self._tidy_up()
            return self._parts.config.watch_every_s
        self._scan(min(waiting, key=lambda folder: self._tries[folder.name]))
        return 0.0 if len(waiting) > 1 else self._parts.config.watch_every_s

    def _tidy_up(self) -> None:
        """Remove what crashes left behind, once, when there is nothing else to do."""
        if not self._tidy:
            self._tidy = True
            with suppress(FileNotFoundError, StationFault):  # a scan beside us may finish its file meanwhile
                self._parts.station.sweep(time.time() - _LEFT_AFTER_S)

    def is_empty(self) -> bool:
        """Tell whether nothing waits that could be scanned now."""
        return self._parts.slot.current is None or not waiting_items(self._parts.home)

    def _scan(self, folder: Path) -> None:
        # Counted before, forgotten after: an item that crashes the loop again and again must not hold up the others.
        self._tries[folder.name] += 1
        try:
            if self._tries[folder.name] > _TRIES:
                raise Unsupported(f"{folder.name}: scanning it crashed {_TRIES} times; see the log")
            started_ns = time.monotonic_ns()
            scanned, source = self._coming.finish(folder), "coming"
            if scanned is None:
                scanned, source = self._parts.station.scan(read_item(folder), self._parts.slot.require), "inbox"
            note_decision(scanned, (time.monotonic_ns() - started_ns) // 1000, source)
            remove(folder)
            self._on_record()
        except Unsupported as error:
            place = reject(self._parts.home, folder, error)
            self._parts.metrics.count(REJECTED)
            note("rejected", item=place.name, why=str(error))
        except FileNotFoundError:
            note("gone", item=folder.name)
        except TouchstoneError:
            self._tries[folder.name] -= 1  # not the item's fault
            raise
        del self._tries[folder.name]


def note_decision(scanned: Scanned, scan_us: int, source: str = "inbox") -> None:
    """Log one decision in one line.

    Args:
        scanned: what was decided.
        scan_us: how long the caller waited for it, microseconds.
        source: how the item came: ``inbox`` whole, ``coming`` photo by photo into the inbox, or by the ``desk``.
    """
    record = scanned.record
    note(
        "decided",
        item_id=record.item_id,
        verdict=record.verdict,
        reasons=",".join(dict.fromkeys(reason.code for reason in record.reasons)),
        p_counterfeit=_rounded(record.prediction.p_counterfeit),
        p_fraud=_rounded(record.prediction.p_fraud),
        record_id=record.record_id[:12],
        release=record.model.release,
        variant=record.model.variant,
        source=source,
        photos=len(record.views),
        again=scanned.again,
        scan_us=scan_us,
        **({} if scanned.again else {f"{step}_us": taken_us for step, taken_us in record.timings_us.items()}),
    )


def _rounded(p: float | None) -> float | None:
    return None if p is None else round(p, 4)


def since_process_start_ms() -> int:
    """Return milliseconds since this process was started, by the kernel's account."""
    stat = Path("/proc/self/stat").read_text("ascii")
    started_ticks = int(stat.rpartition(")")[2].split()[19])  # field 22 of proc(5)
    return round(1000 * (time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")))
