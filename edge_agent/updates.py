"""Moves the station to the release that the server assigns, as far as the offline signature and the floor allow.

Assignment, signed release, floor, download, trial, swap: each step may fail, and then nothing has changed. Scanning
never waits for any of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from edge_agent.downloads import Downloads
from edge_agent.journal import note
from edge_agent.model_slot import ModelSlot
from edge_agent.server_link import Refused, ServerLink
from edge_agent.signed_releases import SignedRelease, SignedReleases
from runtime.contracts.errors import Unsupported, Untrusted
from runtime.contracts.sync import Assignment, target_path


class Updates:
    """One look at a time; the supervisor decides when."""

    def __init__(
        self,
        *,
        link: ServerLink,
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
        """Look what this station should run, and move there; return whether the model was swapped.

        Raises:
            TryLater: the server is down, or its metadata has expired.
            Untrusted: what it offers is not signed, or lies below the floor.
            Unsupported: the release failed here, and is remembered as refused.
            StationFault: there is too little disk space.
        """
        target = self._link.request("GET", "/v1/station/assignment").read(Assignment, "assignment").target
        current = self._slot.current
        if target is None or (current is not None and target_path(current.release) == target):
            return False
        release = self._releases.find(target, self._trusted_now())
        floor = self._slot.book.floor()
        if release.info.release < floor:
            raise Untrusted(
                f"release {release.info.release} ({release.info.name}): lies below the floor {floor}, which this "
                "station has committed; it is not taken"
            )
        if self._slot.book.is_refused(release.bundle_id, release.info):
            return False
        self._move_to(release)
        return True

    def _move_to(self, release: SignedRelease) -> None:
        note("fetching", release=release.info.release, bundle_id=release.bundle_id[:12])
        started_ns = time.monotonic_ns()
        try:
            folder = self._downloads.fetch(release)
        except Refused:
            raise
        except (Untrusted, Unsupported) as error:  # the very bytes that were signed are no good
            self._slot.book.refuse(release.bundle_id, release.info, str(error))
            raise
        note("fetched", release=release.info.release, ms=(time.monotonic_ns() - started_ns) // 1_000_000)
        try:
            self._slot.offer(folder, release.info, release.bundle_id)
        finally:
            keep = {proved.bundle_id for proved in self._slot.book.proved()}
            if self._slot.book.is_refused(release.bundle_id, release.info) or release.bundle_id in keep:
                self._downloads.clean(keep)

    def _trusted_now(self) -> datetime:
        """Return the time to judge expiry by: the server's, as a station's clock may be dead.

        It never lies before the running bundle was made, which is signed; so a lie about the time buys no more than the
        server could sign anyway.
        """
        now = self._now() + timedelta(seconds=self._link.clock_offset_s)
        current = self._slot.current
        if current is None:
            return now
        try:
            made = datetime.fromisoformat(current.inspector.bundle.manifest.created_at)
        except ValueError:
            return now
        return max(now, made) if made.tzinfo else now
