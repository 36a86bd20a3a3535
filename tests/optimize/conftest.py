"""One small set, one model and two bundles for all tests of the toolchain: they take seconds to make."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from calibration_data.dataset import Dataset, Role, load, write_items
from calibration_data.leather.generator import default_workers, generate
from calibration_data.split import assign
from tests.optimize.rigs import Built, build, touchstone_optimize

SHARES: dict[Role, float] = {"train": 0.25, "calibrate": 0.17, "certify": 0.45, "evaluate": 0.13}


@pytest.fixture(scope="session", autouse=True)
def build_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep finished steps of builds in a folder of this run, never in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def goods_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 synthetic items of three views, with listings; 16 counterfeits are there to certify on."""
    folder = tmp_path_factory.mktemp("goods") / "goods"
    generate(folder, items=72, seed=7, difficulty=0.0, counterfeit_share=0.5, photo_px=224, workers=default_workers())
    items = load(folder).items
    roles = assign(items, seed=7, shares=SHARES)
    write_items(folder, [dataclasses.replace(item, split=roles[item.item_id]) for item in items])
    return folder


@pytest.fixture(scope="session")
def goods(goods_folder: Path) -> Dataset:
    """The same, loaded."""
    return load(goods_folder)


@pytest.fixture(scope="session")
def model(goods_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MODEL folder trained on the train split of the goods."""
    folder = tmp_path_factory.mktemp("model") / "model"
    run = touchstone_optimize("finetune", "--data", goods_folder, "--out", folder, "--name", "goods")
    assert run.code == 0, run.err
    assert run.out == f"{folder}: trained on 18 items, views hardware, logo, stitching\n"
    return folder


@pytest.fixture(scope="session")
def pair(goods_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small and a large MODEL folder of the goods, both of which look at a part of the logo.

    Eighteen items teach a network of 64 px nothing, so there are a few more to train on.
    """
    more, found = tmp_path_factory.mktemp("more") / "goods", []
    generate(more, items=48, seed=8, difficulty=0.0, counterfeit_share=0.5, photo_px=224, workers=default_workers())
    taught = [dataclasses.replace(item, item_id=f"more-{item.item_id}", split="train") for item in load(more).items]
    write_items(more, taught)
    for px in (64, 192):
        folder = tmp_path_factory.mktemp(f"px{px}") / "model"
        run = touchstone_optimize(
            *("finetune", "--data", goods_folder, "--data", more, "--out", folder, "--name", f"goods-{px}"),
            *("--px", px, "--region", "logo=0.05,0.05,0.9,0.9"),
        )
        assert run.code == 0, run.err
        found.append(folder)
    return found[0], found[1]


@pytest.fixture(scope="session")
def cascade(pair: tuple[Path, Path], goods_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A bundle whose variants are the large model alone, and cascades of both."""
    small, large = pair
    folder = tmp_path_factory.mktemp("cascade")
    return build(small, goods_folder, folder, "--escalate", large, "--max-missed", 0.3)


@pytest.fixture(scope="session")
def proved(model: Path, goods_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A bundle whose budget is so large that 16 counterfeits prove it."""
    return build(model, goods_folder, tmp_path_factory.mktemp("proved"), "--max-missed", 0.3)


@pytest.fixture(scope="session")
def unproved(model: Path, goods_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A bundle whose budget wants thousands of counterfeits."""
    return build(model, goods_folder, tmp_path_factory.mktemp("unproved"), "--max-missed", 0.001)
