"""OpenVINO on the float network with all its defaults; on a CPU with AMX it then computes in bf16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from benchmarks.peer_systems.system import Job, Logits, Photos, Product, Running, normalised, product_of


class OpenVinoRunning:
    """A compiled model whose one input is a normalised image."""

    def __init__(self, path: Path, job: Job) -> None:
        compiled = ov.Core().compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": job.threads})
        self._request = compiled.create_infer_request()
        self._mean, self._std = np.array(job.mean, np.float32), np.array(job.std, np.float32)

    def ready(self, photo: Photos) -> npt.NDArray[Any]:
        """Normalise and transpose."""
        return normalised(photo, self._mean, self._std)

    def run(self, ready: npt.NDArray[Any]) -> Logits:
        """Run the model; the input is shared, as its documentation advises for speed."""
        return np.array(self._request.infer(ready, share_inputs=True)[0], np.float32)


def compile_network(job: Job) -> Product:
    """Convert to OpenVINO's own format without its default compression to fp16."""
    out = job.folder / "model.xml"
    ov.save_model(ov.convert_model(job.network), out, compress_to_fp16=False)
    return product_of(out.parent, "defaults")


def load(product: Product, job: Job) -> Running:
    """Compile the model for this CPU."""
    return OpenVinoRunning(product.path / "model.xml", job)
