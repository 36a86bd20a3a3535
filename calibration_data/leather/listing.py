"""Listing features of a synthetic item, and whether its sale was fraud.

Fraud is drawn with a probability that the features only partly tell, and that being counterfeit only partly moves: a
good tree model reaches an AUC of about 0.85, never 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, log, nan

import numpy as np

LISTING_NAMES = (
    "payment_risk",
    "photo_count",
    "price_ratio",
    "return_rate",
    "seller_age_days",
    "seller_items",
    "ships_from_abroad",
)


def draw_listing(counterfeit: bool, rng: np.random.Generator) -> tuple[Mapping[str, float], bool]:
    """Draw the listing of one item.

    Args:
        counterfeit: Moves price and origin a little, and fraud a little more.
        rng: Source of every number.

    Returns:
        The features by name (`LISTING_NAMES`; NaN is missing) and whether the sale was fraud.
    """
    age_days = exp(rng.normal(5.6, 1.3))
    price_ratio = exp(rng.normal(-0.24 if counterfeit else -0.12, 0.28))
    sold = float(rng.poisson(exp(rng.normal(1.6, 1.0))))
    returns = float(rng.beta(1.4, 14))
    photos = float(1 + rng.poisson(5))
    abroad = float(rng.random() < (0.34 if counterfeit else 0.24))
    payment = float(rng.beta(1.6, 4.5))
    logit = (
        -3.4
        + 1.15 * (5.6 - log(age_days)) / 1.3
        + 5.0 * (payment - 0.26)
        + 2.2 * (price_ratio < 0.72)
        + 1.8 * abroad * (sold < 4)
        + 7.0 * (returns - 0.09)
        - 0.10 * (photos - 6)
        + 0.5 * counterfeit
    )
    fraud = bool(rng.random() < 1 / (1 + exp(-logit)))
    unknown_returns, unknown_payment = rng.random() < (0.5 if sold < 2 else 0.03), rng.random() < 0.06
    features = {
        "payment_risk": nan if unknown_payment else round(payment, 4),
        "photo_count": photos,
        "price_ratio": round(price_ratio, 4),
        "return_rate": nan if unknown_returns else round(returns, 4),
        "seller_age_days": float(round(age_days)),
        "seller_items": sold,
        "ships_from_abroad": abroad,
    }
    return features, fraud
