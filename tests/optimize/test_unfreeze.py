from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from calibration_data.dataset import load, write_items
from optimize import backbone
from optimize.model import load_spec
from optimize.unfreeze import train_tail
from runtime.engine import load_network
from runtime.preprocess import prepare
from tests.optimize.rigs import touchstone_optimize


@pytest.mark.slow
def test_training_the_last_block_ships_the_network_that_torch_trained(goods_folder: Path, tmp_path: Path) -> None:
    """The command's ONNX against the torch module trained again from the same seed: export and determinism at once."""
    data = shutil.copytree(goods_folder, tmp_path / "data")
    train = [item for item in load(data).items if item.split == "train"]
    few = [item for label in ("genuine", "counterfeit") for item in [i for i in train if i.label == label][:3]]
    write_items(data, few)
    run = touchstone_optimize("finetune", "--data", data, "--out", tmp_path / "m", "--unfreeze", 1, "--epochs", 3)
    assert run.code == 0, run.err
    spec = load_spec(tmp_path / "m")
    assert spec.provenance["unfrozen_blocks"] == "1"
    assert len(spec.trained_on) == 6

    embedder, untouched = (backbone.load(backbone.BACKBONES["lite0"], spec.px, 1) for _ in range(2))
    head = train_tail(embedder, load(data).items, spec.views, spec.input, spec.seed, 3, None)
    batch = prepare([photo.path.read_bytes() for item in few[:2] for photo in item.photos], spec.px)
    with torch.inference_mode():
        photos = torch.from_numpy(batch)
        embedding, before = embedder(photos).numpy(), untouched(photos).numpy()
        assert torch.equal(embedder.stem(photos), untouched.stem(photos))
    expected, untrained = (each @ head.weight + head.bias for each in (embedding, before))
    logits = load_network("onnxruntime", tmp_path / "m" / "model.onnx", 1).run(batch)
    assert logits.shape == (6, 3)
    assert np.abs(logits - expected).max() < 1e-4
    assert np.abs(logits - untrained).max() > 1e-3  # the tail did learn
