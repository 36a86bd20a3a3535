"""Ours: ``touchstone-optimize build`` with the same photos, and the variant that it prefers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peer_systems.system import Job, Logits, Photos, Product, Running
from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.bundle import Variant
from runtime.contracts.errors import Unsupported
from runtime.engine import Network, choose_variant, cpu_flags, load_network

TARGETS = ("x86", "openvino")


class BundleRunning:
    """The network of a bundle's variant: normalisation lies inside, so a photo is ready as it is."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def ready(self, photo: Photos) -> npt.NDArray[Any]:
        """Return the photo."""
        return photo

    def run(self, ready: npt.NDArray[Any]) -> Logits:
        """Run the network."""
        return np.asarray(self._network.run(ready), np.float32)


def compile_network(job: Job) -> Product:
    """Build a bundle, or take the one that is given.

    Raises:
        Unsupported: the build failed; the message is its own last line.
    """
    folder = job.bundle or _build(job)
    bundle, variant = _chosen(folder)
    note = f"{variant.name} ({variant.engine}, {variant.precision}), judged by {bundle.manifest.judged_by}"
    files = [bundle.path(file) for file in (variant.file, *variant.companions)]
    return Product(path=folder, size_bytes=sum(file.stat().st_size for file in files), note=note)


def load(product: Product, job: Job) -> Running:
    """Load the preferred variant, or the first that this CPU can run."""
    bundle, variant = _chosen(product.path)
    return BundleRunning(load_network(variant.engine, bundle.path(variant.file), job.threads))


def _chosen(folder: Path) -> tuple[Bundle, Variant]:
    bundle = open_bundle(folder)
    return bundle, choose_variant(bundle.manifest, None, cpu_flags())


def _build(job: Job) -> Path:
    out = job.folder / "bundle"
    command = [str(Path(sys.executable).with_name("touchstone-optimize")), "build", job.factory]
    command += ["--samples", str(job.photos), "--out", str(out)]
    command += [word for target in TARGETS for word in ("--target", target)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        told = next(iter(done.stderr.strip().splitlines()[-1:]), "it said nothing")
        raise Unsupported(f"touchstone-optimize build failed with {done.returncode}: {told}")
    return out
