"""Holds the running model. A new one is measured in child processes, loaded aside, and swapped in between two scans.

A scan in hand keeps the model that it began with, so a swap drops nothing. Release and floor are committed after the
swap, in one transaction; whatever fails before that leaves the old model running, now and after a restart. A start
never measures: it loads what was chosen before, and ``measure_again`` finds out later whether that is still the best.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_agent.config import Config
from edge_agent.home import Home
from edge_agent.journal import note
from edge_agent.measuring import measure, measured_on
from edge_agent.release_book import NO_MODEL, Loaded, Proved, ReleaseBook
from edge_agent.trial import TRIAL_COMMAND
from edge_agent.variant_choice import Measured, Pick, reasons_against
from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.errors import StationFault, TouchstoneError, Unsupported, Untrusted
from runtime.contracts.records import BundleId, ModelRef
from runtime.contracts.sync import ReleaseInfo
from runtime.engine import in_order
from runtime.inspector import Inspection, Inspector, disagreements

_MOST_REASON = 1000


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
            raise StationFault(NO_MODEL)
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
                inspector, passed_over = self._load(bundle, self._remembered(bundle, proved))
            except TouchstoneError as error:
                note("bundle_refused_at_start", release=proved.release.release, why=str(error))
                continue
            self._current = RunningModel(inspector=inspector, release=proved.release)
            self._note_loaded(inspector, passed_over)
            return

    def offer(self, folder: Path, release: ReleaseInfo, bundle_id: BundleId) -> None:
        """Measure the variants of the verified bundle in ``folder``; the best that may run does, from the next scan on.

        Raises:
            Unsupported: none may; this is remembered, and the old model goes on.
            TryLater: the agent is stopping before anything is known.
        """
        try:
            bundle = open_bundle(folder)
            measured = self._measure(bundle)
            if not measured.ranked:
                raise Unsupported(reasons_against(measured.tried))
            inspector, passed_over = self._load(bundle, _agreed(measured))
        except (Unsupported, Untrusted) as error:
            reason = str(error)[:_MOST_REASON]
            self.book.refuse(bundle_id, release, reason)
            raise Unsupported(
                f"release {release.release} ({release.name}): refused, the old model goes on: {reason}"
            ) from error
        fresh = RunningModel(inspector=inspector, release=release)
        old, self._current = self._current, fresh
        try:
            proved = Proved(bundle_id=bundle_id, release=release, variant=inspector.variant.name)
            self.book.commit(proved, measured)
        except BaseException:
            self._current = old
            raise
        self._note_loaded(inspector, passed_over)
        note("swapped", release=release.release, variant=inspector.variant.name, schedule=inspector.schedule)

    def measure_again(self) -> None:
        """Measure the running bundle's variants anew, if what the last measurement holds for has changed.

        Scans go on meanwhile; the best variant runs from the next one on.

        Raises:
            StationFault: no variant may run any more. What runs goes on if it, at least, still agrees with the builder.
            Unsupported: one may, but cannot be loaded in this process.
            TryLater: the agent is stopping before anything is known.
        """
        current = self._current
        if current is None:
            return
        bundle = current.inspector.bundle
        known = self.book.measured(bundle.bundle_id)
        if known and known.ranked and known.on == measured_on(bundle, self._config):
            return
        measured = self._measure(bundle)
        if not measured.ranked:
            self.book.remember(measured)
            if not _agrees(current.inspector):
                self._current = None
            raise StationFault(
                f"release {current.release.release} ({current.release.name}): this station has changed, and no variant "
                f"passes here now: {reasons_against(measured.tried)}; undo the change, or publish a release that passes"
            )
        inspector, passed_over = self._load(bundle, _agreed(measured))
        self.book.remember(measured)
        self._current = RunningModel(inspector=inspector, release=current.release)
        self._note_loaded(inspector, passed_over)
        note("measured_again", variant=inspector.variant.name, schedule=inspector.schedule)

    def _open(self, proved: Proved, admits: Admits | None) -> Bundle:
        folder = self._home.bundles / proved.bundle_id
        bundle = open_bundle(folder)
        if bundle.bundle_id != proved.bundle_id:
            raise Untrusted(f"bundle {folder.name}: its manifest has changed; fetch it again")
        if admits is not None and admits(folder, bundle.bundle_id, proved.release.release) != proved.release:
            raise Untrusted(f"bundle {folder.name}: its signed release is not the one that was committed")
        return bundle

    def _remembered(self, bundle: Bundle, proved: Proved) -> Iterator[tuple[Pick, bool]]:
        """Yield what to load at a start, in this order, and whether it has agreed with the builder here before."""
        wanted = self._config.variant
        measured = self.book.measured(bundle.bundle_id)
        ranked = (measured and measured.ranked) or (Pick(variant=proved.variant),)
        agreed = measured is None or bool(measured.ranked)
        known = {pick.variant for pick in ranked}
        yield from ((pick, agreed) for pick in ranked if wanted in (None, pick.variant))
        # Only now, as a start that loads what it remembers need not look at the machine.
        if measured is None or measured.on != measured_on(bundle, self._config):
            names = [variant.name for variant in in_order(bundle.manifest)] if wanted is None else [wanted]
            yield from ((Pick(variant=name), False) for name in names if name not in known)

    def _load(self, bundle: Bundle, candidates: Iterable[tuple[Pick, bool]]) -> tuple[Inspector, dict[str, str]]:
        """Load the first candidate that can be; one that has not agreed here before must do so now.

        Returns:
            What was loaded, and for each variant before it why it was not.

        Raises:
            Unsupported: none can be.
        """
        passed_over: dict[str, str] = {}
        for pick, agreed in candidates:
            try:
                inspector = Inspector.open(
                    bundle, variant=pick.variant, threads=self._config.threads, schedule=pick.schedule
                )
                problems = [] if agreed else disagreements(inspector)
            except TouchstoneError as error:
                problems = [str(error)]
            if not problems:
                return inspector, passed_over
            passed_over[pick.variant] = problems[0]
            note("variant_passed_over", variant=pick.variant, why=problems[0])
        raise Unsupported("; ".join(f"{name}: {why}" for name, why in passed_over.items()))

    def _measure(self, bundle: Bundle) -> Measured:
        return measure(bundle, self._config, stopping=self._stopping, command=self._trial_command)

    def _note_loaded(self, inspector: Inspector, passed_over: Mapping[str, str]) -> None:
        pick = Pick(variant=inspector.variant.name, schedule=inspector.schedule)
        with suppress(TouchstoneError):  # a full disk is told elsewhere, and a scan must not fail for what status shows
            self.book.note_loaded(Loaded(bundle_id=inspector.bundle.bundle_id, pick=pick, passed_over=passed_over))


def _agreed(measured: Measured) -> Iterator[tuple[Pick, bool]]:
    return ((pick, True) for pick in measured.ranked)


def _agrees(inspector: Inspector) -> bool:
    try:
        return not disagreements(inspector)
    except TouchstoneError:
        return False
