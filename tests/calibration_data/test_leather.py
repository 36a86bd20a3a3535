"""The generator: deterministic, honest about what it varies, and clean after itself."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields
from itertools import pairwise
from math import isnan
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration_data.dataset import load
from calibration_data.leather import generator, glyphs
from calibration_data.leather.brands import BRANDS, TOLERANCE, Look, genuine_look, shifted
from calibration_data.leather.catalogue import Knobs, plan
from calibration_data.leather.flaws import FEWEST, FLAWS, counterfeit_look, strength
from calibration_data.leather.generator import default_workers, generate
from calibration_data.leather.listing import LISTING_NAMES
from calibration_data.leather.logo import SECOND_LINE
from runtime.contracts.errors import StationFault, Unsupported


def knobs(seed: int = 7, superfake_share: float = 0.0, counterfeit_share: float = 0.45) -> Knobs:
    return Knobs(
        seed=seed,
        difficulty=0.5,
        superfake_share=superfake_share,
        counterfeit_share=counterfeit_share,
        photo_px=128,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("leather") / "set", items=8, seed=7, photo_px=128)


def test_a_generated_set_loads_with_three_views_and_all_columns(small_set: Path) -> None:
    dataset = load(small_set)
    assert len(dataset.items) == 8
    assert dataset.views == ("hardware", "logo", "stitching")
    assert dataset.listing_names == LISTING_NAMES
    assert all(len(item.photos) == 3 and item.group and item.fraud is not None for item in dataset.items)
    assert all((item.family is None) == (item.label == "genuine") for item in dataset.items)
    times = [item.captured_at for item in dataset.items]
    assert all(earlier is not None and later is not None and earlier < later for earlier, later in pairwise(times))


def test_photos_are_square_colour_jpegs(small_set: Path) -> None:
    for path in small_set.rglob("*.jpg"):
        photo = cv2.imread(str(path), cv2.IMREAD_COLOR)
        assert photo is not None and photo.shape == (128, 128, 3)
        assert float(np.std(photo)) > 5


def test_no_path_and_no_id_gives_the_label_away(small_set: Path) -> None:
    for item in load(small_set).items:
        shown = [item.item_id, *(str(photo.path.relative_to(small_set.resolve())) for photo in item.photos)]
        assert not any("genuine" in text or "counterfeit" in text or "replica" in text for text in shown)


def test_the_number_of_workers_changes_no_byte(small_set: Path, tmp_path: Path) -> None:
    assert contents(generate(tmp_path / "two", items=8, seed=7, photo_px=128, workers=2)) == contents(small_set)


def test_a_longer_run_begins_with_the_items_of_a_shorter_one(small_set: Path, tmp_path: Path) -> None:
    longer = contents(generate(tmp_path / "longer", items=10, seed=7, photo_px=128))
    shared = [name for name in contents(small_set) if name.endswith(".jpg")]
    assert all(longer[name] == contents(small_set)[name] for name in shared)


def test_another_seed_gives_other_photos(small_set: Path, tmp_path: Path) -> None:
    other = contents(generate(tmp_path / "other", items=8, seed=8, photo_px=128))
    assert not any(other[name] == data for name, data in contents(small_set).items() if name.endswith(".jpg"))


def test_provenance_lists_every_knob(small_set: Path) -> None:
    provenance = json.loads((small_set / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["seed"] == 7 and provenance["difficulty"] == 0.5 and provenance["items"] == 8
    assert provenance["version"] == generator.GENERATOR_VERSION


def test_progress_ends_at_the_number_of_items(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    generate(tmp_path / "set", items=8, seed=7, photo_px=64, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (8, 8)
    assert calls == sorted(calls)


def test_a_taken_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(Unsupported, match="not an empty folder"):
        generate(tmp_path, items=8, seed=7)
    with pytest.raises(Unsupported, match="not an empty folder"):
        generate(tmp_path / "mine.txt", items=8, seed=7)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    assert len(load(generate(tmp_path / "set", items=8, seed=7, photo_px=64)).items) == 8


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, OSError("disk full")])
def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path, interrupt: BaseException) -> None:
    def stop(done: int, total: int) -> None:
        raise interrupt

    with pytest.raises((KeyboardInterrupt, OSError)):
        generate(tmp_path / "set", items=8, seed=7, photo_px=64, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_dead_worker_is_a_fault_that_a_person_can_act_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class DeadPool:
        def __init__(self, *_: object, **__: object) -> None: ...

        def submit(self, *_: object) -> None:
            raise BrokenProcessPool("killed")

        def shutdown(self, **_: object) -> None: ...

    monkeypatch.setattr(generator, "ProcessPoolExecutor", DeadPool)
    with pytest.raises(StationFault, match="fewer workers"):
        generate(tmp_path / "set", items=8, seed=7, photo_px=64, workers=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"items": 1}, "items is 1"),
        ({"seed": -1}, "seed is -1"),
        ({"difficulty": 1.5}, "difficulty is 1.5"),
        ({"difficulty": float("nan")}, "difficulty is nan"),
        ({"superfake_share": 2}, "superfake share is 2"),
        ({"counterfeit_share": 0}, "counterfeit share is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"photo_px": 641}, "photo size is 641"),
        ({"items": 2, "counterfeit_share": 0.01}, "no counterfeit item"),
    ],
)
def test_a_knob_out_of_its_range_is_refused(tmp_path: Path, wrong: dict[str, float], words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        generate(tmp_path / "set", **({"items": 8, "seed": 7} | wrong))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [0.1, 0.45, 0.9])
def test_the_counterfeit_share_is_kept_in_every_long_run(share: float) -> None:
    labels = [plan(index, knobs(counterfeit_share=share)).label for index in range(200)]
    assert labels.count("counterfeit") == round(200 * share)


def test_superfakes_come_only_when_asked_for() -> None:
    def families(share: float) -> set[str | None]:
        return {plan(index, knobs(superfake_share=share)).family for index in range(100)}

    assert families(0.0) == {None, "replica"}
    assert families(0.5) == {None, "replica", "superfake"}
    assert families(1.0) == {None, "superfake"}


def test_each_counterfeit_has_some_flaws_and_none_has_all() -> None:
    start = genuine_look(BRANDS[0], np.random.default_rng(1))
    for seed in range(50):
        look = counterfeit_look(start, "replica", 0.5, np.random.default_rng(seed))
        changed = {field.name for field in fields(Look) if getattr(look, field.name) != getattr(start, field.name)}
        assert FEWEST <= len(changed) < len(FLAWS["replica"])
        assert changed <= {flaw.field for flaw in FLAWS["replica"]}


def test_the_families_share_no_flaw() -> None:
    replica, superfake = ({flaw.field for flaw in FLAWS[family]} for family in ("replica", "superfake"))
    assert not replica & superfake


def test_a_higher_difficulty_makes_every_flaw_smaller_and_changes_nothing_else() -> None:
    start = genuine_look(BRANDS[0], np.random.default_rng(1))
    plain, hard = (counterfeit_look(start, "replica", level, np.random.default_rng(5)) for level in (0.4, 0.9))
    for flaw in FLAWS["replica"]:
        shifts = [abs(getattr(look, flaw.field) - getattr(start, flaw.field)) for look in (plain, hard)]
        assert shifts[1] < shifts[0] or shifts == [0, 0]
    assert (strength(0), strength(0.5), strength(1)) == (2, 1, 0.5)


def test_no_shift_makes_a_length_vanish_and_hues_wrap() -> None:
    moved = shifted(Look(), {"stamp_depth_px": -100, "foil_hue_deg": -50})
    assert moved.stamp_depth_px == pytest.approx(0.1 * TOLERANCE.stamp_depth_px)
    assert moved.foil_hue_deg == pytest.approx(352)


def test_every_letter_that_is_stamped_exists() -> None:
    for text in (SECOND_LINE, *(brand.name for brand in BRANDS)):
        assert set(text) <= set(glyphs.LETTERS)


def test_strokes_cover_their_own_width() -> None:
    line = [np.array([[10.0, 20.0], [90.0, 20.0]])]
    cover = glyphs.stroke_cover(line, 6.0, (40, 100))
    assert cover.shape == (40, 100) and cover.dtype == np.float32
    assert float(cover[:, 50].sum()) == pytest.approx(6.0, abs=0.7)


def ranked(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Area under the ROC curve."""
    high = [score for score, is_positive in zip(scores, positive, strict=True) if is_positive]
    low = [score for score, is_positive in zip(scores, positive, strict=True) if not is_positive]
    return statistics.fmean((a > b) + 0.5 * (a == b) for a in high for b in low)


