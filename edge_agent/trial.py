"""Tries one variant of a bundle in a child process, so that a bad model takes down nobody but itself.

Run as ``python -m edge_agent.trial``, it opens the bundle as the station would, checks it on its golden samples, times
it with each schedule, and prints one line of JSON. The child ends itself by an alarm, should its parent be killed
meanwhile. Never touches the outbox.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edge_agent.pulse import beat
from edge_agent.variant_choice import Schedule
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.errors import TouchstoneError, TryLater, Untrusted

if TYPE_CHECKING:  # the parent needs no engine
    from runtime.inspector import Inspector

TRIAL_COMMAND: tuple[str, ...] = (sys.executable, "-m", "edge_agent.trial")
_SCHEDULES: tuple[Schedule, ...] = ("each", "together")
_LEAST_RUNS, _MOST_RUNS, _LONG_ENOUGH_S = 5, 25, 1.0
_CAMERA_PX, _CAMERA_RUNS, _NOISE = (4000, 3000), 3, 16
_MOST_PROBLEMS = 10
_NICENESS = 10
_FOLDER = ".trial-"
_LOOK_EVERY_S = 0.2
_MOST_OUTPUT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOrder:
    """What the child is to do; ``timeout_s`` in whole seconds, ``variant`` ``None`` for the best that may run here.

    ``max_bytes`` is address space; ``max_disk_bytes`` what it may write, to one file and to its temporary folder.
    """

    bundle: str
    variant: str | None
    threads: int
    timeout_s: int
    max_bytes: int
    max_disk_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """What the child found.

    Attributes:
        problems: reasons not to run the variant; none: it has proved itself.
        latency_ms: schedule to the median time of the golden item with the most photos, milliseconds.
        camera_ms: the same with photos of a camera's size, whose decoding weighs more.
        resident_mib: memory of the child once the variant was loaded and had scored its golden samples, MiB.
    """

    problems: tuple[str, ...]
    latency_ms: Mapping[Schedule, float] = field(default_factory=dict)
    camera_ms: Mapping[Schedule, float] = field(default_factory=dict)
    resident_mib: float | None = None


def run_trial(
    order: TrialOrder, *, stopping: threading.Event, command: Sequence[str] = TRIAL_COMMAND, scratch: Path | None = None
) -> TrialResult:
    """Try a variant in a child process and wait for the result; a crash or a hang is a result too.

    Args:
        order: what the child is to do.
        stopping: set when the agent is told to stop.
        command: the child.
        scratch: where its temporary folder goes; ``None``: where the system has them.

    Raises:
        TryLater: the agent is stopping, or the child could not be started; nothing is known of the bundle.
    """
    try:
        with (
            tempfile.TemporaryDirectory(prefix=_FOLDER, dir=scratch) as folder,
            (Path(folder) / "said").open("w+b") as said,  # files, as they count as written, and a pipe might overflow
            (Path(folder) / "complained").open("w+b") as complained,
        ):
            child = _start(order, command, folder, said, complained)
            try:
                problem = _wait(child, order, stopping, Path(folder))
            finally:
                child.kill()
                child.wait()
            output, complaint = _first_bytes(said), _first_bytes(complained)
    except OSError as error:
        raise TryLater(f"trial: the child process cannot be started ({error.strerror})") from error
    if problem is not None or child.returncode != 0:
        return TrialResult(problems=(problem or _death(child.returncode, complaint),))
    try:
        return decode(TrialResult, parse_json(output, "trial"), "trial")
    except Untrusted as error:
        return TrialResult(problems=(str(error),))


def _start(
    order: TrialOrder, command: Sequence[str], folder: str, said: IO[bytes], complained: IO[bytes]
) -> subprocess.Popen[bytes]:
    # The very code that would serve is the one to try, wherever it was imported from.
    path = os.pathsep.join(str(Path(place).absolute()) for place in sys.path if place)
    return subprocess.Popen(
        [*command, canonical_json(order).decode()],
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=complained,
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": folder},
        start_new_session=True,  # a Ctrl-C for the agent is no verdict on the variant
    )


def try_variant(order: TrialOrder) -> TrialResult:
    """Open a bundle as the station would, and compare and time it on its golden samples with each schedule."""
    from runtime.bundle_store import open_bundle
    from runtime.inspector import Inspector, disagreements

    inspectors: dict[Schedule, Inspector] = {}
    resident_mib = None
    try:
        bundle = open_bundle(Path(order.bundle))
        for schedule in _SCHEDULES:
            inspector = Inspector.open(bundle, variant=order.variant, threads=order.threads, schedule=schedule)
            problems = disagreements(inspector)
            if problems:
                return TrialResult(problems=tuple(problems[:_MOST_PROBLEMS]))
            inspectors[schedule] = inspector
            resident_mib = resident_mib or _resident_mib()  # with one schedule loaded, as on the station
        largest = max(bundle.manifest.golden, key=lambda golden: sum(map(len, golden.photos.values())))
        photos = {view: [bundle.path(file).read_bytes() for file in files] for view, files in largest.photos.items()}
        latency_ms = _time(inspectors, photos, largest.listing, _LEAST_RUNS, _MOST_RUNS)
        camera_ms = _time(inspectors, _as_of_a_camera(photos), largest.listing, _CAMERA_RUNS, _CAMERA_RUNS)
    except TouchstoneError as error:
        return TrialResult(problems=(str(error),))
    except MemoryError:
        return TrialResult(problems=(f"it needs more than {order.max_bytes >> 20} MiB of memory",))
    return TrialResult(problems=(), latency_ms=latency_ms, camera_ms=camera_ms, resident_mib=resident_mib)


def _time(
    inspectors: Mapping[Schedule, Inspector],
    photos: Mapping[str, Sequence[bytes]],
    listing: Mapping[str, float | None] | None,
    least: int,
    most: int,
) -> dict[Schedule, float]:
    """Return each schedule's median time of one item, milliseconds; they take turns, so that both see the same load."""
    taken_ms: dict[Schedule, list[float]] = {schedule: [] for schedule in inspectors}
    enough_s = time.monotonic() + _LONG_ENOUGH_S
    for run in range(most):
        if run >= least and time.monotonic() > enough_s:
            break
        for schedule, inspector in inspectors.items():
            started_ns = time.monotonic_ns()
            inspector.inspect(photos, listing)
            taken_ms[schedule].append((time.monotonic_ns() - started_ns) / 1e6)
    return {schedule: statistics.median(times) for schedule, times in taken_ms.items()}


