"""Hugging Face folders with random weights, as save_pretrained writes them: exported offline, equal to transformers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from optimize.sources.huggingface import classes_of, normalisation_of, side_of
from optimize.sources.imported import SourceOptions
from optimize.sources.source import import_source
from runtime.contracts.errors import Unsupported
from tests.optimize.sources.small_networks import pixels_of
from tests.optimize.sources.test_photo_networks import answer, check_wrapped

PX = 32


def resnet(folder: Path, **labels: object) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **labels
    )
    model = transformers.ResNetForImageClassification(config).eval()
    model.save_pretrained(folder)
    return model


def processor(folder: Path, **changes: object) -> None:
    transformers.ViTImageProcessor(
        size={"height": PX, "width": PX}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.25, 0.3], **changes
    ).save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, transformers.PreTrainedModel]:
    path = tmp_path_factory.mktemp("hf")
    model = resnet(path, id2label={0: "genuine", 1: "counterfeit"}, label2id={"genuine": 0, "counterfeit": 1})
    processor(path)
    return path, model


def test_a_folder_of_two_named_classes_becomes_an_authenticator_equal_to_transformers(
    folder: tuple[Path, transformers.PreTrainedModel], photos: list[Path], plain: SourceOptions
) -> None:
    path, model = folder
    imported = import_source(str(path), plain, photos, None)
    assert (imported.kind, imported.px, imported.classes) == ("authenticator", PX, ("genuine", "counterfeit"))
    check_wrapped(imported, 1)
    pixels = pixels_of(photos, PX)
    x = (pixels / np.float32(255) - np.array([0.4, 0.5, 0.6])) / np.array([0.2, 0.25, 0.3])
    with torch.no_grad():
        z = model(torch.from_numpy(x.transpose(0, 3, 1, 2).astype(np.float32))).logits.numpy()
    assert np.allclose(answer(imported.network, pixels), z[:, [1]] - z[:, [0]], atol=1e-4)
    assert "transformers" in imported.parity.of
    assert "transformers" in imported.provenance
    assert not any("ImageNet" in note for note in imported.notes)


def test_a_folder_with_attention_is_exported_too(photos: list[Path], plain: SourceOptions, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=PX, patch_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    imported = import_source(str(tmp_path), SourceOptions(counterfeit_class="0"), photos, None)
    assert (imported.kind, imported.px) == ("authenticator", PX)
    assert any("no preprocessor_config.json" in note for note in imported.notes)
    assert any("ImageNet" in note for note in imported.notes)


def test_a_processor_that_does_more_than_normalise_is_refused(
    folder: tuple[Path, transformers.PreTrainedModel], photos: list[Path], plain: SourceOptions, tmp_path: Path
) -> None:
    path, model = folder
    model.save_pretrained(tmp_path)
    said = json.loads((path / "preprocessor_config.json").read_text())
    said |= {"image_processor_type": "EfficientNetImageProcessor", "include_top": True, "do_rescale": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    with pytest.raises(Unsupported, match="does more than scale, normalise"):
        import_source(str(tmp_path), plain, photos, None)


def test_a_folder_without_weights_or_of_another_task_is_refused_in_one_line(
    photos: list[Path], plain: SourceOptions, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "resnet"}))
    with pytest.raises(Unsupported, match="optimum cannot export it as an image classifier") as caught:
        import_source(str(tmp_path), plain, photos, None)
    assert "\n" not in str(caught.value)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(Unsupported, match="expected a JSON object"):
        import_source(str(tmp_path), plain, photos, None)


def test_what_a_processor_does_is_read_in_units_of_0_to_255() -> None:
    plain = normalisation_of({"image_mean": [0.5] * 3, "image_std": [0.25] * 3})
    assert plain.mean == pytest.approx((127.5,) * 3)
    assert plain.std == pytest.approx((63.75,) * 3)
    assert normalisation_of({"do_normalize": False}).std == pytest.approx((255.0,) * 3)
    raw = normalisation_of({"do_rescale": False, "image_mean": [10, 20, 30], "image_std": 2.0, "do_normalize": True})
    assert (raw.mean, raw.std) == ((10, 20, 30), (2, 2, 2))
    assert normalisation_of({"do_flip_channel_order": True, "do_normalize": False}).bgr


def test_the_side_of_the_photos_is_read_from_crop_size_or_image_size() -> None:
    assert side_of({"do_center_crop": True, "crop_size": {"height": 48, "width": 48}, "size": 64}, {}) == 48
    assert side_of({"size": {"shortest_edge": 64}}, {}) == 64
    assert side_of(None, {"image_size": [96, 96]}) == 96
    assert side_of(None, {}) is None


def test_classes_that_are_only_numbered_have_no_names() -> None:
    assert classes_of({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}) == ()
    assert classes_of({"id2label": {"1": "b", "0": "a"}}) == ("a", "b")
    assert classes_of({}) == ()


def test_channels_are_swapped_where_the_processor_swaps_them(
    folder: tuple[Path, transformers.PreTrainedModel], photos: list[Path], plain: SourceOptions, tmp_path: Path
) -> None:
    _, model = folder
    model.save_pretrained(tmp_path)
    said = {
        "image_processor_type": "MobileViTImageProcessor",
        "size": {"shortest_edge": PX},
        "crop_size": {"height": PX, "width": PX},
        "do_flip_channel_order": True,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    imported = import_source(str(tmp_path), plain, photos, None)
    pixels = pixels_of(photos, PX)
    x = np.ascontiguousarray((pixels[..., ::-1] / np.float32(255)).transpose(0, 3, 1, 2))
    with torch.no_grad():
        z = model(torch.from_numpy(x)).logits.numpy()
    assert np.allclose(answer(imported.network, pixels), z[:, [1]] - z[:, [0]], atol=1e-4)
