"""Runs of the suite made of invented figures, for what reads runs. Nothing here was measured."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from benchmarks.fingerprint import Fingerprint
from benchmarks.latency.results import Absent, Header, Limits, Result, Run

LIMITS = Limits(
    entropy_decode_ms=40.0,
    full_decode_ms=115.0,
    copy_gb_per_s=9.0,
    int8_gops=400.0,
    float32_gflops=120.0,
    bf16_gflops=None,
    fsync_ms=2.0,
    write_mb_per_s=300.0,
    cores=2,
)
DEVICE = Fingerprint(
    date="2026-10-01T12:00:00+00:00",
    cpu="invented CPU",
    flags=("avx2",),
    cores=2,
    memory_gb=8.0,
    load_1min=0.1,
    system="Linux x86_64",
    python="3.11.9",
    versions={"numpy": "2.3", "onnxruntime": "1.32"},
)


def header(**changed: Any) -> Header:
    plain = Header(device=DEVICE, command="touchstone-bench run", suite="quick", views=6, photo_mb=6.5, limits=LIMITS)
    return dataclasses.replace(plain, **changed)


def result(scenario: str = "item", system: str = "touchstone", **changed: Any) -> Result:
    """Return a valid result; ``median_ms`` and ``count`` make its latencies where none are given."""
    median_ms, count = changed.pop("median_ms", 170.0), changed.pop("count", 64)
    random = np.random.default_rng(len(scenario) + len(system))
    latencies = tuple(float(one) for one in median_ms * random.lognormal(0, 0.06, count))
    plain = Result(
        scenario=scenario,
        system=system,
        does=f"{system} <does> what it does",
        seed=101,
        warm_up=3,
        latencies_ms=changed.pop("latencies_ms", latencies),
        at_s=tuple(0.5 * index for index in range(len(changed.get("latencies_ms", latencies)))),
        cpu_ms=260.0,
        peak_rss_mb=180.0,
        written_bytes=40_000_000.0,
        photo_bytes=39_000_000.0,
        limit_ms=150.0,
        valid=True,
        why="",
    )
    return dataclasses.replace(plain, **changed)


def run(*results: Result, absent: tuple[Absent, ...] = (), **changed: Any) -> Run:
    return Run(header=header(**changed), results=results or (result(),), absent=absent)


def whole_run() -> Run:
    """Every kind of part that a page has: peers, a schedule, a surge, a soak, an INVALID result, one that is absent."""
    slower = {"touchstone": 1.0, "naive": 5.1, "openvino-nncf": 3.2, "optimum": 4.7, "olive": 4.6}
    found = []
    for scenario, base, count, limit in (
        ("view_warm", 62.0, 64, 48.0),
        ("item", 170.0, 700, 150.0),
        ("item_one_by_one", 66.0, 64, 48.0),
        ("steady", 70.0, 64, 48.0),
        ("surge", 80.0, 600, 48.0),
        ("soak", 9.0, 600, None),
        ("fraud_1", 0.021, 662, None),
    ):
        for system, factor in slower.items():
            one = result(scenario, system, median_ms=base * factor, count=count, limit_ms=limit)
            if scenario == "surge":
                queue = np.clip(np.arange(count) - 100, 0, 200) * factor * 20 * (np.arange(count) < 450)
                one = dataclasses.replace(
                    one,
                    latencies_ms=tuple(np.add(one.latencies_ms, queue).tolist()),
                    figures={"surge_slowest_ms": 59_070.0, "recovered_s": 12.5},
                )
            if scenario == "soak":
                sizes = {f"rss_mb_at_{scan}": 150.0 * factor**0.5 + scan**0.2 for scan in range(0, 601, 100)}
                one = dataclasses.replace(one, figures={**sizes, "growth_mb": 0.4})
            found.append(one)
    found[-1] = dataclasses.replace(found[-1], valid=False, why="the machine slowed by 31 % in mid-run; run again")
    gone = Absent(system="roboflow", why="its venv 'roboflow' was not made; run scripts/bench-peers")
    return run(*found, absent=(gone,))
