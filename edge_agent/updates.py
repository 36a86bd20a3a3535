"""Moves the station to the release that the server assigns, as far as the offline signature and the floor allow.

Assignment, signed release, floor, download, trial: each step may fail, and then nothing has changed. What follows (see
``edge_agent.proving``) needs no server. Scanning never waits for any of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.downloads import Downloads
from edge_agent.journal import note
from edge_agent.model_slot import ModelSlot
from edge_agent.release_source import ReleaseSource
from edge_agent.server_link import Refused
from edge_agent.signed_releases import SignedRelease, SignedReleases
from edge_agent.trusted_time import trusted_now
from edge_agent.update_state import Doing
from runtime.contracts.errors import Unsupported, Untrusted
from runtime.contracts.sync import Assignment, target_path


class Updates:
    """One look at a time; the supervisor decides when."""

    def __init__(
        self,
        *,
        link: ReleaseSource,
        releases: SignedReleases,
        downloads: Downloads,
        slot: ModelSlot,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._link = link
        self._releases = releases
        self._downloads = downloads
        self._slot = slot
        self._now = now

    def step(self) -> bool:
        """Look what this station should run, and move there; return whether a release was taken in hand.

        Raises:
            TryLater: the server is down, or its metadata has expired.
            Untrusted: what it offers is not signed, or lies below the floor.
            Unsupported: the release failed here, and is remembered as refused.
            StationFault: there is too little disk space.
        """
        target = self._link.request("GET", "/v1/station/assignment").read(Assignment, "assignment").target
        current, candidate = self._slot.current, self._slot.book.candidate()
        if candidate is not None and target_path(candidate.release) == target:
            return False  # it is on its way
        if target is None or (current is not None and target_path(current.release) == target):
            self._slot.withdraw()
            return False
        clock = self._now()
        now = trusted_now(clock, self._link.clock_offset_s, self._slot.book.time_floor())
        release = self._releases.find(target, now, clock)
        floor = self._slot.book.floor()
        if release.info.release < floor:
            raise Untrusted(
                f"release {release.info.release} ({release.info.name}): lies below the floor {floor}, which this "
                "station has committed; it is not taken"
            )
        if self._slot.book.is_refused(release.bundle_id, release.info):
            self._slot.withdraw()
            return False
        self._move_to(release)
        return True

    def _move_to(self, release: SignedRelease) -> None:
        try:
            with self._slot.doing(Doing(state="fetching", release=release.info.release)):
                folder = self._fetch(release)
        except Refused:
            raise
        except (Untrusted, Unsupported) as error:  # the very bytes that were signed are no good
            self._slot.book.refuse(release.bundle_id, release.info, str(error))
            raise
        try:
            self._slot.offer(folder, release.info, release.bundle_id)
        finally:
            self._clean(release)

    def _fetch(self, release: SignedRelease) -> Path:
        note("fetching", release=release.info.release, bundle_id=release.bundle_id[:12])
        started_ns = time.monotonic_ns()
        files, received = self._downloads.received_files, self._downloads.received_bytes
        folder = self._downloads.fetch(release)
        note(
            "fetched",
            release=release.info.release,
            files=self._downloads.received_files - files,
            bytes=self._downloads.received_bytes - received,
            ms=(time.monotonic_ns() - started_ns) // 1_000_000,
        )
        return folder

    def _clean(self, release: SignedRelease) -> None:
        """Delete what nothing may need any more, once something has come of ``release``."""
        book = self._slot.book
        candidate = book.candidate()
        keep = {proved.bundle_id for proved in book.proved()} | ({candidate.bundle_id} if candidate else set())
        if book.is_refused(release.bundle_id, release.info) or release.bundle_id in keep:
            self._downloads.clean(keep)
