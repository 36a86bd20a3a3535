"""Lite0 and MobileNetV2 at batch 1: the variant that our build chooses against the public tools, interleaved.

Half of the photos calibrate, the other half judge top-1 agreement with the float torch model. Whatever fails is a row
with its reason. Downloads nothing into this environment.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.fingerprint import fingerprint
from benchmarks.peer_compile import (
    FACTORIES,
    Outcome,
    Prepared,
    compile_with,
    in_child,
    prepare_model,
    read_photos,
    reason,
)
from benchmarks.peer_report import Report, Row, as_json, as_markdown
from benchmarks.peer_rounds import Times, Timing, median_ratio, time_rounds, top1
from benchmarks.peer_systems.system import BASELINE, SYSTEMS, Job, Photos, Running, load_system
from benchmarks.wheel_files import peers_cache
from runtime.contracts.command import run_command
from runtime.contracts.errors import StationFault

MODELS = ("lite0", "mobilenet_v2")
THREADS = 2
SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to run: ``bundles`` are our bundles that exist already, by model."""

    models: tuple[str, ...]
    systems: tuple[str, ...]
    photos: Path
    bundles: Mapping[str, Path]
    rounds: int
    rest_s: float
    venvs: Path


def measure(settings: Settings, work: Path, now: datetime) -> Report:
    """Compile everything, then time it.

    Args:
        settings: what to run.
        work: empty folder.
        now: for the report.
    """
    paths = sorted(path for path in settings.photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if len(paths) < 4:
        raise StationFault(f"photos {settings.photos}: expected at least 4, found {len(paths)}; set --photos")
    calibrate, evaluate = paths[0::2], paths[1::2]
    device = fingerprint(now)
    prepared = {name: in_child(prepare_model, name, calibrate, evaluate, work / name) for name in settings.models}
    photos = read_photos(evaluate)
    rows = {name: _measure_model(settings, name, model, photos, work / name) for name, model in prepared.items()}
    return Report(device=device, rounds=settings.rounds, threads=THREADS, calibrated_on=len(calibrate), models=rows)


def _measure_model(
    settings: Settings, model: str, prepared: Prepared, photos: Sequence[Photos], work: Path
) -> tuple[Row, ...]:
    outcomes, running, agree = {}, {}, {}
    for system in settings.systems:
        job = _job(settings, model, prepared, work / system)
        print(f"{model}: {system} compiles ...", flush=True)
        outcomes[system] = outcome = compile_with(system, job)
        try:
            loaded = _load(system, outcome, job)
            agree[system] = int(np.sum(top1(loaded, photos) == np.array(prepared.top1)))
            running[system] = loaded
        except Exception as error:  # noqa: BLE001 - a peer may fail in any way; its reason is its row
            outcomes[system] = _failed(outcome, error)
    print(f"{model}: {settings.rounds} rounds of {', '.join(running)} ...", flush=True)
    timings = time_rounds(running, photos, settings.rounds, seed=SEED, rest_s=settings.rest_s) if running else {}
    return tuple(_row(system, outcomes[system], agree.get(system), len(photos), timings) for system in settings.systems)


def _job(settings: Settings, model: str, prepared: Prepared, folder: Path) -> Job:
    return Job(
        factory=f"{FACTORIES}:{model}",
        network=prepared.network,
        calibration=prepared.calibration,
        photos=prepared.photos,
        mean=prepared.mean,
        std=prepared.std,
        folder=folder,
        venvs=settings.venvs,
        bundle=settings.bundles.get(model),
        threads=THREADS,
    )


def _load(system: str, outcome: Outcome, job: Job) -> Running:
    if outcome.product is None:
        raise StationFault(outcome.failure or "nothing was made")
    return load_system(system).load(outcome.product, job)


def _failed(outcome: Outcome, error: Exception) -> Outcome:
    return Outcome(product=outcome.product, failure=outcome.failure or reason(error), seconds=outcome.seconds)


def _row(system: str, outcome: Outcome, agree: int | None, photos: int, timings: Mapping[str, Timing]) -> Row:
    timing, baseline, product = timings.get(system), timings.get(BASELINE), outcome.product
    row = Row(
        system=system,
        note=product.note if product else "",
        failure=outcome.failure,
        compile_s=outcome.seconds,
        size_mb=product.size_bytes / 1e6 if product else None,
        photos=photos,
    )
    if timing is None:
        return row
    return replace(
        row,
        agree=agree,
        network_ms=_quantiles(timing.network_ms),
        photo_ms=_quantiles(timing.photo_ms),
        network_ratio=median_ratio(timing.network_ms, baseline.network_ms, seed=SEED) if baseline else None,
        photo_ratio=median_ratio(timing.photo_ms, baseline.photo_ms, seed=SEED) if baseline else None,
    )


def _quantiles(times: Times) -> tuple[float, float]:
    p50, p90 = np.quantile(times, (0.5, 0.9))
    return float(p50), float(p90)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``run_command`` for what it returns."""
    return run_command(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    data = Path(os.environ.get("TOUCHSTONE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    parser = argparse.ArgumentParser(prog="bench-compile peers", description="Our chosen variant against the peers.")
    parser.add_argument("--rounds", type=int, default=300, help="timed rounds a model (default: %(default)s)")
    parser.add_argument("--rest-ms", type=float, default=3.0, help="pause before every run (default: %(default)s)")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for peers.json and peers.md")
    parser.add_argument("--photos", metavar="DIR", type=Path, default=data / "photos", help="default: %(default)s")
    parser.add_argument("--model", choices=MODELS, action="append", help="only this one; may be given again")
    parser.add_argument("--system", choices=list(SYSTEMS), action="append", help="only this one; may be given again")
    parser.add_argument(
        "--bundle", metavar="MODEL=DIR", type=_bundle, action="append", default=[], help="our bundle, built before"
    )
    parser.set_defaults(command=_run, venvs=peers_cache())
    return parser


def _bundle(text: str) -> tuple[str, Path]:
    model, _, folder = text.partition("=")
    if model not in MODELS or not folder:
        raise argparse.ArgumentTypeError(f"expected MODEL=DIR with a model of {', '.join(MODELS)}, got {text!r}")
    return model, Path(folder)


def _run(options: argparse.Namespace) -> None:
    settings = Settings(
        models=tuple(options.model or MODELS),
        systems=tuple(options.system or SYSTEMS),
        photos=options.photos,
        bundles=dict(options.bundle),
        rounds=options.rounds,
        rest_s=options.rest_ms / 1000,
        venvs=options.venvs,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out) as work:
        report = measure(settings, Path(work), datetime.now(UTC))
    (options.out / "peers.json").write_text(as_json(report))
    (options.out / "peers.md").write_text(as_markdown(report))
    print(as_markdown(report))


if __name__ == "__main__":
    raise SystemExit(main())
