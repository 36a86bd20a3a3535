"""One station beside one repository, in this process: what the tests of updates drive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from edge_agent.admission import verify_kept
from edge_agent.config import Config
from edge_agent.downloads import Downloads
from edge_agent.home import Home
from edge_agent.identity import require_identity
from edge_agent.model_slot import ModelSlot
from edge_agent.outbox import Outbox
from edge_agent.photo_stamp import stamped
from edge_agent.release_book import ReleaseBook
from edge_agent.release_source import ReleaseSource
from edge_agent.signed_releases import SignedReleases
from edge_agent.station import ScanRequest, Station
from edge_agent.trial import TRIAL_COMMAND
from edge_agent.updates import Updates
from runtime.contracts.durable import ContentFolder
from runtime.contracts.records import Record


class Rig:
    """One station beside one source of releases; ``restart`` forgets everything but the disk."""

    def __init__(self, home: Home, outbox: Outbox, link: ReleaseSource, root: bytes, **settings: Any) -> None:
        self.home, self.outbox, self.link = home, outbox, link
        self.root = root
        self.clock = lambda: datetime.now(UTC)
        self.min_free_bytes = 0
        self.scanned = 0
        self.restart(**settings)

    def restart(self, **settings: Any) -> None:
        self.start(**settings)
        self.slot.begin()
        self.slot.restore(partial(verify_kept, pinned_root=self.root))
        self.use(self.link)

    def start(self, *, trial_command: Sequence[str] = TRIAL_COMMAND, **settings: Any) -> None:
        self.slot = ModelSlot(
            home=self.home,
            book=ReleaseBook(self.outbox),
            config=Config(threads=1, **settings),
            stopping=threading.Event(),
            trial_command=trial_command,
            now=lambda: self.clock(),
        )
        self.station = Station(
            identity=require_identity(self.home),
            outbox=self.outbox,
            photos=ContentFolder(self.home.photos),
            min_free_bytes=0,
            on_scanned=self.slot.scanned,
        )

    def use(self, link: ReleaseSource) -> None:
        """Take releases from ``link`` from now on."""
        self.link = link
        releases = SignedReleases(home=self.home, outbox=self.outbox, link=link, pinned_root=self.root)
        self.downloads = Downloads(home=self.home, link=link, min_free_bytes=self.min_free_bytes)
        self.updates = Updates(
            link=link, releases=releases, downloads=self.downloads, slot=self.slot, now=lambda: self.clock()
        )

    def running(self) -> int | None:
        return None if self.slot.current is None else self.slot.current.release.release

    def scan(self, photo: bytes) -> Record:
        """Scan an item of which both views look like ``photo``, in bytes that no other item or view has."""
        self.scanned += 1
        views = ("logo", "stitching")
        photos = {view: (stamped(photo, 2 * self.scanned + number),) for number, view in enumerate(views)}
        request = ScanRequest(item_id=f"item {self.scanned}", photos=photos, listing=None)
        return self.station.scan(request, self.slot.require).record

    @contextmanager
    def scanning(self, photo_of: Callable[..., bytes]) -> Iterator[list[Record]]:
        """Scan again and again beside what happens; a scan that fails fails the test."""
        done, failures, records = threading.Event(), [], []

        def scan() -> None:
            try:
                while not done.is_set():
                    records.append(self.scan(photo_of(20, seed=self.scanned)))
            except Exception as error:  # noqa: BLE001 - shown by the assertion below
                failures.append(error)

        worker = threading.Thread(target=scan)
        worker.start()
        try:
            yield records
        finally:
            done.set()
            worker.join()
        assert failures == []
