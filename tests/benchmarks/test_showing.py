"""Items before a station: what is shown again counts as another item, and looks the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.showing import show, show_as_another
from calibration_data.dataset import Item, load
from edge_agent.capture import open_item, read_photo_file
from runtime.contracts.records import Record
from tests.edge_agent.conftest import give_model
from tests.edge_agent.rigs import make_home
from tests.edge_agent.test_station import Rig, request_of


def test_an_item_that_is_shown_again_is_one_of_its_own_to_the_station_and_judged_alike(
    tmp_path: Path, tiny_bundle: Callable[..., Path], photo_of: Callable[..., bytes]
) -> None:
    rig = Rig(give_model(make_home(tmp_path / "station"), tiny_bundle))
    inbox = rig.home.inbox
    item = one_item(tmp_path / "data", photo_of)

    def scan(name: str) -> Record:
        found = open_item(inbox / name)
        photos = {view: read_photo_file(path) for view, _, path in found.photos}
        return rig.station.scan(request_of(found.item_id, **photos), lambda: rig.model).record

    show(item, inbox)
    show_as_another(item, inbox, 0)
    show_as_another(item, inbox, 1)
    seen = [scan(name) for name in (item.item_id, "again-0", "again-1")]
    assert {record.verdict for record in seen} == {"authentic"}
    assert len({record.item_id for record in seen}) == 3
    assert len({view.photo for record in seen for view in record.views}) == 6

    shutil.copytree(inbox / "again-1", inbox / "copied")
    (inbox / "copied" / "item.json").unlink()
    assert [reason.code for reason in scan("copied").reasons] == ["same_photo", "same_photo"]


def test_a_photo_that_is_no_jpeg_is_shown_again_as_one(tmp_path: Path, photo_of: Callable[..., bytes]) -> None:
    folder = tmp_path / "data" / "genuine" / "bag"
    folder.mkdir(parents=True)
    pixels = cv2.imdecode(np.frombuffer(photo_of(20), np.uint8), cv2.IMREAD_COLOR)
    cv2.imwrite(str(folder / "logo.png"), pixels)
    (item,) = load(tmp_path / "data", both_classes=False).items
    (tmp_path / "inbox").mkdir()
    show_as_another(item, tmp_path / "inbox", 0)
    ((_, _, path),) = open_item(tmp_path / "inbox" / "again-0").photos
    again = cv2.imread(str(path))
    assert (path.suffix, again.shape) == (".jpg", pixels.shape)
    assert np.abs(again.astype(int) - pixels).mean() < 8


def one_item(root: Path, photo_of: Callable[..., bytes]) -> Item:
    folder = root / "genuine" / "bag"
    folder.mkdir(parents=True)
    for seed, view in enumerate(("logo", "stitching")):
        (folder / f"{view}.jpg").write_bytes(photo_of(20, seed=seed))
    (item,) = load(root, both_classes=False).items
    return item
