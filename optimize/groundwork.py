"""What is done once for all candidates of a build, every piece a step of the cache.

Samples on disk, the prepared network, its outputs, its ranges, and which layer hurts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from optimize.calibrate import collect_ranges
from optimize.compiling import inputs_digest, run_outputs, tool_versions
from optimize.evidence import LayerSensitivity
from optimize.fidelity import write_outputs
from optimize.onnx_bytes import onnx_digest, save_onnx
from optimize.quantize import QdqStyle, prepare_network, quantize
from optimize.samples import Feed, Samples, photo_feeds, write_samples
from optimize.scoring import CHUNK
from optimize.search import FEEDS, Workbench
from optimize.sensitivity import sensitivity
from optimize.targets.target import Inputs
from runtime.contracts.bundle import Region
from runtime.contracts.codec import canonical_json, decode, encode, parse_json
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import Unsupported


@dataclass(frozen=True, slots=True, kw_only=True)
class Groundwork:
    """Everything that candidates share.

    Attributes:
        inputs: for compiling what is searched over and scored.
        digest: of ``inputs``.
        reference: the float model's outputs on the first samples.
        sensitivity: most harmful node first; empty where nothing is quantised.
        notes: what could not be done, in words.
    """

    inputs: Inputs
    digest: str
    reference: Path
    sensitivity: tuple[LayerSensitivity, ...]
    notes: tuple[str, ...]


def stored_samples(bench: Workbench, key: Sequence[str], feeds: Callable[[], Iterable[Feed]], total: int) -> Samples:
    """Return feeds on disk, decoded now where they are new.

    Args:
        bench: with the cache.
        key: hashes that identify the feeds.
        feeds: makes them.
        total: how many there will be.

    Raises:
        Unsupported: a photo does not decode, or there is no feed.
    """

    def make(draft: Path) -> None:
        found = write_samples(draft / "feeds", _told(bench, feeds(), total))
        if not found.feeds:
            raise Unsupported("samples: there is not one input to calibrate on or to compare with; give more")
        described = {"feeds": found.feeds, "rows": found.rows, "digest": found.digest}
        (draft / "samples.json").write_text(json.dumps(described))

    folder = bench.cache.step("samples", {"key": list(key), "tools": dict(tool_versions())}, make)
    described = json.loads((folder / "samples.json").read_text())
    return Samples(folder=folder / "feeds", **described)


def stored_photos(
    bench: Workbench, paths: Sequence[Path], px: int, regions: Sequence[Region | None] | None = None
) -> Samples:
    """Return photos on disk as feeds, decoded now where they are new.

    Args:
        bench: with the cache.
        paths: of the photos.
        px: side of the network's input.
        regions: the part of each photo that the network looks at; ``None`` for all of it.

    Raises:
        Unsupported: a photo does not decode, or there is none.
    """
    hashes = [sha256_hex(path.read_bytes()) for path in paths]
    parts = list(regions or [None] * len(paths))
    key = [*hashes, str(px), *(str(part) for part in parts if part)]
    return stored_samples(bench, key, lambda: photo_feeds(paths, px, parts), -(-len(paths) // CHUNK))


def lay_groundwork(
    network: onnx.ModelProto, samples: Samples, keep_float: tuple[str, ...], bench: Workbench, *, quantise: bool
) -> Groundwork:
    """Prepare a network and measure what candidates need.

    Args:
        network: float ONNX.
        samples: calibration feeds.
        keep_float: nodes that are never quantised.
        bench: with the cache.
        quantise: whether any candidate needs ranges.

    Raises:
        Unsupported: ONNX Runtime does not run the network on these samples.
    """
    prepared = prepared_network(network, bench)
    inputs = Inputs(network=prepared, ranges=None, samples=samples, keep_float=keep_float)
    reference = float_outputs(inputs, bench)
    notes: list[str] = []
    sensitive: tuple[LayerSensitivity, ...] = ()
    if quantise:
        try:
            inputs = replace(inputs, ranges=_ranges(inputs, bench))
            sensitive = _sensitivity(inputs, bench)
        except Unsupported as error:
            notes.append(str(error))
    return Groundwork(
        inputs=inputs, digest=inputs_digest(inputs), reference=reference, sensitivity=sensitive, notes=tuple(notes)
    )


def prepared_network(network: onnx.ModelProto, bench: Workbench) -> Path:
    """Return the prepared network on disk."""

    def make(draft: Path) -> None:
        save_onnx(prepare_network(network), draft / "prepared.onnx")

    key = {"network": onnx_digest(network), "tools": dict(tool_versions())}
    return bench.cache.step("prepare", key, make) / "prepared.onnx"


def _key(inputs: Inputs) -> dict[str, object]:
    return {"inputs": inputs_digest(inputs), "tools": dict(tool_versions())}


def float_outputs(inputs: Inputs, bench: Workbench) -> Path:
    """Return the prepared float network's outputs on the first samples, on disk."""

    def make(draft: Path) -> None:
        most = min(max(FEEDS), inputs.samples.feeds)
        feeds = _told(bench, inputs.samples.read(most), most, "run the float model")
        write_outputs(draft / "reference.npz", run_outputs("onnxruntime", inputs.network, feeds, threads=0))

    return bench.cache.step("reference", _key(inputs), make) / "reference.npz"


def _ranges(inputs: Inputs, bench: Workbench) -> Path:
    def make(draft: Path) -> None:
        collect_ranges(
            inputs.network,
            inputs.samples,
            draft / "ranges.npz",
            lambda done, total: bench.progress("calibrate", done, total),
        )

    return bench.cache.step("ranges", _key(inputs), make) / "ranges.npz"


def _sensitivity(inputs: Inputs, bench: Workbench) -> tuple[LayerSensitivity, ...]:
    def make(draft: Path) -> None:
        assert inputs.ranges is not None
        style = QdqStyle(activation="uint8", reduce_range=True)
        quantised = quantize(inputs.network, inputs.ranges, style, "minmax", inputs.keep_float)
        save_onnx(quantised, draft / "quantised.onnx")
        found = sensitivity(inputs.network, draft / "quantised.onnx", inputs.samples)
        (draft / "quantised.onnx").unlink()
        (draft / "sensitivity.json").write_bytes(canonical_json([encode(layer) for layer in found]))

    path = bench.cache.step("sensitivity", _key(inputs), make) / "sensitivity.json"
    layers = parse_json(path.read_bytes(), path.name)
    return tuple(decode(LayerSensitivity, layer, path.name) for layer in layers)


def _told(bench: Workbench, feeds: Iterable[Feed], total: int, step: str = "decode samples") -> Iterable[Feed]:
    for done, feed in enumerate(feeds, 1):
        yield feed
        bench.progress(step, done, total)
