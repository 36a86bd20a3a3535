"""Runs inside Olive's venv: ``python olive_program.py MODEL.onnx CALIBRATION.npy OUT``. Imports nothing of ours.

``CALIBRATION.npy`` is ``float32 (N, 3, px, px)``, ready for the input called ``input``.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from olive.data.registry import Registry
from olive.workflows import run


class _Images(torch.utils.data.Dataset[Any]):
    def __init__(self, path: str) -> None:
        self._images = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[dict[str, torch.Tensor], int]:
        return {"input": torch.from_numpy(np.array(self._images[index]))}, 0


def calibration_images(data_dir: str, **_: object) -> _Images:
    """Return the calibration images as Olive's data loader wants them, each with a label that nobody reads."""
    return _Images(data_dir)


def main(model: str, calibration: str, out: str) -> None:
    """Quantise with the defaults of ``OnnxStaticQuantization``."""
    Registry.register_dataset()(calibration_images)
    run(
        {
            "input_model": {"type": "OnnxModel", "model_path": model},
            "systems": {
                "here": {
                    "type": "LocalSystem",
                    "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}],
                }
            },
            "data_configs": [
                {
                    "name": "calibration",
                    "load_dataset_config": {"type": "calibration_images", "params": {"data_dir": calibration}},
                    "dataloader_config": {"params": {"batch_size": 1}},
                }
            ],
            "passes": {"quantise": {"type": "OnnxStaticQuantization", "data_config": "calibration"}},
            "host": "here",
            "target": "here",
            "cache_dir": f"{out}/cache",
            "output_dir": f"{out}/model",
        }
    )


if __name__ == "__main__":
    main(*sys.argv[1:4])
