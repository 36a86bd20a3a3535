"""Fraud on a table: which trees tell it best, and what their ONNX form costs against the library that grew them.

The family is chosen on the training week alone (``INNER`` windows of ``benchmarks.fraud_protocol``): the smallest of
those that the week cannot tell from the best. The other families' test figures are printed beside it, so that nobody
needs to take the choice on trust. Latencies are medians of interleaved calls, one thread each.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import onnx
import xgboost
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.fingerprint import Fingerprint, fingerprint
from benchmarks.fraud_protocol import HANDBOOK, INNER, Transactions, Window, read_transactions, split
from optimize.sources.imported import SourceOptions
from optimize.sources.tabular import import_estimator
from optimize.timing import interleaved_us, ratio_interval
from runtime.contracts.errors import TouchstoneError
from runtime.engine import load_network

PUBLISHED_AUC, PUBLISHED_AP = 0.867, 0.658
"""The handbook's random forest on this very split."""
CHOSEN = "random forest"
"""What ``choose`` gives on the training week; ``main`` says so where it gives another."""
SEED = 7
BATCHES = {1: 300, 1000: 60}
"""Rows a call, and how many calls to time."""
PACKAGES = ("numpy", "onnx", "onnxruntime", "scikit-learn", "lightgbm", "xgboost")

