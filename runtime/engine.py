"""Which engine runs which variant on this device. Loads and warms up; decides nothing about items."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from runtime.contracts.bundle import BundleManifest, Variant
from runtime.contracts.errors import Unsupported


class Network(Protocol):
    """A loaded network."""

    def run(self, batch: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Run one batch and return the last output; safe to call from several threads."""
        ...

    def run_all(self, feeds: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, npt.NDArray[np.generic]]:
        """Run one feed, by input name, and return all outputs by name; safe to call from several threads."""
        ...


class Backend(Protocol):
    """One inference engine: a module in ``runtime.backends``."""

    def load(self, path: Path, threads: int) -> Network:
        """Load the network in ``path`` with so many threads (0: the engine's own choice)."""
        ...


BACKENDS: Mapping[str, str] = {
    "onnxruntime": "runtime.backends.onnxruntime",
    "openvino": "runtime.backends.openvino",
    "tensorrt_rtx": "runtime.backends.tensorrt",
    "tensorrt": "runtime.backends.tensorrt",
    "reference": "runtime.backends.reference",
}
"""Engine name to the module that adapts it; imported only when chosen."""

LIBRARIES: Mapping[str, str] = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "tensorrt_rtx": "tensorrt_rtx",
    "tensorrt": "tensorrt",
    "reference": "onnx",
}
"""Engine name to the library that it needs, as one imports and installs it."""


def load_network(engine: str, path: Path, threads: int) -> Network:
    """Load a network with the engine that its variant names.

    Raises:
        Unsupported: this program does not know the engine, or it is not installed, or refuses the file.
    """
    if engine not in BACKENDS:
        raise Unsupported(f"engine {engine!r}: this program knows {', '.join(BACKENDS)}")
    try:
        backend = cast(Backend, importlib.import_module(BACKENDS[engine]))
    except ImportError as error:
        raise Unsupported(
            f"engine {engine!r} is not installed here ({error}); pip install {LIBRARIES[engine]}"
        ) from error
    return backend.load(path, threads)


def choose_variant(manifest: BundleManifest, wanted: str | None, flags: frozenset[str]) -> Variant:
    """Choose the variant to run: the wanted one, else the preferred one, else the first that this device can run.

    A variant whose execution nobody verified comes last; the golden samples decide whether it serves.

    Args:
        manifest: of the bundle.
        wanted: a variant's name, or ``None``.
        flags: CPU flags of this device.

    Raises:
        Unsupported: there is no such variant, or none runs here.
    """
    by_name = {variant.name: variant for variant in manifest.variants}
    if wanted is not None:
        if wanted not in by_name:
            raise Unsupported(f"variant {wanted!r}: the bundle has {', '.join(by_name)}")
        return by_name[wanted]
    for variant in in_order(manifest):
        if cannot_run(variant, flags) is None:
            return variant
    raise Unsupported(f"bundle {manifest.name}: no variant of {', '.join(by_name)} runs on this device")


def in_order(manifest: BundleManifest) -> tuple[Variant, ...]:
    """Return the variants as they are tried: the preferred one first, those whose execution nobody verified last."""
    return tuple(
        sorted(manifest.variants, key=lambda one: (one.name != manifest.preferred, one.execution == "unverified"))
    )


def cannot_run(variant: Variant, flags: frozenset[str]) -> str | None:
    """Return why this device cannot run a variant, in words; ``None`` where it may. Nothing is imported."""
    if variant.engine not in BACKENDS:
        return f"this program does not know the engine {variant.engine}"
    if not is_installed(variant.engine):
        return f"engine {variant.engine} is not installed"
    lacking = missing_isa(variant, flags)
    return f"this CPU lacks {', '.join(lacking)}" if lacking else None


def is_installed(engine: str) -> bool:
    """Whether this program knows the engine and its library is here; nothing is imported."""
    return engine in BACKENDS and importlib.util.find_spec(LIBRARIES[engine]) is not None


def missing_isa(variant: Variant, flags: frozenset[str]) -> tuple[str, ...]:
    """Return the instruction sets that the variant was gated on and this CPU lacks; ``a|b`` asks for either."""
    return tuple(need for need in variant.isa if not flags & set(need.split("|")))


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the CPU's flags as Linux names them; empty where the system does not say."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(
        next((line.split(":", 1)[1] for line in lines if line.startswith(("flags", "Features"))), "").split()
    )