def _as_of_a_camera(photos: Mapping[str, Sequence[bytes]]) -> dict[str, list[bytes]]:
    """Return as many photos, each the first of them enlarged to a camera's size, with a sensor's noise."""
    import cv2
    import numpy as np

    from runtime.photo import read_photo
    from runtime.preprocess import decode

    first = next(iter(next(iter(photos.values()))))
    small = decode(read_photo(first, "of the golden sample"), _CAMERA_PX[1], "of the golden sample")
    pixels = cv2.resize(small, _CAMERA_PX, interpolation=cv2.INTER_CUBIC)
    noise = cv2.randn(np.empty_like(pixels), np.full(3, _NOISE, np.float64), np.full(3, _NOISE / 2, np.float64))
    _, encoded = cv2.imencode(".jpg", cv2.add(pixels, noise), [cv2.IMWRITE_JPEG_QUALITY, 92])
    return {view: [encoded.tobytes()] * len(group) for view, group in photos.items()}


def _resident_mib() -> float:
    # Not getrusage's peak: that one begins with what the parent held when it started this process.
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def main(arguments: Sequence[str]) -> int:
    """Run in the child: take the order, limit this process, print the result."""
    try:
        order = decode(TrialOrder, parse_json(arguments[0].encode(), "trial order"), "trial order")
    except (IndexError, Untrusted):
        sys.stderr.write("trial: expected one order in JSON; 'touchstone-agent run' starts this by itself\n")
        return 2
    signal.alarm(order.timeout_s + 5)
    os.nice(_NICENESS)
    with suppress(OSError):  # should memory run out, this process goes, never the station
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if order.max_disk_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order.max_disk_bytes, order.max_disk_bytes))
    if order.max_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (order.max_bytes, order.max_bytes))
    sys.stdout.write(canonical_json(try_variant(order)).decode() + "\n")
    return 0


def _wait(child: subprocess.Popen[bytes], order: TrialOrder, stopping: threading.Event, folder: Path) -> str | None:
    """Wait until the child ends; return why it must be ended, or ``None`` once it has ended by itself."""
    deadline = time.monotonic() + order.timeout_s
    while True:
        try:
            child.wait(timeout=_LOOK_EVERY_S)
            return None
        except subprocess.TimeoutExpired:
            beat()
            if stopping.is_set():
                raise TryLater("trial: the agent is stopping; the bundle will be tried at the next start") from None
            if time.monotonic() > deadline:
                return f"the trial took longer than {order.timeout_s} s"
            if 0 < order.max_disk_bytes < _size_of(folder):
                return f"the trial wrote more than {order.max_disk_bytes >> 20} MiB to the disk"


def _first_bytes(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(_MOST_OUTPUT)


def _size_of(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # it may have gone meanwhile
            size += path.lstat().st_size
    return size


def _death(returncode: int, complaint: bytes) -> str:
    last_line = complaint.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
    how = f"was killed by signal {-returncode}" if returncode < 0 else f"ended with exit code {returncode}"
    return f"the trial {how}" + (f" ({json.dumps(last_line)})" if last_line else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
