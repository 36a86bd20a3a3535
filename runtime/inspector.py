"""One loaded bundle that inspects scans: photos and listing features in, verdict and reasons out. Thread-safe.

A photo can be looked at as soon as it is there (``look``); what is left after the last one is to ``conclude``. Photos
that arrive together go through ``look_at``, on all cores.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from runtime.bundle_store import Bundle
from runtime.contracts.bundle import ANY_VIEW, LISTING, InputSpec, ListingModel, Region, Variant
from runtime.contracts.errors import StationFault, Unsupported
from runtime.contracts.records import Prediction, Reason, Verdict
from runtime.cores import core_count
from runtime.engine import Network, choose_variant, cpu_flags, load_network, missing_isa
from runtime.policy import decide, fuse, is_sure, missing_views
from runtime.preprocess import Pixels, Shown, prepare_into

Schedule = Literal["each", "together"]
"""How photos that arrive together go through inference: ``each`` by itself as soon as it is decoded, on one core, or
all ``together`` as one batch on every core. Which is faster depends on the device, so it is measured there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the model saw in one photo.

    Attributes:
        view: of the photo.
        logit: of the network that looks first.
        rows: the photo prepared for each stage, ``uint8 (px, px, 3)``; the last is the variant's own.
        decode_us: busy time of decoding, microseconds.
        infer_us: busy time of the network; a batch's is divided over its photos.
    """

    view: str
    logit: float
    rows: tuple[Pixels, ...]
    decode_us: int
    infer_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What came out of one scan. ``logits`` holds one value a photo, in the order given; timings are microseconds.

    A logit is ``None`` where the network gave NaN or infinity: a record, which is JSON, must be able to hold it. Of a
    cascade, logits are of the stage that decided, and ``escalate`` is timed where that is the second one.
    """

    prediction: Prediction
    verdict: Verdict
    reasons: tuple[Reason, ...]
    logits: Mapping[str, tuple[float | None, ...]]
    timings_us: Mapping[str, int]


