"""A run as a table for the terminal. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.latency.latency_stats import SHARES, percentile
from benchmarks.latency.results import Result, Run

_HEADER = ("scenario", "system", *SHARES, "of limit", "CPU ms", "peak MB", "written", "")


def summary(run: Run) -> str:
    """Return what was measured: milliseconds, and why what is INVALID is so."""
    rows = [_row(result) for result in run.results]
    widths = [max(len(row[column]) for row in (_HEADER, *rows)) for column in range(len(_HEADER))]
    lines = [_aligned(row, widths) for row in (_HEADER, *rows)]
    told = [f"INVALID {one.scenario}, {one.system}: {one.why}" for one in run.results if not one.valid]
    told += [f"absent {one.system}: {one.why}" for one in run.absent]
    return "\n".join([run.header.device.line(), "milliseconds unless it says otherwise", *lines, *told])


def _row(result: Result) -> tuple[str, ...]:
    shown = [percentile(result.latencies_ms, share) for share in SHARES.values()]
    share = statistics.median(result.latencies_ms) / result.limit_ms if result.limit_ms else None
    return (
        result.scenario,
        result.system,
        *("-" if value is None else f"{value:.1f}" for value in shown),
        "-" if share is None else f"{share:.2f} x",
        f"{result.cpu_ms:.1f}",
        f"{result.peak_rss_mb:.0f}",
        f"{result.written_bytes / 1e6:.1f} MB",
        "VALID" if result.valid else "INVALID",
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join([*left, *right]).rstrip()
