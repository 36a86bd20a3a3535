"""What a full search costs: wall time and peak memory of ``touchstone-optimize build`` on Lite0 for five targets.

A thousand calibration photos are made from the 200: seeded crops and mirrors, as JPEGs. The same build then runs again,
unchanged, into another folder. Memory is that of the whole process tree, sampled: the sum of the proportional set sizes
(PSS), in which a page that several processes share counts once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import psutil

from benchmarks.fingerprint import Fingerprint, fingerprint
from runtime.contracts.codec import encode
from runtime.contracts.command import run_command
from runtime.contracts.errors import StationFault

FACTORY = "benchmarks.compile_models:lite0"
TARGETS = ("x86", "openvino", "tensorrt-rtx", "mobile", "web")
VIEWS = 5
MIN_PX = 224
SAMPLE_EVERY_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One command: wall time, greatest sampled memory of its process tree, processes at most, samples, exit code."""

    wall_s: float
    peak_pss_mb: float
    processes: int
    samples: int
    exit_code: int
    last_line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Both builds of one run."""

    device: Fingerprint
    command: str
    photos: int
    first: Cost
    again: Cost


def write_crops(photos: Sequence[Path], folder: Path, *, views: int, seed: int) -> int:
    """Write random crops of photos, each at least 224 px on a side, half of them mirrored.

    Args:
        photos: to crop; read once each.
        folder: exists and is empty.
        views: crops of each photo.
        seed: of places, sizes and mirrors.

    Returns:
        How many files were written.

    Raises:
        StationFault: a photo does not decode.
    """
    random, written = np.random.default_rng(seed), 0
    for path in photos:
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if pixels is None:
            raise StationFault(f"photo {path}: it does not decode; remove it")
        if min(pixels.shape[:2]) < MIN_PX:
            scale = MIN_PX / min(pixels.shape[:2])
            pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        height, width = pixels.shape[:2]
        for number in range(views):
            side = int(random.integers(min(MIN_PX, height, width), min(height, width) + 1))
            top, left = int(random.integers(height - side + 1)), int(random.integers(width - side + 1))
            crop = pixels[top : top + side, left : left + side]
            crop = crop[:, ::-1] if random.random() < 0.5 else crop
            cv2.imwrite(str(folder / f"{path.stem}-{number}.jpg"), crop, [cv2.IMWRITE_JPEG_QUALITY, 92])
            written += 1
    return written


def cost_of(command: Sequence[str], log: Path, every_s: float = SAMPLE_EVERY_S) -> Cost:
    """Run a command to its end and sample the memory of its process tree.

    Args:
        command: to run.
        log: file for its output.
        every_s: pause between samples.
    """
    peak, processes, samples = 0, 0, 0
    with log.open("wb") as output:
        started = time.monotonic()
        with subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as child:
            try:
                while child.poll() is None:
                    size, count = _tree(child.pid)
                    peak, processes, samples = max(peak, size), max(processes, count), samples + 1
                    time.sleep(every_s)
            except BaseException:
                child.terminate()
                raise
        wall_s = time.monotonic() - started
    lines = log.read_text(errors="replace").strip().splitlines()
    return Cost(
        wall_s=wall_s,
        peak_pss_mb=peak / 1e6,
        processes=processes,
        samples=samples,
        exit_code=child.returncode,
        last_line=lines[-1] if lines else "",
    )


def as_text(report: Report) -> str:
    """Return the report in a few lines."""
    lines = [f"{report.device.line()}; load {report.device.load_1min:.1f} at the start.", report.command, ""]
    lines += ["| build | wall s | peak memory MB (PSS of the tree) | processes | exit code |", "|---|---|---|---|---|"]
    for name, cost in (("full search", report.first), ("again, nothing changed", report.again)):
        lines.append(f"| {name} | {cost.wall_s:.1f} | {cost.peak_pss_mb:.0f} | {cost.processes} | {cost.exit_code} |")
        if cost.exit_code:
            lines.append(f"| | {cost.last_line} | | | |")
    return "\n".join(lines) + f"\n\n{report.photos} calibration photos, sampled every {SAMPLE_EVERY_S * 1000:.0f} ms.\n"


def _tree(pid: int) -> tuple[int, int]:
    """Return PSS in bytes and number of the processes of a tree; one that ends meanwhile counts for nothing."""
    total, count = 0, 0
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0, 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        count += 1
    return total, count


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``run_command`` for what it returns."""
    return run_command(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    data = Path(os.environ.get("TOUCHSTONE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    parser = argparse.ArgumentParser(prog="bench-compile cost", description="Time and memory of a full search.")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for the report and the logs")
    parser.add_argument("--photos", metavar="DIR", type=Path, default=data / "photos", help="default: %(default)s")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one; may be given again")
    parser.add_argument("--views", type=int, default=VIEWS, help="crops of each photo (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="of the crops (default: %(default)s)")
    parser.set_defaults(command=_run)
    return parser


def _run(options: argparse.Namespace) -> int:
    paths = sorted(path for path in options.photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    options.out.mkdir(parents=True, exist_ok=True)
    device = fingerprint(datetime.now(UTC))
    with tempfile.TemporaryDirectory(dir=options.out) as work:
        samples = Path(work) / "samples"
        samples.mkdir()
        photos = write_crops(paths, samples, views=options.views, seed=options.seed)
        command = [str(Path(sys.executable).with_name("touchstone-optimize")), "build", FACTORY]
        command += ["--samples", str(samples), "--cache", str(Path(work) / "cache")]
        command += [word for target in options.target or TARGETS for word in ("--target", target)]
        costs = [
            cost_of([*command, "--out", str(Path(work) / name)], options.out / f"{name}.log")
            for name in ("first", "again")
        ]
    shown = " ".join(["touchstone-optimize", *command[1:3], "--samples", "PHOTOS", *command[7:], "--out", "BUNDLE"])
    report = Report(device=device, command=shown, photos=photos, first=costs[0], again=costs[1])
    (options.out / "search_cost.json").write_text(json.dumps(encode(report), indent=1) + "\n")
    (options.out / "search_cost.md").write_text(as_text(report))
    print(as_text(report))
    return 0 if not any(cost.exit_code for cost in costs) else 2


if __name__ == "__main__":
    raise SystemExit(main())
