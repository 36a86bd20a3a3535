"""Holds the running model. A new one is tried in a child process, loaded aside, and swapped in between two scans.

A scan in hand keeps the model that it began with, so a swap drops nothing. Release and floor are committed after the
swap, in one transaction; whatever fails before that leaves the old model running, now and after a restart.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.config import Config
from edge_agent.home import Home
from edge_agent.journal import note
from edge_agent.release_book import Proved, ReleaseBook
from edge_agent.trial import TRIAL_COMMAND, TrialOrder, run_trial
from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.errors import StationFault, TouchstoneError, Unsupported, Untrusted
from runtime.contracts.records import BundleId, ModelRef
from runtime.contracts.sync import ReleaseInfo
from runtime.inspector import Inspection, Inspector


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningModel:
    """A loaded model and the release that it came as."""

    inspector: Inspector
    release: ReleaseInfo

    @property
    def ref(self) -> ModelRef:
        """Which model this is, for records and reports."""
        return ModelRef(
            bundle_id=self.inspector.bundle.bundle_id,
            name=self.release.name,
            release=self.release.release,
            variant=self.inspector.variant.name,
        )

    def inspect(self, photos: Mapping[str, Sequence[bytes]], listing: Mapping[str, float | None] | None) -> Inspection:
        """Decide about one item."""
        return self.inspector.inspect(photos, listing)


Admits = Callable[[Path, BundleId, int], ReleaseInfo]
"""Verifies the signed metadata kept beside a bundle; raises ``Untrusted``."""


class ModelSlot:
    """The one running model of a process; ``book`` is the station's memory of what it may run."""

    def __init__(
        self,
        *,
        home: Home,
        book: ReleaseBook,
        config: Config,
        stopping: threading.Event,
        trial_command: Sequence[str] = TRIAL_COMMAND,
    ) -> None:
        self._home = home
        self.book = book
        self._config = config
        self._stopping = stopping
        self._trial_command = trial_command
        self._current: RunningModel | None = None

    @property
    def current(self) -> RunningModel | None:
        """The running model; None before the first one."""
        return self._current

    def require(self) -> RunningModel:
        """Return the running model.

        Raises:
            StationFault: there is none yet.
        """
        if self._current is None:
            raise StationFault("no model yet: publish a release on the server, and let 'touchstone-agent run' fetch it")
        return self._current

    def restore(self, admits: Admits | None) -> None:
        """Load the committed model, or the one before it if its bytes have changed; none if neither can be trusted.

        Args:
            admits: verifies the signed metadata again. Without it the committed bundle id is trusted as it stands in
                the outbox, where only a verified one ever gets; the bundle's bytes are checked against it either way.
        """
        for proved in self.book.runnable():
            try:
                bundle = self._open(proved, admits)
                self._current = RunningModel(inspector=self._load(bundle), release=proved.release)
                return
            except TouchstoneError as error:
                note("bundle_refused_at_start", release=proved.release.release, why=str(error))

    def offer(self, folder: Path, release: ReleaseInfo, bundle_id: BundleId) -> None:
        """Try the verified bundle in ``folder``; run it from the next scan on if it proves itself.

        Raises:
            Unsupported: it failed its trial; this is remembered, and the old model goes on.
            TryLater: the agent is stopping before anything is known.
        """
        problems, latency_ms = self._try(folder)
        if not problems:
            try:
                fresh = RunningModel(inspector=self._load(open_bundle(folder)), release=release)
            except (Unsupported, Untrusted) as error:
                problems = (str(error),)
        if problems:
            reason = "; ".join(problems)[:400]
            self.book.refuse(bundle_id, release, reason)
            raise Unsupported(f"release {release.release} ({release.name}): refused, the old model goes on: {reason}")
        old, self._current = self._current, fresh
        try:
            self.book.commit(Proved(bundle_id=bundle_id, release=release, variant=fresh.inspector.variant.name))
        except BaseException:
            self._current = old
            raise
        note("swapped", release=release.release, variant=fresh.inspector.variant.name, trial_ms=latency_ms)

    def _open(self, proved: Proved, admits: Admits | None) -> Bundle:
        folder = self._home.bundles / proved.bundle_id
        bundle = open_bundle(folder)
        if bundle.bundle_id != proved.bundle_id:
            raise Untrusted(f"bundle {folder.name}: its manifest has changed; fetch it again")
        if admits is not None and admits(folder, bundle.bundle_id, proved.release.release) != proved.release:
            raise Untrusted(f"bundle {folder.name}: its signed release is not the one that was committed")
        return bundle

    def _load(self, bundle: Bundle) -> Inspector:
        return Inspector.open(bundle, variant=self._config.variant, threads=self._config.threads)

    def _try(self, folder: Path) -> tuple[tuple[str, ...], float | None]:
        order = TrialOrder(
            bundle=str(folder),
            variant=self._config.variant,
            threads=self._config.threads,
            timeout_s=max(1, round(self._config.trial_timeout_s)),
            max_bytes=self._config.trial_max_bytes,
        )
        result = run_trial(order, stopping=self._stopping, command=self._trial_command)
        slow = result.latency_ms is not None and result.latency_ms > self._config.max_latency_ms
        if slow:
            return (f"it needs {result.latency_ms:.0f} ms an item, at most {self._config.max_latency_ms:.0f}",), None
        return result.problems, result.latency_ms
