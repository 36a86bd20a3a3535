"""The figures of one run over the peers as records, JSON and a table; a failure is a row with its reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.fingerprint import Fingerprint
from benchmarks.peer_rounds import Ratio
from runtime.contracts.codec import encode

_HEAD = (
    "| system | network ms, p50 (p90) | to ORT float [95 %] | photo ms, p50 (p90) | to ORT float [95 %] "
    "| top-1 as float | MB | compile s | what |\n|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One system on one model.

    Attributes:
        system: its name in the table of systems.
        note: what it chose, in words.
        failure: why there are no figures; ``None`` where there are.
        compile_s: wall time of compiling, imports included; Olive's makes its venv the first time.
        size_mb: of what it made.
        agree: evaluation photos with the float model's class, of ``photos``.
        photos: how many evaluation photos.
        network_ms: p50 and p90 from the network's own input to logits.
        photo_ms: p50 and p90 from the ``uint8`` photo to logits.
        network_ratio: to ONNX Runtime's float; ``None`` where that was not run.
        photo_ratio: likewise.
    """

    system: str
    note: str = ""
    failure: str | None = None
    compile_s: float
    size_mb: float | None = None
    agree: int | None = None
    photos: int
    network_ms: tuple[float, float] | None = None
    photo_ms: tuple[float, float] | None = None
    network_ratio: Ratio | None = None
    photo_ratio: Ratio | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole run; ``models`` holds the rows by model."""

    device: Fingerprint
    rounds: int
    threads: int
    calibrated_on: int
    models: Mapping[str, tuple[Row, ...]]


def as_json(report: Report) -> str:
    """Return the report as indented JSON."""
    return json.dumps(encode(report), indent=1, ensure_ascii=False) + "\n"


def as_markdown(report: Report) -> str:
    """Return one table a model, under the device's line."""
    versions = ", ".join(f"{name} {version}" for name, version in report.device.versions.items())
    lines = [
        f"{report.device.line()}; load {report.device.load_1min:.1f} at the start.",
        f"{versions}.",
        f"{report.threads} threads, batch 1, {report.rounds} rounds; calibrated on {report.calibrated_on} photos, "
        "agreement on others.",
    ]
    for model, rows in report.models.items():
        lines += ["", f"### {model}", "", _HEAD, *(_line(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    if row.failure is not None:
        reason = row.failure.replace("|", "/")
        return f"| {row.system} | no figures: {reason} | | | | | | {row.compile_s:.0f} | {row.note} |"
    cells = (
        row.system,
        _times(row.network_ms),
        _ratio(row.network_ratio),
        _times(row.photo_ms),
        _ratio(row.photo_ratio),
        f"{row.agree}/{row.photos}",
        f"{row.size_mb:.1f}",
        f"{row.compile_s:.0f}",
        row.note,
    )
    return f"| {' | '.join(cells)} |"


def _times(quantiles: tuple[float, float] | None) -> str:
    return "" if quantiles is None else f"{quantiles[0]:.2f} ({quantiles[1]:.2f})"


def _ratio(ratio: Ratio | None) -> str:
    return "" if ratio is None else f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
