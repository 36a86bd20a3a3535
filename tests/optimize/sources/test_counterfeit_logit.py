"""When a classifier becomes an authenticator, and which sign its one logit has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from optimize.sources.counterfeit_logit import counterfeit_index
from optimize.sources.imported import SourceOptions
from optimize.sources.source import import_source
from runtime.contracts.errors import Unsupported
from tests.optimize.sources.small_networks import classifier, pixels_of, save
from tests.optimize.sources.test_photo_networks import answer, check_wrapped, original_logits


@pytest.mark.parametrize("ending", [None, "Softmax"])
@pytest.mark.parametrize("counterfeit", [0, 1])
def test_two_classes_give_the_difference_of_their_logits(
    ending: str | None, counterfeit: int, photos: list[Path], tmp_path: Path
) -> None:
    path = save(classifier(2, ending=ending), tmp_path / "m.onnx")
    bare = save(classifier(2, ending=None), tmp_path / "bare.onnx")
    imported = import_source(str(path), SourceOptions(counterfeit_class=str(counterfeit)), photos, None)
    assert imported.kind == "authenticator"
    check_wrapped(imported, 1)
    z = original_logits(bare, photos)
    expected = z[:, [counterfeit]] - z[:, [1 - counterfeit]]
    assert np.allclose(answer(imported.network, pixels_of(photos)), expected, atol=1e-4)


def test_two_classes_of_which_nobody_knows_the_counterfeit_stay_photos(
    photos: list[Path], plain: SourceOptions, tmp_path: Path
) -> None:
    imported = import_source(str(save(classifier(2), tmp_path / "m.onnx")), plain, photos, None)
    assert imported.kind == "photos"
    assert any("--counterfeit-class" in note for note in imported.notes)
    check_wrapped(imported, 2)


@pytest.mark.parametrize(("wanted", "sign"), [(None, 1), ("1", 1), ("0", -1)])
@pytest.mark.parametrize("ending", [None, "Sigmoid"])
def test_one_logit_is_that_of_counterfeit_unless_the_user_says_class_0(
    wanted: str | None, sign: int, ending: str | None, photos: list[Path], tmp_path: Path
) -> None:
    path = save(classifier(1, ending=ending), tmp_path / "m.onnx")
    bare = save(classifier(1, ending=None), tmp_path / "bare.onnx")
    imported = import_source(str(path), SourceOptions(counterfeit_class=wanted), photos, None)
    assert imported.kind == "authenticator"
    check_wrapped(imported, 1)
    assert np.allclose(answer(imported.network, pixels_of(photos)), sign * original_logits(bare, photos), atol=1e-4)


def test_a_softmax_over_one_class_is_refused(photos: list[Path], plain: SourceOptions, tmp_path: Path) -> None:
    path = save(classifier(1, ending="Softmax"), tmp_path / "m.onnx")
    with pytest.raises(Unsupported, match="Softmax over one class"):
        import_source(str(path), plain, photos, None)
    np.savez(tmp_path / "s.npz", image=np.ones((1, 3, 32, 32), np.float32))
    with pytest.raises(Unsupported, match="Softmax over one class"):
        import_source(str(path), plain, [], tmp_path / "s.npz")


def test_a_counterfeit_class_of_many_is_not_used_and_said_so(photos: list[Path], tmp_path: Path) -> None:
    path = save(classifier(5), tmp_path / "m.onnx")
    imported = import_source(str(path), SourceOptions(counterfeit_class="3"), photos, None)
    assert imported.kind == "photos"
    assert any("counterfeit class was not used" in note for note in imported.notes)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("genuine", "counterfeit"), 1),
        (("Fake", "Real"), 0),
        (("replica bag", "original"), 0),
        (("FRAUD", "ok"), 0),
        (("fake", "not_fake"), 0),
        (("non-counterfeit", "counterfeit"), 1),
        (("fake", "replica"), None),
        (("cat", "dog"), None),
        ((), None),
    ],
)
def test_the_counterfeit_class_is_known_by_its_name(classes: tuple[str, ...], expected: int | None) -> None:
    assert counterfeit_index(None, classes, 2, "m") == expected


def test_a_class_is_named_or_numbered_by_the_user() -> None:
    assert counterfeit_index("cat", ("cat", "dog"), 2, "m") == 0
    assert counterfeit_index("1", ("cat", "dog"), 2, "m") == 1
    assert counterfeit_index("fake", ("fake", "genuine"), 1, "m") == 0
    for wrong in ("2", "-1", "bird"):
        with pytest.raises(Unsupported, match="expected one of cat, dog, or an index from 0 to 1"):
            counterfeit_index(wrong, ("cat", "dog"), 2, "m")
