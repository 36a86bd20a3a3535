"""Loads bundles that may run here: bytes and signed metadata checked again, then the first variant that can be loaded.

Decides nothing about releases (see ``edge_agent.model_slot``), and never measures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from edge_agent.config import Config
from edge_agent.home import Home
from edge_agent.journal import note
from edge_agent.measuring import measured_on
from edge_agent.release_book import ReleaseBook
from edge_agent.release_facts import Candidate, Loaded, Proved
from edge_agent.variant_choice import Measured, Pick
from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.errors import TouchstoneError, Unsupported, Untrusted
from runtime.contracts.records import BundleId
from runtime.contracts.sync import ReleaseInfo
from runtime.engine import in_order
from runtime.inspector import Inspector, disagreements

Admits = Callable[[Path, BundleId, int], ReleaseInfo]
"""Verifies the signed metadata kept beside a bundle; raises ``Untrusted``."""


class Loader:
    """The way from a bundle's folder to a loaded model."""

    def __init__(self, home: Home, book: ReleaseBook, config: Config) -> None:
        self._home = home
        self._book = book
        self._config = config
        self.admits: Admits | None = None

    def open(self, known: Proved | Candidate) -> Bundle:
        """Open a bundle after checking every byte of it, and its signed metadata where ``admits`` is given.

        Raises:
            StationFault: it is not there.
            Untrusted: its bytes or its metadata are not those that were committed.
        """
        folder = self._home.bundles / known.bundle_id
        bundle = open_bundle(folder)
        if bundle.bundle_id != known.bundle_id:
            raise Untrusted(f"bundle {folder.name}: its manifest has changed; fetch it again")
        admits = self.admits
        if admits is not None and admits(folder, bundle.bundle_id, known.release.release) != known.release:
            raise Untrusted(f"bundle {folder.name}: its signed release is not the one that was committed")
        return bundle

    def load_best(self, bundle: Bundle, measured: Measured) -> tuple[Inspector, Mapping[str, str]]:
        """Load the best of the variants that have just been measured; see ``_load``."""
        return self._load(bundle, ((pick, True) for pick in measured.ranked))

    def load_known(self, known: Proved) -> tuple[Inspector, Mapping[str, str]]:
        """Open a proved bundle, and load the variant that was chosen before; see ``open`` and ``_load``."""
        bundle = self.open(known)
        return self._load(bundle, self._remembered(bundle, known))

    def note(self, inspector: Inspector, passed_over: Mapping[str, str]) -> None:
        """Remember what was loaded, for ``status``."""
        pick = Pick(variant=inspector.variant.name, schedule=inspector.schedule)
        with suppress(TouchstoneError):  # a full disk is told elsewhere, and a scan must not fail for what status shows
            self._book.note_loaded(Loaded(bundle_id=inspector.bundle.bundle_id, pick=pick, passed_over=passed_over))

    def _remembered(self, bundle: Bundle, proved: Proved) -> Iterator[tuple[Pick, bool]]:
        """Yield what to load at a start, in this order, and whether it has agreed with the builder here before."""
        wanted = self._config.variant
        measured = self._book.measured(bundle.bundle_id)
        ranked = (measured and measured.ranked) or (Pick(variant=proved.variant),)
        agreed = measured is None or bool(measured.ranked)
        known = {pick.variant for pick in ranked}
        yield from ((pick, agreed) for pick in ranked if wanted in (None, pick.variant))
        # Only now, as a start that loads what it remembers need not look at the machine.
        if measured is None or measured.on != measured_on(bundle, self._config):
            names = [variant.name for variant in in_order(bundle.manifest)] if wanted is None else [wanted]
            yield from ((Pick(variant=name), False) for name in names if name not in known)

    def _load(self, bundle: Bundle, candidates: Iterable[tuple[Pick, bool]]) -> tuple[Inspector, Mapping[str, str]]:
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
