"""Takes a release that passed its trial the rest of the way: shadow, its hour, swap, watch window; or back again.

Each step lies on disk before the next begins, so that a power cut finds a model that is proved, or watched with the
last known good one behind it. Needs no network, no word of the server's, and delays no scan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from edge_agent.config import Config
from edge_agent.intake import Checked
from edge_agent.journal import note
from edge_agent.lives import MOST_DEATHS, boot_id, next_life
from edge_agent.model_loading import Loader
from edge_agent.release_book import ReleaseBook
from edge_agent.release_facts import Candidate, Lives, Proved, Watching
from edge_agent.running_model import Pointer, RunningModel
from edge_agent.shadow import Shadow
from edge_agent.update_state import candidate_waits_until, judge_candidate, judge_running
from edge_agent.watch_window import Judgement
from runtime.contracts.errors import StationFault, TouchstoneError, Unsupported, Untrusted
from runtime.contracts.records import BundleId, Record
from runtime.contracts.sync import ReleaseInfo
from runtime.inspector import Inspector

_MOST_REASON = 1000
_SOON_S, _LATER_S = 2.0, 30.0
_END_WITHIN_S = 5.0


class Proving:
    """The steps between a trial and a known good release. Thread-safe."""

    def __init__(
        self, *, pointer: Pointer, loader: Loader, book: ReleaseBook, config: Config, now: Callable[[], datetime]
    ) -> None:
        self._pointer = pointer
        self._loader = loader
        self._book = book
        self._config = config
        self._now = now
        self._shadow: Shadow | None = None
        self._judged: tuple[str, int, int, datetime] | None = None

    def begin(self) -> None:
        """Count a start of the daemon: what is unproved and killed it again and again is given up before it loads."""
        watching, candidate = self._book.watching(), self._book.candidate()
        if watching is None and (candidate is None or judge_candidate(candidate, self._config).state != "goes on"):
            return
        life = next_life(self._book.lives(), boot_id())
        reason = f"the agent died {life.deaths} times while it was loaded"
        if life.deaths <= MOST_DEATHS:
            self._book.note_lives(life)
        elif watching is not None and self._book.good():
            self._book.revert(reason)
        elif watching is None and candidate is not None:
            self._book.refuse(candidate.bundle_id, candidate.release, reason)

    def end(self) -> None:
        """End in order: a shadow keeps what it has shown, and this was no death. Waits a few seconds at most."""
        if not self._pointer.changing.acquire(timeout=_END_WITHIN_S):
            return
        try:
            self._end_shadow()
            lives = self._book.lives()
            if lives is not None and lives.alive:
                self._book.note_lives(replace(lives, alive=False))
        finally:
            self._pointer.changing.release()

    def take(self, candidate: Candidate) -> None:
        """Begin with a release that has just passed its trial; see ``advance`` for what may be raised."""
        with self._pointer.changing:
            self._end_shadow()
            before = self._book.candidate()  # it waits for as long as the one whose place it takes
            self._book.keep_candidate(replace(candidate, first_seen=before.first_seen) if before else candidate)
            if self._book.watching() is None:
                self._book.note_lives(Lives(boot=boot_id(), deaths=0, alive=True))
            self.advance()

    def withdraw(self) -> None:
        """Forget the candidate: the server wants another release, or what runs already."""
        with self._pointer.changing:
            self._end_shadow()
            self._book.drop_candidate()

    def advance(self) -> float:
        """Take what is unproved a step further, if one is due; return the seconds until the next look.

        Raises:
            Unsupported: the candidate was refused.
            Untrusted: its bytes have changed on this disk; it is to be fetched again.
            StationFault: the release that runs must go, and the one before cannot be loaded.
        """
        with self._pointer.changing:
            self._judge_running()
            candidate = self._book.candidate()
            if candidate is not None and self._may_take_over(candidate):
                self._swap(candidate)
            busy = self._shadow is not None or self._book.watching() is not None
        return _SOON_S if busy else _LATER_S

    def scanned(self, record: Record, photos: Sequence[Checked]) -> None:
        """Take note of a finished scan; returns at once."""
        shadow = self._shadow
        if shadow is not None:
            shadow.take(record, photos)

    def refused(self, bundle_id: BundleId, release: ReleaseInfo, error: TouchstoneError) -> Unsupported:
        """Remember that a release failed here, and return the error to raise."""
        reason = str(error)[:_MOST_REASON]
        self._book.refuse(bundle_id, release, reason)
        return Unsupported(f"release {release.release} ({release.name}): refused, the old model goes on: {reason}")

    def _may_take_over(self, candidate: Candidate) -> bool:
        if self._pointer.current is None or self._is_good(candidate):
            return True
        if not self._has_passed_shadow(candidate):
            return False
        now = self._now().astimezone()
        return candidate_waits_until(candidate, self._config, now, self._book.deferred_until()) is None

    def _has_passed_shadow(self, candidate: Candidate) -> bool:
        shadow = self._shadow
        if shadow is not None:
            candidate = self._keep_shown(candidate, shadow)
        judgement = judge_candidate(candidate, self._config)
        if shadow is not None and shadow.failed is not None and judgement.state == "goes on":
            judgement = Judgement(state="failed", text=f"in the shadow: {shadow.failed}")
        if judgement.state == "goes on":
            if shadow is None and self._book.watching() is None:  # what it is compared with must be good itself
                self._shadow = Shadow(lambda: self._load(candidate), candidate.shadow)
            return False
        self._end_shadow()
        if judgement.state == "failed":
            raise self.refused(candidate.bundle_id, candidate.release, Unsupported(judgement.text))
        if shadow is not None:
            note("shadowed", release=candidate.release.release, result=judgement.text)
        return True

    def _load(self, candidate: Candidate) -> Inspector:
        return self._loader.load_best(self._loader.open(candidate), candidate.measured)[0]

    def _keep_shown(self, candidate: Candidate, shadow: Shadow) -> Candidate:
        seen = shadow.seen
        if seen != candidate.shadow:
            candidate = replace(candidate, shadow=seen)
            self._book.keep_candidate(candidate)
        return candidate

    def _end_shadow(self) -> None:
        shadow, self._shadow = self._shadow, None
        if shadow is not None:
            shadow.close()
            candidate = self._book.candidate()
            if candidate is not None:
                self._keep_shown(candidate, shadow)

    def _swap(self, candidate: Candidate) -> None:
        release = candidate.release
        try:
            bundle = self._loader.open(candidate)
            inspector, passed_over = self._loader.load_best(bundle, candidate.measured)
        except Unsupported as error:
            raise self.refused(candidate.bundle_id, release, error) from error
        except (Untrusted, StationFault):  # a fault of this disk, which says nothing of the release
            self._book.drop_candidate()
            raise
        proved = Proved(
            bundle_id=candidate.bundle_id,
            release=release,
            variant=inspector.variant.name,
            created_at=bundle.manifest.created_at,
        )
        watching = self._window_of(candidate)
        self._pointer.exchange(
            RunningModel(inspector=inspector, release=release),
            lambda: self._book.commit(proved, candidate.measured, watching),
        )
        if watching is not None:
            self._book.note_lives(Lives(boot=boot_id(), deaths=0, alive=True))
        self._loader.note(inspector, passed_over)
        note("swapped", release=release.release, variant=inspector.variant.name, schedule=inspector.schedule)

    def _window_of(self, candidate: Candidate) -> Watching | None:
        good = self._book.good()
        if not (self._config.watch_scans and good) or self._is_good(candidate):
            return None
        return Watching(
            bundle_id=candidate.bundle_id,
            since_seq=self._book.last_seq(),
            started=self._now().isoformat(timespec="seconds"),
            before=self._book.seen_before(good[0].bundle_id),
        )

    def _judge_running(self) -> None:
        watching, current = self._book.watching(), self._pointer.current
        if watching is None or current is None or current.ref.bundle_id != watching.bundle_id:
            return
        now, faults = self._now(), current.inspector.faults
        known = (watching.bundle_id, self._book.last_seq(), faults, now.replace(second=0, microsecond=0))
        if known == self._judged:  # nothing new to judge by
            return
        judgement = judge_running(self._book, watching, self._config, now, faults)
        self._judged = known
        if judgement.state == "passed":
            self._book.passed()
            note("watch_passed", release=current.release.release, result=judgement.text)
        elif judgement.state == "failed":
            self._revert(current, judgement.text)

    def _revert(self, current: RunningModel, reason: str) -> None:
        good = next(iter(self._book.good()), None)
        try:
            if good is None:
                raise StationFault("there is none")
            inspector, passed_over = self._loader.load_known(good)
        except TouchstoneError as error:
            raise StationFault(
                f"release {current.release.release}: {reason}; it should go, but the release before cannot be loaded: "
                f"{error}; publish a release that passes"
            ) from error
        self._pointer.exchange(
            RunningModel(inspector=inspector, release=good.release), lambda: self._book.revert(reason[:_MOST_REASON])
        )
        self._loader.note(inspector, passed_over)

    def _is_good(self, candidate: Candidate) -> bool:
        return any(good.bundle_id == candidate.bundle_id for good in self._book.good())
