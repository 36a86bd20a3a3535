"""One loaded bundle that inspects scans: photos and listing features in, verdict and reasons out. Thread-safe."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.bundle_store import Bundle
from runtime.contracts.bundle import ANY_VIEW, LISTING, ListingModel, Variant
from runtime.contracts.errors import StationFault, Unsupported
from runtime.contracts.records import Prediction, Reason, Verdict
from runtime.engine import Network, choose_variant, cpu_flags, load_network, missing_isa
from runtime.policy import decide, fuse, missing_views
from runtime.preprocess import prepare


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What came out of one scan. ``logits`` holds one value a photo, in the order given; timings are microseconds.

    A logit is ``None`` where the network gave NaN or infinity: a record, which is JSON, must be able to hold it.
    """

    prediction: Prediction
    verdict: Verdict
    reasons: tuple[Reason, ...]
    logits: Mapping[str, tuple[float | None, ...]]
    timings_us: Mapping[str, int]


class Inspector:
    """A verified bundle with one of its variants loaded and warm."""

    def __init__(self, bundle: Bundle, variant: Variant, network: Network, listing_network: Network | None) -> None:
        self.bundle = bundle
        self.variant = variant
        self._network = network
        self._listing_network = listing_network
        assert bundle.manifest.input is not None  # checked by ``open``
        self._px = bundle.manifest.input.px

    @classmethod
    def open(cls, bundle: Bundle, *, variant: str | None = None, threads: int = 0) -> Inspector:
        """Load and warm up a bundle.

        Args:
            bundle: from ``open_bundle``.
            variant: which one to load; ``None`` takes the best that this CPU runs.
            threads: for the engine; 0 lets it choose.

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
        network = load_network(chosen.engine, bundle.path(chosen.file), threads)
        listing = bundle.manifest.listing
        listing_network = load_network("onnxruntime", bundle.path(listing.file), 1) if listing else None
        inspector = cls(bundle, chosen, network, listing_network)
        try:
            inspector._warm_up()
        except StationFault as error:
            raise Unsupported(f"variant {chosen.name}: it does not run here: {error}") from error
        return inspector

    def _warm_up(self) -> None:
        chosen, bundle, px = self.variant, self.bundle, self._px
        logits = self._network.run(np.zeros((1, px, px, 3), np.uint8))
        if logits.shape != (1, len(bundle.manifest.views)):
            raise Unsupported(
                f"variant {chosen.name}: expected logits (1, {len(bundle.manifest.views)}), got {logits.shape}"
            )
        if bundle.manifest.listing is not None:
            self._score_listing(bundle.manifest.listing, [None] * len(bundle.manifest.listing.features))

    def score(self, photos: Sequence[bytes], names: Sequence[str] | None = None) -> npt.NDArray[np.float32]:
        """Return the network's logits for encoded photos, ``float32 (len(photos), len(views))``."""
        return self._network.run(prepare(photos, self._px, names))

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
        raw = float(self._listing_network.run(row).reshape(-1)[-1])
        return fuse({LISTING: [raw]}, model.fusion)

    def inspect(self, photos: Mapping[str, Sequence[bytes]], listing: Mapping[str, float | None] | None) -> Inspection:
        """Inspect one item.

        Args:
            photos: view to its encoded photos; views that the bundle does not name are kept but not scored.
            listing: feature name to value, ``None`` for unknown; ``None`` altogether where there is no listing.

        Raises:
            Unsupported: a photo does not decode; the message names its view.
            StationFault: the engine failed.
        """
        started = time.perf_counter_ns()
        manifest = self.bundle.manifest
        shared = manifest.views == (ANY_VIEW,)
        pairs = [(v, data) for v, group in photos.items() for data in group if shared or v in manifest.views]
        batch = prepare([data for _, data in pairs], self._px, [f"of view {view!r}" for view, _ in pairs])
        decoded = time.perf_counter_ns()
        scores = self._network.run(batch) if pairs else np.empty((0, len(manifest.views)), np.float32)
        logits: dict[str, list[float]] = {}
        for (view, _), row in zip(pairs, scores, strict=True):
            logits.setdefault(view, []).append(float(row[0 if shared else manifest.views.index(view)]))
        inferred = time.perf_counter_ns()
        prediction = Prediction(
            p_counterfeit=fuse(logits, self.variant.fusion),
            p_fraud=self.listing_probability(listing) if listing is not None else None,
        )
        verdict, reasons = decide(
            prediction,
            self.variant.thresholds,
            manifest.listing.uncertain_from if manifest.listing else None,
            missing_views(photos, manifest.views),
        )
        done = time.perf_counter_ns()
        return Inspection(
            prediction=prediction,
            verdict=verdict,
            reasons=reasons,
            logits={view: tuple(v if math.isfinite(v) else None for v in values) for view, values in logits.items()},
            timings_us={
                "decode": (decoded - started) // 1000,
                "infer": (inferred - decoded) // 1000,
                "decide": (done - inferred) // 1000,
            },
        )


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
