"""The listing model in a build: the same calibration, ladder and certificate as for photos, on the fraud label."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibration_data.dataset import Item
from optimize.decisions import decide_split
from optimize.evidence import ListingEvidence
from optimize.model import LISTING_NETWORK
from optimize.risk import Budget, auc
from optimize.roles import Roles
from optimize.rule import Scored
from runtime.contracts.bundle import LISTING, ListingModel
from runtime.contracts.errors import Unsupported
from runtime.engine import Network, load_network


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingSource:
    """A listing network's bytes, and its features in order."""

    network: bytes
    features: tuple[str, ...]


def listing_rows(items: Sequence[Item], features: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return the items' listings as ``float32 (n, F)``, NaN where missing; items without a listing are left out."""
    known = [item.listing for item in items if item.listing is not None]
    table = [[listing.get(name, math.nan) for name in features] for listing in known]
    return np.array(table, np.float32).reshape(len(known), len(features))


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedListing:
    """The listing model as it ships, its evidence, and P(fraud) of the evaluate items."""

    model: ListingModel
    evidence: ListingEvidence
    p_fraud: Mapping[str, float]


def decide_listing(source: ListingSource, roles: Roles, draft: Path, budget: Budget) -> DecidedListing:
    """Write the listing network into a draft bundle, and certify it.

    Args:
        source: the network.
        roles: of the items.
        draft: the bundle's folder, with ``variants/``.
        budget: of the listing.

    Raises:
        Unsupported: a split lacks items with and without fraud.
    """
    file = f"variants/{LISTING_NETWORK}"
    (draft / file).write_bytes(source.network)
    network = load_network("onnxruntime", draft / file, 1)
    features = source.features
    calibrate, certify = (_score(network, features, _labelled(side)) for side in (roles.calibrate, roles.certify))
    evaluate = _score(network, features, roles.evaluate)  # a station scores every listing, labelled or not
    if len({item.positive for item in calibrate}) < 2:
        raise Unsupported("split: calibrate has no items with fraud, or none without; add items with the fraud column")
    decided = decide_split(calibrate, certify, evaluate, (LISTING,), budget)
    labelled = _labelled(roles.evaluate)
    p = np.array([decided.probabilities[item.item_id] for item in labelled])
    fraud = np.array([bool(item.fraud) for item in labelled], bool)
    return DecidedListing(
        model=ListingModel(
            file=file,
            features=features,
            fusion=decided.rule.fusion,
            uncertain_from=decided.certificate.threshold,
        ),
        evidence=ListingEvidence(
            certificate=decided.certificate, auc=auc(p[fraud], p[~fraud]), honest_review=decided.review
        ),
        p_fraud=decided.probabilities,
    )


def _labelled(items: Sequence[Item]) -> list[Item]:
    return [item for item in items if item.listing is not None and item.fraud is not None]


def _score(network: Network, features: Sequence[str], items: Sequence[Item]) -> list[Scored]:
    known = [item for item in items if item.listing is not None]
    if not known:
        return []
    values = network.run(listing_rows(known, features)).reshape(-1)
    return [
        Scored(item_id=item.item_id, positive=bool(item.fraud), logits={LISTING: [float(value)]})
        for item, value in zip(known, values, strict=True)
    ]
