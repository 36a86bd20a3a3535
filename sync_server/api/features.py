"""Routes of listing features that are sent ahead: people load them, stations fetch them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query

from runtime.contracts.errors import Unsupported
from runtime.contracts.sync import MAX_FEATURES_PAGE, FeaturesAhead
from sync_server.api.bodies import strictly
from sync_server.api.callers import Caller, Device, Shared
from sync_server.features import MAX_ROWS, FeatureRow, Loaded, features_after, load_features

router = APIRouter(prefix="/v1", tags=["features"])


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRows:
    """What to load: at most 1000 rows, all or none."""

    rows: tuple[FeatureRow, ...]


@router.put("/features")
def load(body: FeatureRows, caller: Caller, _: Annotated[None, strictly(FeatureRows)], shared: Shared) -> Loaded:
    """Load features of items. Of an item the newest stay, so sending them again is safe."""
    caller.must_be("releaser")
    if len(body.rows) > MAX_ROWS:
        raise Unsupported(f"rows: expected at most {MAX_ROWS}, got {len(body.rows)}; send them in parts")
    with shared.store.write() as connection:
        return load_features(connection, body.rows, shared.now())


@router.get("/station/features")
def features(
    station: Device,
    shared: Shared,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_FEATURES_PAGE)] = MAX_FEATURES_PAGE,
) -> FeaturesAhead:
    """Return what was loaded for this station above a number, oldest first."""
    with shared.store.read() as connection:
        return features_after(connection, station, after, limit)
