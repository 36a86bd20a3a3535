"""Routes of frozen datasets."""

from __future__ import annotations

from fastapi import APIRouter, Response

from sync_server.api.callers import Caller, Shared
from sync_server.datasets import Frozen, find_dataset, freeze

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


@router.post("", status_code=201, responses={200: {"description": "The same content was frozen before"}})
def freeze_dataset(caller: Caller, shared: Shared, response: Response) -> Frozen:
    """Freeze what the experts agreed on until now; the id is the hash of the content."""
    caller.must_be("releaser")
    with shared.store.write() as connection:
        frozen, new = freeze(connection, shared.now())
    response.status_code = 201 if new else 200
    return frozen


@router.get("/{dataset_id}")
def dataset(dataset_id: str, _: Caller, shared: Shared) -> Frozen:
    """Return a frozen dataset."""
    with shared.store.read() as connection:
        return find_dataset(connection, dataset_id)
