"""A Hugging Face folder for image classification, through optimum, offline; its reference is transformers itself.

Never fetches anything and never runs code of the folder's own. What its processor does to pixels is read from its files
and then compared with the processor.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import onnx
import optimum.exporters.onnx
import transformers

from optimize.sources.imported import SourceOptions
from optimize.sources.loaded import Loaded, Normalisation
from optimize.sources.run_onnx import one_line
from optimize.sources.torch_module import eager
from runtime.contracts.errors import Unsupported

OPSET = 20
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"


def load_folder(folder: Path, options: SourceOptions) -> Loaded:
    """Export a folder that ``save_pretrained`` wrote.

    Args:
        folder: with ``config.json``, the weights, and mostly ``preprocessor_config.json``.
        options: ``px`` is read where the folder does not say it; with ``mean`` the processor is not asked.

    Raises:
        Unsupported: it is no image classifier, its weights are missing, or its processor does what no graph here does.
    """
    config = _read(folder / CONFIG)
    processor = _read(folder / PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else None
    px = side_of(processor, config)
    normalisation = None if processor is None else normalisation_of(processor)
    model, network = _export(folder)
    if normalisation is not None and options.mean is None and options.std is None:
        _require_same_pixels(folder, normalisation, options.px or px or 224)
    return Loaded(
        name=str(folder),
        network=network,
        reference=eager(model, [value.name for value in network.graph.input]),
        of=f"the model itself in transformers {transformers.__version__}",
        normalisation=normalisation,
        layout="nchw",
        px=options.px or px,
        classes=classes_of(config),
        notes=() if processor else (f"the folder has no {PREPROCESSOR}",),
        provenance={
            "source": folder.resolve().name,
            "source_sha256": _digest(folder),
            "source_kind": f"Hugging Face folder ({config.get('model_type', 'unknown')})",
            "transformers": transformers.__version__,
        },
    )


def normalisation_of(processor: Mapping[str, Any]) -> Normalisation:
    """Return what a processor does to pixels of 0 to 255, from its file."""
    rescale = float(processor.get("rescale_factor") or 1 / 255) if processor.get("do_rescale", True) else 1.0
    offset = 1.0 if processor.get("rescale_offset") else 0.0  # EfficientNet's: pixels in -1 to 1
    normalises = processor.get("do_normalize", "image_mean" in processor)
    mean = _three(processor.get("image_mean", 0.0)) if normalises else (0.0, 0.0, 0.0)
    std = _three(processor.get("image_std", 1.0)) if normalises else (1.0, 1.0, 1.0)
    return Normalisation(
        mean=((mean[0] + offset) / rescale, (mean[1] + offset) / rescale, (mean[2] + offset) / rescale),
        std=(std[0] / rescale, std[1] / rescale, std[2] / rescale),
        bgr=bool(processor.get("do_flip_channel_order", False)),
    )


def side_of(processor: Mapping[str, Any] | None, config: Mapping[str, Any]) -> int | None:
    """Return the side of the photos that a folder wants; ``None`` where it does not say."""
    crops = processor is not None and processor.get("do_center_crop") and processor.get("crop_size")
    for said in ((processor or {}).get("crop_size" if crops else "size"), config.get("image_size")):
        if isinstance(said, Mapping):
            said = said.get("height") or said.get("shortest_edge")
        if isinstance(said, list) and said:
            said = said[0]
        if isinstance(said, int):
            return said
    return None


def classes_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the classes in order; empty where they are only numbered."""
    names = config.get("id2label")
    if not isinstance(names, Mapping):
        return ()
    ordered = tuple(str(names[key]) for key in sorted(names, key=int))
    return () if all(name == f"LABEL_{index}" for index, name in enumerate(ordered)) else ordered


def _export(folder: Path) -> tuple[Any, onnx.ModelProto]:
    try:
        with _offline(), tempfile.TemporaryDirectory() as work:
            model = transformers.AutoModelForImageClassification.from_pretrained(folder, local_files_only=True).eval()
            optimum.exporters.onnx.main_export(
                str(folder),
                work,
                task="image-classification",
                opset=OPSET,
                do_validation=False,
                local_files_only=True,
                library_name="transformers",
            )
            network = onnx.load(Path(work) / "model.onnx")
    except Exception as error:  # its errors share no other base
        raise Unsupported(
            f"{folder}: optimum cannot export it as an image classifier: {one_line(error)}; expected a folder that "
            "save_pretrained wrote, with its weights"
        ) from error
    return model, network


def _require_same_pixels(folder: Path, normalisation: Normalisation, px: int) -> None:
    """Compare our normalisation with the folder's own processor, without its resizing.

    Raises:
        Unsupported: they differ.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (px, px, 3), dtype=np.uint8)
    try:
        with _offline():
            loader: Any = transformers.AutoImageProcessor
            processor = loader.from_pretrained(folder, local_files_only=True, use_fast=False)
            theirs = processor(
                images=pixels,
                do_resize=False,
                do_center_crop=False,
                return_tensors="np",
                input_data_format="channels_last",
            )["pixel_values"][0]
    except Exception as error:  # its errors share no other base
        raise Unsupported(
            f"{folder}: its image processor cannot be loaded ({one_line(error)}); give --mean and --std"
        ) from error
    ours = normalisation.apply(pixels[None])[0].transpose(2, 0, 1)
    if theirs.shape != ours.shape or not np.allclose(theirs, ours, atol=1e-3):
        raise Unsupported(
            f"{folder}: its image processor does more than scale, normalise and swap channels; give --mean and --std"
        )


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Keep the libraries off the network and off the screen for one call."""
    before, constant = os.environ.get("HF_HUB_OFFLINE"), huggingface_hub.constants.HF_HUB_OFFLINE
    level = logging.root.manager.disable
    os.environ["HF_HUB_OFFLINE"] = "1"
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    logging.disable(logging.ERROR)
    quiet = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        huggingface_hub.constants.HF_HUB_OFFLINE = constant
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Unsupported(f"{path}: expected JSON that save_pretrained wrote, got {one_line(error)}") from error
    if not isinstance(data, dict):
        raise Unsupported(f"{path}: expected a JSON object, got a {type(data).__name__}; save the model again")
    return data


def _three(value: object) -> tuple[float, float, float]:
    values = [float(one) for one in value] if isinstance(value, list | tuple) else [float(str(value))] * 3
    if len(values) == 1:
        values *= 3
    if len(values) != 3:
        raise Unsupported(
            f"{PREPROCESSOR}: expected mean and std of three channels, got {values}; give --mean and --std"
        )
    return values[0], values[1], values[2]


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        with path.open("rb") as file:
            inner = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()} {inner}\n".encode())
    return digest.hexdigest()
