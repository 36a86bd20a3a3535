"""The composition root of the daemon, its network half: uplink and updates. Imported once the station can scan."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.agent import Parts
from edge_agent.device_key import DeviceKey
from edge_agent.downloads import Downloads
from edge_agent.feature_feed import FeatureFeed
from edge_agent.identity import check_server_url
from edge_agent.meter import Meter
from edge_agent.metrics import UPDATES
from edge_agent.outbox import CLOCK_FACT, UPDATE_FROM_ERROR_FACT, UPDATE_FROM_FACT
from edge_agent.release_source import ReleaseFolder, ReleaseSource
from edge_agent.reporting import station_report
from edge_agent.retention import Retention
from edge_agent.server_link import ServerLink
from edge_agent.signed_releases import SignedReleases, read_pinned_root
from edge_agent.trusted_time import complaint
from edge_agent.updates import Updates
from edge_agent.uplink import Uplink
from runtime.contracts.errors import TouchstoneError, Unsupported, Untrusted
from runtime.contracts.sync import StationReport


class Online:
    """What the station does with its server."""

    def __init__(self, parts: Parts, stopping: threading.Event) -> None:
        self._parts = parts
        server = check_server_url(parts.config.server or parts.identity.server)
        self._link = ServerLink(
            server,
            station_id=parts.identity.station_id,
            key=DeviceKey.load(parts.home),
            clock_offset_s=float(parts.outbox.fact(CLOCK_FACT) or "0"),
        )
        self._meter = Meter(parts.outbox, parts.config.bandwidth)
        self._uplink = Uplink(
            outbox=parts.outbox,
            photos=parts.photos,
            link=self._link,
            stopping=stopping,
            metrics=parts.metrics,
            meter=self._meter,
            piece_bytes=parts.config.uplink_chunk_bytes,
        )
        self._features = FeatureFeed(
            outbox=parts.outbox,
            link=self._link,
            max_age_s=parts.config.features_max_age_s,
            most=parts.config.features_most,
        )
        self._retention = Retention(
            parts.outbox,
            parts.budget,
            keep_days=parts.config.keep_photos_days,
            keep_case_days=parts.config.keep_case_photos_days,
        )
        downloads_of(parts, self._link).sweep()
        self._updates = updates_from(parts, self._link)
        self._update_error = ""

    def close(self) -> None:
        """Close the connections."""
        self._link.close()

    def uplink_step(self) -> float:
        """Send what is due, fetch answers, report, fetch features, tidy up; return the seconds until the next time."""
        error = ""
        try:
            more = self._uplink.push().more
            self._uplink.pull()
            self._uplink.report(self._report())
            more = more or self._features.step()  # records first
            more = more or self._uplink.tell()
            # Only now: the server has just told the time.
            more = self._retention.step(self._link.server_now_s()) or more
        except TouchstoneError as failure:
            error = str(failure)
            raise
        finally:
            self._uplink.remember_contact(error)
        return 0.0 if more else self._meter.wait_s(self._parts.config.uplink_every_s)

    def update_step(self) -> float:
        """Look for a release and move to it, and see to the variant; return the seconds until the next time."""
        try:
            try:
                self._look_into_folder()
                swapped = self._updates.step()
            finally:  # without a server too
                self._parts.slot.measure_again()
            self._update_error = ""
            self._parts.metrics.count(UPDATES, "swapped" if swapped else "unchanged")
        except TouchstoneError as failure:
            self._update_error = str(failure)
            self._parts.metrics.count(UPDATES, "refused" if isinstance(failure, Unsupported | Untrusted) else "failed")
            raise
        return self._parts.config.update_every_s

    def _look_into_folder(self) -> None:
        """Take the release that a person brought in a folder, once: what is wrong with it is told, not tried again."""
        folder = self._parts.outbox.fact(UPDATE_FROM_FACT)
        if folder:
            self._parts.outbox.set_facts({UPDATE_FROM_FACT: ""})
            try:
                update_from_folder(self._parts, Path(folder))
            except TouchstoneError as error:
                self._parts.outbox.set_facts({UPDATE_FROM_ERROR_FACT: str(error)})
                raise

    def _report(self) -> StationReport:
        parts, current = self._parts, self._parts.slot.current
        clock = complaint(datetime.now(UTC), self._link.clock_offset_s, parts.slot.book.time_floor())
        return station_report(
            None if current is None else current.ref,
            parts.slot.update_state(),
            parts.outbox.tally(),
            error=self._update_error,
            clock=clock,
        )


def update_from_folder(parts: Parts, folder: Path) -> None:
    """Move to the release in a folder that ``touchstone-server export-release`` wrote; see ``Updates.step``."""
    offset_s = float(parts.outbox.fact(CLOCK_FACT) or "0")
    updates_from(parts, ReleaseFolder(folder, offset_s)).step()


def updates_from(parts: Parts, source: ReleaseSource) -> Updates:
    """Return the updates that come from ``source``; all are verified alike."""
    root = read_pinned_root(parts.home.root_metadata_file)
    releases = SignedReleases(home=parts.home, outbox=parts.outbox, link=source, pinned_root=root)
    return Updates(link=source, releases=releases, downloads=downloads_of(parts, source), slot=parts.slot)


def downloads_of(parts: Parts, source: ReleaseSource) -> Downloads:
    """Return the station's bundle folders, filled from ``source``."""
    return Downloads(home=parts.home, link=source, min_free_bytes=parts.config.min_free_bytes)