FAMILIES: Mapping[str, Callable[[], Any]] = {
    "extra trees": lambda: ExtraTreesClassifier(
        150, min_samples_leaf=3, max_features=1.0, random_state=SEED, n_jobs=-1
    ),
    "random forest": lambda: RandomForestClassifier(
        100, min_samples_leaf=3, max_features=0.5, random_state=SEED, n_jobs=-1
    ),
    "histogram boosting": lambda: HistGradientBoostingClassifier(
        max_iter=100,
        learning_rate=0.05,
        max_leaf_nodes=15,
        l2_regularization=10,
        early_stopping=False,
        random_state=SEED,
    ),
    "lightgbm": lambda: lightgbm.LGBMClassifier(
        n_estimators=100,
        learning_rate=0.05,
        num_leaves=8,
        min_child_samples=50,
        colsample_bytree=0.7,
        subsample=0.8,
        subsample_freq=1,
        reg_lambda=5,
        random_state=SEED,
        verbose=-1,
    ),
    "xgboost": lambda: xgboost.XGBClassifier(
        n_estimators=150,
        learning_rate=0.05,
        max_depth=4,
        min_child_weight=5,
        colsample_bynode=0.5,
        subsample=0.8,
        random_state=SEED,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """Area under the ROC curve, and average precision."""

    auc: float
    average_precision: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Medians for so many rows a call; ``ratio`` is ONNX over library, with its 95 % interval."""

    rows: int
    library_p50_us: float
    onnx_p50_us: float
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family; ``test`` is of the ONNX form, ``inner`` of the library's, one for each window."""

    name: str
    chosen: bool
    inner: tuple[Skill, ...]
    test: Skill
    max_abs_error: float
    onnx_mb: float
    latencies: tuple[Latency, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one run found."""

    device: Fingerprint
    command: str
    train_rows: int
    train_frauds: int
    test_rows: int
    test_frauds: int
    families: tuple[Family, ...]


def inner_skills(name: str, table: Transactions, windows: Sequence[Window]) -> tuple[Skill, ...]:
    """Return the skill of a family on each window inside the training week."""
    found = []
    for window in windows:
        train, test = split(table, window)
        model = fit(name, table, train)
        found.append(skill(table.fraud[test], model.predict_proba(table.rows[test])[:, 1]))
    return tuple(found)


def choose(inner: Mapping[str, Sequence[Skill]], sizes_mb: Mapping[str, float]) -> str:
    """Return the smallest family that is within one standard error of the best (Breiman et al. 1984).

    What counts is AUC + average precision; the error is of its difference to the best, window by window. The windows
    share days, so it is an understatement, and the rule the stricter for it.

    Args:
        inner: each family's skill on the same windows.
        sizes_mb: of each family's ONNX form.
    """
    sums = {name: np.array([one.auc + one.average_precision for one in skills]) for name, skills in inner.items()}
    best = max(sums, key=lambda name: float(sums[name].mean()))
    behind = {name: sums[best] - own for name, own in sums.items()}
    error = {name: gap.std(ddof=1) / np.sqrt(len(gap)) if len(gap) > 1 else 0.0 for name, gap in behind.items()}
    equal = [name for name, gap in behind.items() if gap.mean() <= error[name]]
    return min(equal, key=lambda name: sizes_mb[name])


def fit(name: str, table: Transactions, train: npt.NDArray[np.bool_]) -> Any:
    """Train a family on some rows; it answers with one thread, as a station would."""
    model = FAMILIES[name]().fit(table.rows[train], table.fraud[train])
    return model.set_params(n_jobs=1) if "n_jobs" in model.get_params() else model


def skill(fraud: npt.NDArray[np.bool_], p: npt.NDArray[np.floating[Any]]) -> Skill:
    """Judge probabilities ``(n,)``."""
    return Skill(auc=float(roc_auc_score(fraud, p)), average_precision=float(average_precision_score(fraud, p)))


def judge(
    name: str, table: Transactions, window: Window, batches: Mapping[int, int]
) -> tuple[Skill, float, float, tuple[Latency, ...]]:
    """Train, convert and test a family.

    Returns:
        Skill of the ONNX form on the test days, its largest difference in probability there, its size in MB, latencies.
    """
    train, test = split(table, window)
    model, rows = fit(name, table, train), table.rows[test]
    found = import_estimator(model, SourceOptions(features=table.features), rows, {})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fraud.onnx"
        onnx.save(found.network, path)
        network, size_mb = load_network("onnxruntime", path, 1), path.stat().st_size / 1e6
    p = 1 / (1 + np.exp(-network.run(rows)[:, 0].astype(np.float64)))
    latencies = []
    for count, rounds in batches.items():
        some = np.ascontiguousarray(rows[:count])
        library, ours = interleaved_us([lambda: model.predict_proba(some), lambda: network.run(some)], rounds)  # noqa: B023 - called at once
        ratio, low, high = ratio_interval(ours, library)
        latencies.append(
            Latency(
                rows=count,
                library_p50_us=float(np.median(library)),
                onnx_p50_us=float(np.median(ours)),
                ratio=ratio,
                ratio_low=low,
                ratio_high=high,
            )
        )
    return skill(table.fraud[test], p), found.parity.max_abs_error, size_mb, tuple(latencies)


def measure(table: Transactions, command: str, now: datetime) -> Report:
    """Judge every family by the handbook's protocol, and choose one on the training week."""
    device = fingerprint(now, PACKAGES)
    inner = {name: inner_skills(name, table, INNER) for name in FAMILIES}
    judged = {name: judge(name, table, HANDBOOK, BATCHES) for name in FAMILIES}
    best = choose(inner, {name: size_mb for name, (_, _, size_mb, _) in judged.items()})
    families = [
        Family(
            name=name,
            chosen=name == best,
            inner=inner[name],
            test=test,
            max_abs_error=error,
            onnx_mb=size_mb,
            latencies=latencies,
        )
        for name, (test, error, size_mb, latencies) in judged.items()
    ]
    train, test_rows = split(table, HANDBOOK)
    return Report(
        device=device,
        command=command,
        train_rows=int(train.sum()),
        train_frauds=int(table.fraud[train].sum()),
        test_rows=int(test_rows.sum()),
        test_frauds=int(table.fraud[test_rows].sum()),
        families=tuple(families),
    )


def table_of(report: Report) -> str:
    """Return the report as a Markdown table under the device's line."""
    lines = [
        f"{report.device.line()}; load {report.device.load_1min:.1f} at the start.",
        f"Trained on {report.train_rows} rows ({report.train_frauds} frauds), tested on {report.test_rows} "
        f"({report.test_frauds} frauds). Published: AUC {PUBLISHED_AUC}, average precision {PUBLISHED_AP}.",
        "",
        "| family | inner AUC / AP | test AUC / AP | max error | MB | 1 row: library, ONNX us (ratio) "
        "| 1,000 rows: library, ONNX us (ratio) |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in report.families:
        cells = [
            f"**{one.name}** (chosen)" if one.chosen else one.name,
            f"{np.mean([each.auc for each in one.inner]):.4f} / "
            f"{np.mean([each.average_precision for each in one.inner]):.4f}",
            f"{one.test.auc:.4f} / {one.test.average_precision:.4f}",
            f"{one.max_abs_error:.1e}",
            f"{one.onnx_mb:.2f}",
            *(
                f"{each.library_p50_us:.0f}, {each.onnx_p50_us:.0f} ({each.ratio:.4f} [{each.ratio_low:.4f}, "
                f"{each.ratio_high:.4f}])"
                for each in one.latencies
            ),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write the report where asked; 2 for a file that cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fraud", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="card_fraud_simulated.csv.gz")
    parser.add_argument("--out", type=Path, help="JSON file to write the report into")
    options = parser.parse_args(arguments)
    command = f"python -m benchmarks.fraud --data {options.data.name}"
    try:
        report = measure(read_transactions(options.data), command, datetime.now(UTC))
    except TouchstoneError as error:
        print(error, file=sys.stderr)
        return 2
    print(table_of(report))
    if options.out is not None:
        options.out.write_text(json.dumps(dataclasses.asdict(report), indent=1) + "\n", encoding="utf-8")
    chosen = next(one.name for one in report.families if one.chosen)
    if chosen != CHOSEN:
        print(f"the training week chooses {chosen} here, not {CHOSEN}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
