from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.bundle_store import open_bundle
from runtime.contracts.errors import StationFault, Unsupported, Untrusted
from runtime.inspector import Inspector, disagreements

MakeBundle = Callable[..., Path]
MakePhoto = Callable[..., bytes]


@pytest.fixture
def inspector(tmp_path: Path, tiny_bundle: MakeBundle) -> Inspector:
    return Inspector.open(open_bundle(tiny_bundle(tmp_path / "b")))


def test_a_bundle_proves_itself_on_its_golden_samples(inspector: Inspector) -> None:
    assert disagreements(inspector) == []


def test_the_verdict_follows_the_photos(inspector: Inspector, photo_of: MakePhoto) -> None:
    dark, red, middle = photo_of(60), photo_of(220), photo_of(120)
    assert inspector.inspect({"logo": [dark], "stitching": [dark]}, None).verdict == "authentic"
    assert inspector.inspect({"logo": [red], "stitching": [red]}, None).verdict == "suspect"
    unclear = inspector.inspect({"logo": [middle], "stitching": [middle]}, None)
    assert unclear.verdict == "uncertain"
    assert unclear.reasons[0].code == "photos_unclear"


def test_a_missing_required_view_sends_the_item_to_an_expert(inspector: Inspector, photo_of: MakePhoto) -> None:
    inspection = inspector.inspect({"logo": [photo_of(40)], "other": [photo_of(40)]}, None)
    assert inspection.verdict == "uncertain"
    assert "stitching" in inspection.reasons[0].text
    assert inspection.prediction.p_counterfeit is None


def test_exchangeable_views_take_any_name(tmp_path: Path, tiny_bundle: MakeBundle, photo_of: MakePhoto) -> None:
    inspector = Inspector.open(open_bundle(tiny_bundle(tmp_path / "b", views=("*",))))
    inspection = inspector.inspect({"front": [photo_of(50)], "back": [photo_of(60), photo_of(70)]}, None)
    assert inspection.verdict == "authentic"
    assert len(inspection.logits["back"]) == 2
    assert inspector.inspect({}, None).reasons[0].code == "missing_view"


def test_a_photo_that_does_not_decode_is_named_by_its_view(inspector: Inspector, photo_of: MakePhoto) -> None:
    with pytest.raises(Unsupported, match=r"stitching.*cut short"):
        inspector.inspect({"logo": [photo_of(50)], "stitching": [photo_of(50)[:900]]}, None)


def test_one_changed_byte_is_refused(tmp_path: Path, tiny_bundle: MakeBundle) -> None:
    folder = tiny_bundle(tmp_path / "b")
    raw = bytearray((folder / "model.onnx").read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / "model.onnx").write_bytes(raw)
    with pytest.raises(Untrusted, match=r"model\.onnx was changed"):
        open_bundle(folder)


def test_a_missing_file_and_a_missing_bundle_say_so(tmp_path: Path, tiny_bundle: MakeBundle) -> None:
    folder = tiny_bundle(tmp_path / "b")
    (folder / "model.onnx").unlink()
    with pytest.raises(Untrusted, match="is missing"):
        open_bundle(folder)
    with pytest.raises(StationFault, match="no manifest"):
        open_bundle(tmp_path / "nowhere")


def test_a_golden_sample_that_disagrees_is_told_in_words(
    tmp_path: Path, tiny_bundle: MakeBundle, photo_of: MakePhoto
) -> None:
    bundle = open_bundle(tiny_bundle(tmp_path / "b"))
    inspector = Inspector.open(bundle)
    (bundle.folder / "golden" / "logo.jpg").write_bytes(photo_of(250))  # after the hash check
    assert "golden sample 1" in disagreements(inspector)[0]


def test_a_wanted_variant_that_is_not_there_is_refused(tmp_path: Path, tiny_bundle: MakeBundle) -> None:
    with pytest.raises(Unsupported, match="ort-cpu-float32"):
        Inspector.open(open_bundle(tiny_bundle(tmp_path / "b")), variant="openvino-int8")
