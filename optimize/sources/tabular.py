"""Tables: a fitted binary classifier becomes ONNX that gives its probability to 1e-5, or is refused in words.

Our own converter goes first: it works in float64 as the libraries do, and nests calibrators. Models that it does not
know go through skl2onnx. Whatever wrote the network, it is compared with its source on real rows before it is accepted.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from optimize.sources.imported import LISTING_INPUT, Imported, Parity, SourceOptions
from optimize.sources.tabular_classifiers import classify
from optimize.sources.tabular_fallback import convert_elsewhere
from optimize.sources.tabular_files import load_estimator
from optimize.sources.tabular_graph import NoConverter, TableGraph
from optimize.sources.tabular_original import Original, library_versions, open_original
from runtime.contracts.bundle import TensorSpec
from runtime.contracts.errors import Unsupported
from runtime.engine import load_network

Rows = npt.NDArray[np.float32]

MAX_ERROR = 1e-5
"""The most by which a probability may differ from the source's."""
BATCH = 4096


def import_estimator(estimator: object, options: SourceOptions, rows: Rows, provenance: Mapping[str, str]) -> Imported:
    """Convert a fitted binary classifier of scikit-learn, LightGBM or XGBoost, and prove it on rows.

    Args:
        estimator: a classifier, a pipeline that ends in one, or a LightGBM or XGBoost ``Booster``.
        options: ``features`` and ``counterfeit_class`` are read; the class that means fraud is else the second.
        rows: ``float32 (N, F)`` real rows, NaN where missing.
        provenance: what is known of where it came from; versions are added.

    Raises:
        Unsupported: it is no binary classifier, cannot be ONNX, or its ONNX does not agree with it.
    """
    original = open_original(estimator)
    features = _features(original, options)
    _check_rows(rows, features)
    positive = _positive(original, options)
    network, notes = _convert(original, positive)
    parity = _compare(original, network, rows, positive)
    if not original.takes_missing():
        notes = (*notes, "the source refuses rows with missing values: this network's answer to one means nothing")
    return Imported(
        kind="table",
        network=network,
        tensors=(TensorSpec(name=LISTING_INPUT, dtype="float32", shape=(None, original.width)),),
        classes=original.classes,
        features=features,
        notes=notes,
        parity=parity,
        provenance={**provenance, **library_versions()},
    )


def import_file(path: Path, options: SourceOptions, rows: Rows) -> Imported:
    """Load a model file and convert it; see ``load_estimator`` and ``import_estimator``.

    A ``.joblib`` or ``.pkl`` file is a pickle: opening it runs whatever its author put into it.

    Raises:
        Unsupported: as ``import_estimator``, or the file is not what its name says.
    """
    estimator = load_estimator(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return import_estimator(estimator, options, rows, {"source": path.name, "source_sha256": digest})


def _features(original: Original, options: SourceOptions) -> tuple[str, ...]:
    names = options.features or original.features or tuple(f"f{number}" for number in range(original.width))
    if len(names) != original.width:
        raise Unsupported(
            f"features: the model takes {original.width} columns, got {len(names)} names; name every column in order"
        )
    if len(set(names)) != len(names):
        raise Unsupported("features: a name is given twice; stations find values by name, so name each column once")
    return names


def _check_rows(rows: Rows, features: tuple[str, ...]) -> None:
    if rows.ndim != 2 or rows.shape[1] != len(features):
        raise Unsupported(
            f"rows: expected shape (N, {len(features)}), got {rows.shape}; give the model's columns in order"
        )
    if not len(rows):
        raise Unsupported("rows: got none; the network is compared with its source on real rows, so give some")


def _positive(original: Original, options: SourceOptions) -> int:
    """Return which of the two classes means fraud: by name, else by index, else the second."""
    wanted = options.counterfeit_class
    if wanted is None:
        return 1
    if wanted in original.classes:
        return original.classes.index(wanted)
    if wanted in ("0", "1"):
        return int(wanted)
    raise Unsupported(f"counterfeit class {wanted!r}: the model has {' and '.join(original.classes)}")


def _convert(original: Original, positive: int) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    graph = TableGraph(original.width)
    try:
        answer = classify(graph, graph.listing, original.model)
    except NoConverter as unknown:
        network = convert_elsewhere(original.model, original.width, positive, str(unknown))
        return network, (f"converted by skl2onnx in float32: ours has no converter for {unknown}",)
    assert answer.score is not None  # open_original saw predict_proba, or a booster of one probability
    return graph.finish(answer.score, positive), ()


def _compare(original: Original, network: onnx.ModelProto, rows: Rows, positive: int) -> Parity:
    """Compare probabilities; the first row runs alone, so that a network that fixed its batch is found out.

    Raises:
        Unsupported: one differs by more than ``MAX_ERROR``.
    """
    expected = original.probabilities(rows)[:, positive]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.onnx"
        onnx.save(network, path)
        loaded = load_network("onnxruntime", path, 1)
    starts = [0, *range(1, len(rows), BATCH)]
    parts = [rows[start:end] for start, end in zip(starts, [*starts[1:], len(rows)], strict=True)]
    logits = np.concatenate([loaded.run(np.ascontiguousarray(part)).reshape(-1) for part in parts]).astype(np.float64)
    p = 0.5 * (1.0 + np.tanh(0.5 * logits))  # sigmoid that never overflows
    errors = np.nan_to_num(np.abs(p - expected), nan=np.inf)
    worst = int(errors.argmax())
    if errors[worst] > MAX_ERROR:
        raise Unsupported(
            f"{type(original.model).__name__}: row {worst}: the source's probability is {expected[worst]:.9g}, the "
            f"network's {p[worst]:.9g}; expected them within {MAX_ERROR:g}; scale or round the column that decides it"
        )
    cosine = float(p @ expected / max(np.linalg.norm(p) * np.linalg.norm(expected), np.finfo(np.float64).tiny))
    return Parity(inputs=len(rows), of="rows of the table given", max_abs_error=float(errors[worst]), cosine=cosine)
