"""Tries a new bundle in a child process, so that a bad model takes down nobody but itself. Never touches the outbox.

Run as ``python -m edge_agent.trial``, it opens the bundle as the station would, checks it on its golden samples, times
it, and prints one line of JSON. The child ends itself by an alarm, should its parent be killed meanwhile.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.errors import TouchstoneError, TryLater, Untrusted

TRIAL_COMMAND: tuple[str, ...] = (sys.executable, "-m", "edge_agent.trial")
_TIMED_RUNS = 5
_NICENESS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOrder:
    """What the child is to do; ``timeout_s`` in whole seconds."""

    bundle: str
    variant: str | None
    threads: int
    timeout_s: int
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """What the child found: reasons not to run the bundle (none: it has proved itself), and its median latency."""

    problems: tuple[str, ...]
    latency_ms: float | None


def run_trial(order: TrialOrder, *, stopping: threading.Event, command: Sequence[str] = TRIAL_COMMAND) -> TrialResult:
    """Try a bundle in a child process and wait for the result; a crash or a hang is a result too.

    Raises:
        TryLater: the agent is stopping, or the child could not be started; nothing is known of the bundle.
    """
    # The very code that would serve is the one to try, wherever it was imported from.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        child = subprocess.Popen(
            [*command, canonical_json(order).decode()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # a Ctrl-C for the agent is no verdict on the bundle
        )
    except OSError as error:
        raise TryLater(f"trial: the child process cannot be started ({error.strerror})") from error
    with child:
        try:
            output, complaint = _wait(child, order.timeout_s, stopping)
        except subprocess.TimeoutExpired:
            return TrialResult(problems=(f"the trial took longer than {order.timeout_s} s",), latency_ms=None)
        finally:
            if child.poll() is None:
                child.kill()
    if child.returncode != 0:
        return TrialResult(problems=(_death(child.returncode, complaint),), latency_ms=None)
    try:
        return decode(TrialResult, parse_json(output, "trial"), "trial")
    except Untrusted as error:
        return TrialResult(problems=(str(error),), latency_ms=None)


def try_bundle(order: TrialOrder) -> TrialResult:
    """Open a bundle as the station would, and compare and time it on its golden samples."""
    from runtime.bundle_store import open_bundle
    from runtime.inspector import Inspector, disagreements

    try:
        bundle = open_bundle(Path(order.bundle))
        inspector = Inspector.open(bundle, variant=order.variant, threads=order.threads)
        problems = disagreements(inspector)
        if problems:
            return TrialResult(problems=tuple(problems[:10]), latency_ms=None)
        golden = bundle.manifest.golden[0]
        photos = {view: [bundle.path(path).read_bytes() for path in paths] for view, paths in golden.photos.items()}
        timings_ms = []
        for _ in range(_TIMED_RUNS):
            started_ns = time.monotonic_ns()
            inspector.inspect(photos, golden.listing)
            timings_ms.append((time.monotonic_ns() - started_ns) / 1e6)
    except TouchstoneError as error:
        return TrialResult(problems=(str(error),), latency_ms=None)
    except MemoryError:
        return TrialResult(problems=(f"it needs more than {order.max_bytes >> 20} MiB of memory",), latency_ms=None)
    return TrialResult(problems=(), latency_ms=statistics.median(timings_ms))


def main(arguments: Sequence[str]) -> int:
    """Run in the child: take the order, limit this process, print the result."""
    try:
        order = decode(TrialOrder, parse_json(arguments[0].encode(), "trial order"), "trial order")
    except (IndexError, Untrusted):
        sys.stderr.write("trial: expected one order in JSON; 'touchstone-agent run' starts this by itself\n")
        return 2
    signal.alarm(order.timeout_s + 5)
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if order.max_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (order.max_bytes, order.max_bytes))
    sys.stdout.write(canonical_json(try_bundle(order)).decode() + "\n")
    return 0


def _wait(child: subprocess.Popen[bytes], timeout_s: float, stopping: threading.Event) -> tuple[bytes, bytes]:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return child.communicate(timeout=0.2)
        except subprocess.TimeoutExpired:
            if stopping.is_set():
                raise TryLater("trial: the agent is stopping; the bundle will be tried at the next start") from None
            if time.monotonic() > deadline:
                raise


def _death(returncode: int, complaint: bytes) -> str:
    last_line = complaint.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
    how = f"was killed by signal {-returncode}" if returncode < 0 else f"ended with exit code {returncode}"
    return f"the trial {how}" + (f" ({json.dumps(last_line)})" if last_line else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
