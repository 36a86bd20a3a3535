"""Real photos of real objects: what a linear head on a pretrained backbone tells, and what lighting alone tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibration_data.dataset import Dataset, load
from calibration_data.split import folds
from optimize.colour import ColourStatistics, colour_auc, item_colours
from optimize.model import load_spec
from optimize.scoring import score_photos
from tests.optimize.rigs import build, touchstone_optimize

FOLDS = 5


@pytest.fixture(scope="module")
def notes(banknotes: Path) -> Dataset:
    return load(banknotes)


@pytest.fixture(scope="module")
def colour_baseline(notes: Dataset) -> float:
    fold_of = folds(notes.items, k=FOLDS, seed=7)
    rows = score_photos([(ColourStatistics(), 224)], notes.items, notes.views, {})
    sides = [
        ([i for i, own in fold_of.items() if own != fold], [i for i, own in fold_of.items() if own == fold])
        for fold in range(FOLDS)
    ]
    found = colour_auc(item_colours(rows), {i.item_id: i.label == "counterfeit" for i in notes.items}, sides)
    assert found is not None
    return found


def test_lighting_alone_leaks_much_of_the_label(colour_baseline: float) -> None:
    assert 0.8 < colour_baseline < 0.95


@pytest.mark.slow
def test_a_model_of_real_photos_beats_the_lighting_and_is_honest_about_what_91_objects_prove(
    banknotes: Path, notes: Dataset, tmp_path: Path, colour_baseline: float
) -> None:
    run = touchstone_optimize("finetune", "--data", banknotes, "--out", tmp_path / "m", "--cross-fit", FOLDS)
    assert run.code == 0, run.err
    assert load_spec(tmp_path / "m").views == ("*",)
    (tmp_path / "out").mkdir()
    built = build(tmp_path / "m", banknotes, tmp_path / "out")
    evidence = built.evidence
    fakes = sum(item.label == "counterfeit" for item in notes.items)
    assert evidence.cross_fitted
    assert evidence.colour_baseline_auc is not None
    assert evidence.colour_baseline_auc == pytest.approx(colour_baseline, abs=0.02)
    decisions = [variant.decision for variant in evidence.variants if variant.decision is not None]
    assert len(decisions) > 1
    aucs = [decision.evaluation.auc or 0.0 for decision in decisions]
    assert min(aucs) > max(0.95, colour_baseline + 0.03)
    assert max(aucs) - min(aucs) < 0.02
    for decision in decisions:
        assert not decision.certificate.certified  # 2 % wants more than there are
        assert decision.certificate.more_counterfeits >= 183 - fakes
    assert {variant.thresholds.authentic_below for variant in built.bundle.manifest.variants} == {0.0}
    assert "NOT PROVED" in built.text
    again = touchstone_optimize(
        "build", tmp_path / "m", "--data", banknotes, "--out", tmp_path / "b2", "--after", built.bundle.folder
    )
    assert again.code == 2
    assert "were certified on by an earlier release" in again.err
