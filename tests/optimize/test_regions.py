from __future__ import annotations

from pathlib import Path

import pytest

from optimize.model import load_spec
from optimize.regions import read_regions, region_of, require_views
from runtime.contracts.bundle import Region
from runtime.contracts.errors import Unsupported
from tests.optimize.rigs import touchstone_optimize

LOGO = Region(left=0.25, top=0.1, width=0.5, height=0.9)


def test_regions_read_as_they_are_written() -> None:
    assert read_regions(["logo=0.25,0.1,0.5,0.9", "a=b=0,0,1,1"]) == {
        "logo": LOGO,
        "a=b": Region(left=0, top=0, width=1, height=1),
    }
    assert read_regions([]) == {}


@pytest.mark.parametrize(
    "text",
    [
        *("logo", "logo=", "logo=1,2,3", "logo=0,0,1,1,1", "logo=a,0,1,1", "=0,0,1,1"),
        *("logo=0.6,0,0.5,1", "logo=-0.1,0,0.5,1", "logo=0,0,0,1", "logo=nan,0,0.5,0.5", "logo=0,0,0.5,inf"),
    ],
)
def test_what_is_no_part_of_a_photo_is_refused(text: str) -> None:
    with pytest.raises(Unsupported, match=f"--region {text}: expected"):
        read_regions([text])


def test_a_view_has_one_region() -> None:
    with pytest.raises(Unsupported, match="expected each view once"):
        read_regions(["logo=0,0,1,1", "logo=0,0,0.5,1"])


def test_regions_are_of_views_that_the_model_looks_at() -> None:
    require_views({"logo": LOGO}, ("logo", "serial"))
    require_views({"*": LOGO}, ("*",))
    for strange, views in (("sole", ("logo",)), ("*", ("logo",)), ("logo", ("*",))):
        with pytest.raises(Unsupported, match="the model looks at no such view"):
            require_views({strange: LOGO}, views)


def test_exchangeable_views_share_one_region() -> None:
    assert region_of("logo", ("logo",), {"logo": LOGO}) == LOGO
    assert region_of("serial", ("logo", "serial"), {"logo": LOGO}) is None
    assert region_of("anything", ("*",), {"*": LOGO}) == LOGO


def test_finetune_refuses_a_region_and_a_backbone_and_a_size_that_cannot_be(goods_folder: Path, tmp_path: Path) -> None:
    for options, words in (
        (("--region", "sole=0,0,0.5,0.5"), "the data has hardware, logo, stitching"),
        (("--backbone", "resnet"), "--backbone resnet: expected one of lite0, lite1, lite2"),
        (("--px", 16), "--px 16: expected 32 to 1024"),
    ):
        run = touchstone_optimize("finetune", "--data", goods_folder, "--out", tmp_path / "m", *options)
        assert run.code == 2
        assert words in run.err
    assert list(tmp_path.iterdir()) == []


def test_a_model_folder_of_an_earlier_version_looks_at_whole_photos(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(
        '{"format": 1, "name": "goods", "px": 224, "views": ["logo"], "trained_on": [], "folds": null, '
        '"listing": null, "seed": 7, "by_time": false, "provenance": {}}'
    )
    assert load_spec(tmp_path).regions == {}
