"""Holds the running model. A new one is measured in child processes; ``edge_agent.proving`` takes it from there.

A start never measures: it loads what was chosen before, and ``measure_again`` finds out later whether that is still the
best. Never talks to the network.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.config import Config
from edge_agent.home import Home
from edge_agent.intake import Checked
from edge_agent.journal import note
from edge_agent.measuring import measure, measured_on
from edge_agent.model_loading import Admits, Loader
from edge_agent.proving import Proving
from edge_agent.release_book import NO_MODEL, ReleaseBook
from edge_agent.release_facts import Candidate
from edge_agent.running_model import Pointer, RunningModel
from edge_agent.trial import TRIAL_COMMAND
from edge_agent.update_state import Doing, UpdateState, update_state
from edge_agent.variant_choice import Measured, reasons_against
from edge_agent.waiting import check_deferral
from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.errors import StationFault, TouchstoneError, Unsupported, Untrusted
from runtime.contracts.records import BundleId, Record
from runtime.contracts.sync import ReleaseInfo, moment
from runtime.inspector import Inspector, disagreements


class ModelSlot:
    """The one running model of a process; ``book`` is the station's memory of what it may run. Thread-safe."""

    def __init__(
        self,
        *,
        home: Home,
        book: ReleaseBook,
        config: Config,
        stopping: threading.Event,
        trial_command: Sequence[str] = TRIAL_COMMAND,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.book = book
        self._config = config
        self._stopping = stopping
        self._trial_command = trial_command
        self._scratch = home.bundles  # swept there after a crash, and never in memory as a system's /tmp may be
        self._now = now
        self._pointer = Pointer()
        self._loader = Loader(home, book, config)
        self._proving = Proving(pointer=self._pointer, loader=self._loader, book=book, config=config, now=now)
        self._doing: Doing | None = None

    @property
    def current(self) -> RunningModel | None:
        """The running model; None before the first one."""
        return self._pointer.current

    def require(self) -> RunningModel:
        """Return the running model.

        Raises:
            StationFault: there is none yet.
        """
        current = self._pointer.current
        if current is None:
            raise StationFault(NO_MODEL)
        return current

    def begin(self) -> None:
        """Begin a life of the daemon, before ``restore``; see ``Proving.begin``."""
        self._proving.begin()

    def end(self) -> None:
        """End the daemon in order; see ``Proving.end``."""
        self._proving.end()

    def restore(self, admits: Admits | None) -> None:
        """Load the committed model, or the one before it if its bytes have changed; none if neither can be trusted.

        Args:
            admits: verifies the signed metadata again. Without it the committed bundle id is trusted as it stands in
                the outbox, where only a verified one ever gets; the bundle's bytes are checked against it either way.
        """
        self._loader.admits = admits
        for proved in self.book.runnable():
            try:
                inspector, passed_over = self._loader.load_known(proved)
            except TouchstoneError as error:
                note("bundle_refused_at_start", release=proved.release.release, why=str(error))
                continue
            self._pointer.current = RunningModel(inspector=inspector, release=proved.release)
            self._loader.note(inspector, passed_over)
            return

    def offer(self, folder: Path, release: ReleaseInfo, bundle_id: BundleId) -> None:
        """Measure the variants of the verified bundle in ``folder``; the best that may run does, when nothing waits.

        Raises:
            Unsupported: none may; this is remembered, and the old model goes on.
            Untrusted: its bytes have changed on this disk since it was measured.
            TryLater: the agent is stopping before anything is known.
        """
        try:
            with self.doing(Doing(state="trial", release=release.release)):
                measured = self._measure(open_bundle(folder))
            if not measured.ranked:
                raise Unsupported(reasons_against(measured.tried))
        except (Unsupported, Untrusted) as error:
            raise self._proving.refused(bundle_id, release, error) from error
        now = self._now().isoformat(timespec="seconds")
        self._proving.take(Candidate(bundle_id=bundle_id, release=release, measured=measured, first_seen=now))

    def withdraw(self) -> None:
        """Forget the release that waits or is in the shadow: it is not wanted any more."""
        self._proving.withdraw()

    def advance(self) -> float:
        """Take what is unproved a step further, if one is due; see ``Proving.advance``."""
        return self._proving.advance()

    def scanned(self, record: Record, photos: Sequence[Checked]) -> None:
        """Take note of a finished scan; returns at once."""
        self._proving.scanned(record, photos)

    @contextmanager
    def doing(self, doing: Doing) -> Iterator[None]:
        """Show what is done to a release meanwhile."""
        self._doing = doing
        try:
            yield
        finally:
            self._doing = None

    def update_state(self) -> UpdateState:
        """Return where the update of this station stands."""
        return update_state(self.book, self._config, self._now().astimezone(), self._doing)

    def defer(self, until: datetime) -> None:
        """Put off what waits, or will, until then; releases are still fetched and tried.

        Args:
            until: timezone-aware; a moment that has passed ends an earlier deferral.

        Raises:
            Unsupported: it is more than a day ahead, or the release has been put off for a week already.
        """
        candidate = self.book.candidate()
        check_deferral(until, self._now(), moment(candidate.first_seen) if candidate else None)
        self.book.defer(until)

    def measure_again(self) -> None:
        """Measure the running bundle's variants anew, if what the last measurement holds for has changed.

        Scans go on meanwhile; the best variant runs from the next one on.

        Raises:
            StationFault: no variant may run any more. What runs goes on if it, at least, still agrees with the builder.
            Unsupported: one may, but cannot be loaded in this process.
            TryLater: the agent is stopping before anything is known.
        """
        current = self._pointer.current
        if current is None:
            return
        bundle = current.inspector.bundle
        known = self.book.measured(bundle.bundle_id)
        if known and known.ranked and known.on == measured_on(bundle, self._config):
            return
        measured = self._measure(bundle)
        with self._pointer.changing:
            if self._pointer.current is current:  # not swapped or taken back meanwhile
                self._take_measured(current, measured)

    def _take_measured(self, current: RunningModel, measured: Measured) -> None:
        if not measured.ranked:
            self.book.remember(measured)
            if not _agrees(current.inspector):
                self._pointer.current = None
            raise StationFault(
                f"release {current.release.release} ({current.release.name}): this station has changed, and no variant "
                f"passes here now: {reasons_against(measured.tried)}; undo the change, or publish a release that passes"
            )
        inspector, passed_over = self._loader.load_best(current.inspector.bundle, measured)
        fresh = RunningModel(inspector=inspector, release=current.release)
        self._pointer.exchange(fresh, lambda: self.book.remember(measured))
        self._loader.note(inspector, passed_over)
        note("measured_again", variant=inspector.variant.name, schedule=inspector.schedule)

    def _measure(self, bundle: Bundle) -> Measured:
        return measure(
            bundle, self._config, stopping=self._stopping, command=self._trial_command, scratch=self._scratch
        )


def _agrees(inspector: Inspector) -> bool:
    try:
        return not disagreements(inspector)
    except TouchstoneError:
        return False
