"""The composition root of the daemon, its network half: uplink and updates. Imported once the station can scan."""

from __future__ import annotations

import threading

from edge_agent.agent import Parts
from edge_agent.device_key import DeviceKey
from edge_agent.downloads import Downloads
from edge_agent.feature_feed import FeatureFeed
from edge_agent.identity import check_server_url
from edge_agent.meter import Meter
from edge_agent.metrics import UPDATES
from edge_agent.outbox import CLOCK_FACT
from edge_agent.retention import Retention
from edge_agent.server_link import ServerLink
from edge_agent.signed_releases import SignedReleases, read_pinned_root
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
        releases = SignedReleases(
            home=parts.home,
            outbox=parts.outbox,
            link=self._link,
            pinned_root=read_pinned_root(parts.home.root_metadata_file),
        )
        downloads = Downloads(home=parts.home, link=self._link, min_free_bytes=parts.config.min_free_bytes)
        downloads.sweep()
        self._updates = Updates(link=self._link, releases=releases, downloads=downloads, slot=parts.slot)
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

    def _report(self) -> StationReport:
        tally = self._parts.outbox.tally()
        current = self._parts.slot.current
        refusals = self._parts.slot.book.refusals()
        # A refusal is news until something newer runs.
        refused = refusals and (current is None or refusals[-1].release > current.release.release)
        running = "no-model" if current is None else "running"
        return StationReport(
            bundle_id=None if current is None else current.ref.bundle_id,
            release=None if current is None else current.ref.release,
            variant=None if current is None else current.ref.variant,
            state="refused" if refused else running,  # type: ignore[arg-type]
            detail=f"release {refusals[-1].release}: {refusals[-1].reason}" if refused else self._update_error[:500],
            recorded=tally.recorded,
            acked=tally.acked,
            pending=tally.pending,
        )