def test_fraud_is_partly_told_by_the_listing_and_barely_by_the_label() -> None:
    plans = [plan(index, knobs()) for index in range(1500)]
    fraud = [item.fraud for item in plans]
    assert 0.1 < statistics.fmean(fraud) < 0.4
    assert 0.6 < ranked([-item.listing["seller_age_days"] for item in plans], fraud) < 0.85
    assert 0.5 < ranked([float(item.label == "counterfeit") for item in plans], fraud) < 0.65
    for name in LISTING_NAMES:
        known = [item for item in plans if not isnan(item.listing[name])]
        assert len(known) > 0.8 * len(plans)
        assert (
            0.3 < ranked([item.listing[name] for item in known], [item.label == "counterfeit" for item in known]) < 0.7
        )


def test_the_camera_treats_both_classes_alike() -> None:
    plans = [plan(index, knobs()) for index in range(1000)]
    counterfeit = [item.label == "counterfeit" for item in plans]
    for scores in (
        [item.session.warmth for item in plans],
        [item.session.exposure for item in plans],
        [item.session.noise for item in plans],
        [float(item.session.quality) for item in plans],
        [item.hide[2] for item in plans],
    ):
        assert 0.45 < ranked(scores, counterfeit) < 0.55


def test_there_is_at_least_one_worker() -> None:
    assert default_workers() >= 1


def test_the_committed_sample_loads_is_small_and_can_be_made_again(tmp_path: Path) -> None:
    sample = Path(generator.__file__).parents[1] / "sample"
    assert len(load(sample).items) == 8
    assert sum(len(data) for data in contents(sample).values()) < 600_000
    made = json.loads((sample / "provenance.json").read_text(encoding="utf-8"))
    again = generate(tmp_path / "again", items=made["items"], seed=made["seed"], photo_px=made["photo_px"])
    assert (again / "items.csv").read_bytes() == (sample / "items.csv").read_bytes()
    for path in sample.rglob("*.jpg"):  # another CPU or OpenCV may round otherwise, so near is enough
        before, after = (cv2.imread(str(file)) for file in (path, again / path.relative_to(sample)))
        assert before is not None and after is not None
        assert float(np.abs(before.astype(int) - after.astype(int)).mean()) < 3
