"""Ranges of a float network's activations, from one stream of feeds: the same pass serves every calibration method.

Two passes, one feed in memory at a time: exact minima and maxima inside the graph over all feeds, then histograms over
an even choice of them. Memory grows with the number of tensors, never with the number of photos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from optimize.bias_correction import correctable
from optimize.samples import Feed, Samples
from optimize.targets.target import Calibration
from runtime.contracts.errors import Unsupported

BINS = 2048
HISTOGRAM_FEEDS = 32
PERCENTILE = 99.99

_MEAN = "mean:"

Histogram = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """By tensor: least and greatest value, ``float32 (T,)``, and counts in equal bins between, ``int64 (T, 2048)``.

    ``means`` holds the mean of each channel, ``float32 (C,)``, of the tensors that go into convolutions.
    """

    names: tuple[str, ...]
    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]
    counts: Histogram
    means: Mapping[str, npt.NDArray[np.float32]]

    def clipped(self, calibration: Calibration) -> dict[str, tuple[float, float]]:
        """Return the range of every tensor as a calibration method sees it."""
        choose = {"minmax": _minmax, "percentile": _percentile, "entropy": _entropy}[calibration]
        rows = zip(self.names, self.low.tolist(), self.high.tolist(), self.counts, strict=True)
        return {name: choose(low, high, counts) for name, low, high, counts in rows}


def collect_ranges(
    network: Path, samples: Samples, out: Path, progress: Callable[[int, int], None] | None = None
) -> None:
    """Run the feeds through a prepared network and write the ranges of its float tensors.

    Args:
        network: from ``prepare_network``.
        samples: calibration feeds, at least one.
        out: ``.npz`` to write.
        progress: called with (feeds done, feeds in both passes).

    Raises:
        Unsupported: a tensor is not finite on these feeds.
    """
    model = onnx.load(network)
    names = float_tensors(model)
    steps = _Steps(samples, progress)
    low, high, means = _extremes(model, names, steps)
    _require_finite(names, np.isfinite(low) & np.isfinite(high))
    counts = _histograms(model, names, low, high, steps)
    arrays: dict[str, Any] = {_MEAN + name: mean for name, mean in means.items()}
    np.savez(out, names=np.array(names), low=low, high=high, counts=counts, **arrays)


def read_ranges(path: Path) -> Ranges:
    """Read what ``collect_ranges`` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return Ranges(
            names=tuple(str(name) for name in stored["names"]),
            low=stored["low"],
            high=stored["high"],
            counts=stored["counts"],
            means={name.removeprefix(_MEAN): stored[name] for name in stored.files if name.startswith(_MEAN)},
        )


def float_tensors(model: onnx.ModelProto) -> list[str]:
    """Return the float32 activations of the top-level graph, in graph order."""
    graph = model.graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output, *graph.input)}
    constants = {tensor.name for tensor in graph.initializer}
    produced = [value.name for value in graph.input]
    produced += [name for node in graph.node if node.op_type != "Constant" for name in node.output]
    return [name for name in produced if kinds.get(name) == TensorProto.FLOAT and name not in constants]