class Inspector:
    """A verified bundle with one of its variants loaded and warm.

    Attributes:
        faults: how often its engine has failed since it was loaded.
    """

    def __init__(
        self,
        bundle: Bundle,
        variant: Variant,
        networks: Sequence[Network],
        listing_network: Network | None,
        schedule: Schedule,
    ) -> None:
        assert bundle.manifest.input is not None  # checked by ``open``
        self.bundle = bundle
        self.variant = variant
        self.schedule = schedule
        self._networks = tuple(networks)
        self._listing_network = listing_network
        self._input: InputSpec = bundle.manifest.input
        self._sizes = (*([variant.first.px] if variant.first else []), self._input.px)
        self._cores = ThreadPoolExecutor(core_count(), "look")
        self.faults = 0
        self._one_at_a_time = threading.Lock()

    @classmethod
    def open(
        cls, bundle: Bundle, *, variant: str | None = None, threads: int = 0, schedule: Schedule = "each"
    ) -> Inspector:
        """Load and warm up a bundle.

        Args:
            bundle: from ``open_bundle``.
            variant: which one to load; ``None`` takes the best that this CPU runs.
            threads: for the engine; 0 takes what the schedule wants.
            schedule: for photos that arrive together.

        Raises:
            Unsupported: no variant runs here.
        """
        if bundle.manifest.input is None:
            raise Unsupported(
                f"bundle {bundle.manifest.name}: only the fidelity of its outputs was judged, so it decides nothing; "
                "build one with labelled items (--data)"
            )
        flags = cpu_flags()
        chosen = choose_variant(bundle.manifest, variant, flags)
        lacking = missing_isa(chosen, flags)
        if lacking:
            raise Unsupported(f"variant {chosen.name} was certified on {', '.join(lacking)}, which this CPU lacks")
        threads = threads or (1 if schedule == "each" else core_count())
        files = (*([chosen.first.file] if chosen.first else []), chosen.file)
        networks = [load_network(chosen.engine, bundle.path(file), threads) for file in files]
        listing = bundle.manifest.listing
        listing_network = load_network("onnxruntime", bundle.path(listing.file), 1) if listing else None
        inspector = cls(bundle, chosen, networks, listing_network, schedule)
        try:
            inspector._warm_up()
        except StationFault as error:
            raise Unsupported(f"variant {chosen.name}: it does not run here: {error}") from error
        return inspector

    def _warm_up(self) -> None:
        columns = len(self.bundle.manifest.views)
        for network, px in zip(self._networks, self._sizes, strict=True):
            logits = network.run(np.zeros((1, px, px, 3), np.uint8))
            if logits.shape != (1, columns):
                raise Unsupported(f"variant {self.variant.name}: expected logits (1, {columns}), got {logits.shape}")
        if self.bundle.manifest.listing is not None:
            self._score_listing(self.bundle.manifest.listing, [None] * len(self.bundle.manifest.listing.features))

    def knows(self, view: str) -> bool:
        """Tell whether the model looks at photos of this view; others are kept, but not scored."""
        return self._shared or view in self.bundle.manifest.views

    def look(self, view: str, photo: Shown) -> Look:
        """Decode one photo of a known view, and score it with the network that looks first.

        Raises:
            Unsupported: it does not decode; the message names its view.
            StationFault: the engine failed.
        """
        started_ns = time.perf_counter_ns()
        rows = self._blank_rows(1)
        own = tuple(row[0] for row in rows)
        prepare_into(own, photo, f"of view {view!r}", self._region(view))
        decoded_ns = time.perf_counter_ns()
        scores = self._run(self._networks[0], rows[0])
        return Look(
            view=view,
            logit=self._logit(view, scores[0]),
            rows=own,
            decode_us=(decoded_ns - started_ns) // 1000,
            infer_us=(time.perf_counter_ns() - decoded_ns) // 1000,
        )

    def look_at(self, photos: Sequence[tuple[str, Shown]]) -> list[Look]:
        """Look at photos of known views that arrived together, in their order; see ``look``."""
        if len(photos) < 2 or self.schedule == "each":
            return list(self._cores.map(lambda one: self.look(*one), photos))
        rows = self._blank_rows(len(photos))

        def fill(index: int) -> int:
            started_ns = time.perf_counter_ns()
            view, photo = photos[index]
            prepare_into([row[index] for row in rows], photo, f"of view {view!r}", self._region(view))
            return (time.perf_counter_ns() - started_ns) // 1000

        decode_us = list(self._cores.map(fill, range(len(photos))))
        started_ns = time.perf_counter_ns()
        scores = self._run(self._networks[0], rows[0])
        infer_us = (time.perf_counter_ns() - started_ns) // 1000 // len(photos)
        return [
            Look(
                view=view,
                logit=self._logit(view, scores[index]),
                rows=tuple(row[index] for row in rows),
                decode_us=decode_us[index],
                infer_us=infer_us,
            )
            for index, (view, _) in enumerate(photos)
        ]

    @property
    def judges_listings(self) -> bool:
        """Tell whether the bundle has a listing model, so that a scan without a listing lacks something."""
        return self.bundle.manifest.listing is not None

    def conclude(
        self,
        looks: Sequence[Look],
        given: Collection[str],
        listing: Mapping[str, float | None] | None,
        *,
        listing_stale: bool = False,
    ) -> Inspection:
        """Decide about one item from what was seen; a cascade takes its second look here, where it needs one.

        Args:
            looks: at every photo of a known view.
            given: every view that the item has a photo of.
            listing: feature name to value, ``None`` for unknown; ``None`` altogether where there is no listing.
            listing_stale: the listing is too old to confirm anything.

        Raises:
            StationFault: the engine failed.
        """
        started_ns = time.perf_counter_ns()
        manifest, first = self.bundle.manifest, self.variant.first
        logits = _by_view(looks, [look.logit for look in looks])
        p = fuse(logits, first.fusion if first else self.variant.fusion)
        escalate_us = 0
        if first is not None and looks and not is_sure(p, first):
            scores = self._run(self._networks[-1], np.stack([look.rows[-1] for look in looks]))
            logits = _by_view(looks, [self._logit(one.view, row) for one, row in zip(looks, scores, strict=True)])
            p = fuse(logits, self.variant.fusion)
            escalate_us = (time.perf_counter_ns() - started_ns) // 1000
        prediction = Prediction(
            p_counterfeit=p, p_fraud=self.listing_probability(listing) if listing is not None else None
        )
        verdict, reasons = decide(
            prediction,
            self.variant.thresholds,
            manifest.listing.uncertain_from if manifest.listing else None,
            missing_views(dict.fromkeys(given, (True,)), manifest.views),
            listing_stale,
        )
        return Inspection(
            prediction=prediction,
            verdict=verdict,
            reasons=reasons,
            logits={view: tuple(v if math.isfinite(v) else None for v in values) for view, values in logits.items()},
            timings_us={
                "decode": sum(look.decode_us for look in looks),
                "infer": sum(look.infer_us for look in looks) + escalate_us,
                **({"escalate": escalate_us} if escalate_us else {}),
                "decide": (time.perf_counter_ns() - started_ns) // 1000 - escalate_us,
            },
        )

    def inspect(self, photos: Mapping[str, Sequence[Shown]], listing: Mapping[str, float | None] | None) -> Inspection:
        """Inspect one item whose photos are all there; see ``look`` and ``conclude``.

        Args:
            photos: view to its photos; views that the bundle does not name are kept but not scored.
            listing: as for ``conclude``.
        """
        known = [(view, photo) for view, group in photos.items() if self.knows(view) for photo in group]
        return self.conclude(self.look_at(known), [view for view, group in photos.items() if group], listing)

    def listing_probability(self, listing: Mapping[str, float | None]) -> float | None:
        """Return the calibrated P(fraud); ``None`` without a listing model, or where the listing cannot be judged.

        A feature given as ``None`` is known to be unknown, and the trees were trained for that. A listing that leaves
        one of the model's features out, or knows none of them, is a missing listing.
        """
        model = self.bundle.manifest.listing
        if model is None or any(name not in listing for name in model.features):
            return None
        values = [listing[name] for name in model.features]
        return None if all(value is None for value in values) else self._score_listing(model, values)

    def _score_listing(self, model: ListingModel, values: Sequence[float | None]) -> float | None:
        assert self._listing_network is not None  # loaded with the model
        row = np.array([[math.nan if value is None else value for value in values]], np.float32)
        raw = float(self._run(self._listing_network, row).reshape(-1)[-1])
        return fuse({LISTING: [raw]}, model.fusion)

    def _run(self, network: Network, batch: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        try:
            return network.run(batch)
        except StationFault:
            with self._one_at_a_time:
                self.faults += 1
            raise

    @property
    def _shared(self) -> bool:
        return self.bundle.manifest.views == (ANY_VIEW,)

    def _region(self, view: str) -> Region | None:
        return self._input.regions.get(ANY_VIEW if self._shared else view)

    def _blank_rows(self, count: int) -> list[Pixels]:
        return [np.empty((count, px, px, 3), np.uint8) for px in self._sizes]

    def _logit(self, view: str, row: npt.NDArray[np.float32]) -> float:
        return float(row[0 if self._shared else self.bundle.manifest.views.index(view)])


def _by_view(looks: Sequence[Look], logits: Sequence[float]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for look, logit in zip(looks, logits, strict=True):
        found.setdefault(look.view, []).append(logit)
    return found


def disagreements(inspector: Inspector) -> list[str]:
    """Score the bundle's golden samples and return, in words, where this device disagrees with the builder.

    An empty list is proof; a bundle without golden samples is a disagreement.
    """
    manifest = inspector.bundle.manifest
    if not manifest.golden:
        return ["the bundle has no golden samples to prove itself on"]
    found = []
    for number, golden in enumerate(manifest.golden, 1):
        photos = {v: [inspector.bundle.path(p).read_bytes() for p in paths] for v, paths in golden.photos.items()}
        prediction = inspector.inspect(photos, golden.listing).prediction
        expected = golden.p_counterfeit.get(inspector.variant.name)
        for what, want, got in (
            ("P(counterfeit)", expected, prediction.p_counterfeit),
            ("P(fraud)", golden.p_fraud, prediction.p_fraud),
        ):
            if want is None and what == "P(fraud)":
                continue
            if want is None or got is None or not abs(want - got) <= manifest.golden_tolerance:
                found.append(f"golden sample {number}: {what} is {got}, the builder had {want}")
    return found