class _Steps:
    """The feeds of both passes, with progress over both."""

    def __init__(self, samples: Samples, progress: Callable[[int, int], None] | None) -> None:
        self._samples = samples
        self._stride = max(samples.feeds // HISTOGRAM_FEEDS, 1)
        self._total = samples.feeds + len(range(0, samples.feeds, self._stride))
        self._progress = progress
        self._done = 0

    def all(self) -> Iterator[Feed]:
        for feed in self._samples.read():
            yield feed
            self._tell()

    def some(self) -> Iterator[Feed]:
        for number in range(0, self._samples.feeds, self._stride):
            yield self._samples.feed(number)
            self._tell()

    def _tell(self) -> None:
        self._done += 1
        if self._progress:
            self._progress(self._done, self._total)


def _session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no other base
        raise _refused(error) from error


def _run(session: ort.InferenceSession, names: list[str], feed: Feed) -> list[npt.NDArray[np.float32]]:
    try:
        found: list[npt.NDArray[np.float32]] = session.run(names, feed)
    except Exception as error:  # its errors share no other base
        raise _refused(error) from error
    return found


def _refused(error: Exception) -> Unsupported:
    why = " ".join(str(error).split())[:300]
    return Unsupported(f"calibration: ONNX Runtime cannot show what lies inside this network: {why}")


def _require_finite(names: list[str], finite: npt.NDArray[np.bool_]) -> None:
    if not finite.all():
        raise Unsupported(
            f"calibration: tensor {names[int(finite.argmin())]!r} is not finite on the given inputs, so its range "
            "cannot be set; give inputs like those of the field, or keep float"
        )


def _extremes(
    model: onnx.ModelProto, names: list[str], steps: _Steps
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], dict[str, npt.NDArray[np.float32]]]:
    """Let the graph itself reduce every tensor to its minimum and maximum, and those before convolutions to means."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    del probed.graph.output[:]
    ends = [end for number in range(len(names)) for end in (f"{number}:low", f"{number}:high")]
    for number, name in enumerate(names):
        for kind, end in (("ReduceMin", ends[2 * number]), ("ReduceMax", ends[2 * number + 1])):
            probed.graph.node.append(helper.make_node(kind, [name], [end], name=end, keepdims=0))
    before = sorted({node.input[0] for node in correctable(model)})
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim) for value in (*model.graph.value_info, *model.graph.input)
    }
    before = [name for name in before if ranks.get(name, 0) == 4]
    pooled = [f"{number}:mean" for number in range(len(before))]
    for name, end in zip(before, pooled, strict=True):
        probed.graph.node.append(helper.make_node("GlobalAveragePool", [name], [end], name=end))
    for end in (*ends, *pooled):
        probed.graph.output.append(helper.make_tensor_value_info(end, TensorProto.FLOAT, None))
    session = _session(probed)
    low = np.full(len(names), np.inf, np.float32)
    high = np.full(len(names), -np.inf, np.float32)
    sums, rows = [np.zeros(1) for _ in before], 0
    for feed in steps.all():
        found = _run(session, [*ends, *pooled], feed)
        extremes = np.array(found[: len(ends)], np.float32).reshape(-1, 2)
        np.minimum(low, extremes[:, 0], out=low)
        np.maximum(high, extremes[:, 1], out=high)
        averages = found[len(ends) :]
        sums = [
            total + one.reshape(*one.shape[:2]).sum(0, dtype=np.float64)
            for total, one in zip(sums, averages, strict=True)
        ]
        rows += averages[0].shape[0] if averages else 0
    return low, high, {n: (total / max(rows, 1)).astype(np.float32) for n, total in zip(before, sums, strict=True)}


def _histograms(
    model: onnx.ModelProto,
    names: list[str],
    low: npt.NDArray[np.float32],
    high: npt.NDArray[np.float32],
    steps: _Steps,
) -> Histogram:
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    del probed.graph.output[:]
    for name in names:
        probed.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = _session(probed)
    counts = np.zeros((len(names), BINS), np.int64)
    finite = np.ones(len(names), np.bool_)
    for feed in steps.some():
        for row, values in enumerate(_run(session, names, feed)):
            found = _histogram(values, float(low[row]), float(high[row]))
            counts[row] += found
            # ONNX Runtime's minima and maxima pass over NaN; no bin counts it
            finite[row] &= found.sum() == values.size or bool(np.isfinite(values).all())
    _require_finite(names, finite)
    return counts


def _histogram(values: npt.NDArray[np.float32], low: float, high: float) -> Histogram:
    if not high > low or not values.size:
        return np.zeros(BINS, np.int64)
    above = float(np.nextafter(np.float32(high), np.float32(np.inf)))  # OpenCV's upper edge is exclusive
    flat = np.ascontiguousarray(values).reshape(1, -1)
    return np.asarray(cv2.calcHist([flat], [0], None, [BINS], [low, above])).ravel().astype(np.int64)


def _minmax(low: float, high: float, counts: Histogram) -> tuple[float, float]:
    return low, high


def _percentile(low: float, high: float, counts: Histogram) -> tuple[float, float]:
    """Cut what lies outside the middle 99.99 %."""
    total = int(counts.sum())
    if not total:
        return low, high
    cumulative = np.cumsum(counts) / total
    tail = (1 - PERCENTILE / 100) / 2
    first = int(np.searchsorted(cumulative, tail, side="right"))
    last = int(np.searchsorted(cumulative, 1 - tail, side="left"))
    width = (high - low) / BINS
    return (low if first == 0 else low + first * width), (high if last >= BINS - 1 else low + (last + 1) * width)


def _entropy(low: float, high: float, counts: Histogram) -> tuple[float, float]:
    """Clip at the magnitude that loses the least information (Migacz, 8-bit inference with TensorRT, 2017)."""
    if not counts.any():
        return low, high
    edges = np.linspace(low, high, BINS + 1)
    centres = np.abs((edges[:-1] + edges[1:]) / 2)
    reach = max(abs(low), abs(high))
    magnitudes, _ = np.histogram(centres, bins=BINS, range=(0.0, reach), weights=counts)
    magnitudes[0] = magnitudes[1]  # zeros are exact at any scale
    levels = 128 if low < 0 else 256
    threshold = reach * (_least_divergent(magnitudes, levels) / BINS)
    return max(low, -threshold), min(high, threshold)


def _least_divergent(magnitudes: npt.NDArray[np.float64], levels: int) -> int:
    """Return how many of the bins to keep, by the least Kullback-Leibler divergence."""
    best, chosen = np.inf, BINS
    for kept in range(levels, BINS + 1, levels // 4):
        reference = magnitudes[:kept].copy()
        reference[-1] += magnitudes[kept:].sum()
        group = np.minimum(np.arange(kept) * levels // kept, levels - 1)
        present = magnitudes[:kept] > 0
        mass = np.bincount(group, magnitudes[:kept], levels)
        share = mass / np.maximum(np.bincount(group, present, levels), 1)
        candidate = np.where(present, share[group], 0.0)
        p, q = reference / reference.sum(), candidate / max(candidate.sum(), 1e-12)
        where = p > 0
        divergence = float(np.sum(p[where] * np.log(p[where] / np.maximum(q[where], 1e-12))))
        if divergence < best:
            best, chosen = divergence, kept
    return chosen


def symmetric(ranges: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Widen ranges to be symmetric about zero."""
    return {name: (-max(abs(low), abs(high)), max(abs(low), abs(high))) for name, (low, high) in ranges.items()}
