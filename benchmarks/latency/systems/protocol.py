"""How the suite talks to a system: JSON lines over a pipe to a process of its own. Standard library alone.

A system is a module with ``start(Setup) -> System`` and ``serve(start, sys.argv[1:])`` at its end; run as ``python -m
benchmarks.latency.systems.NAME SETUP_JSON``, it prints a ``ready`` line, then answers every order with one line. One
that cannot take part prints ``{"absent": why}`` instead, and ends. Times are of CLOCK_MONOTONIC, which the processes of
a machine share, so the suite can count from a scheduled arrival. What a library prints goes to standard error.

Orders: ``{"do": "scan", "item": id, "photos": {view: path}, "listing": {...} | null, "cold": bool, "one_by_one": bool,
"gap_ms": float}``, ``{"do": "listing", "rows": n}``, ``{"do": "swap", "bundle": folder}``, ``{"do": "settle"}``,
``{"do": "memory"}``, ``{"do": "end"}``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO


class CannotTakePart(Exception):
    """Raised by ``start``: this system does not run here; the message is the sentence that the report shows."""


@dataclass(frozen=True)
class Setup:
    """What a system is given.

    Attributes:
        model: a folder with ``float.onnx`` (``uint8 (N, px, px, 3)`` RGB to logits ``(N, views)``), ``model.json``
            (px, views, fusion, thresholds), ``calibration/`` with photos; our own takes ``bundle/``
            and ``bundle-2/``.
        work: an empty folder on the disk that is measured.
        threads: that the system may use.
    """

    model: str
    work: str
    threads: int


@dataclass(frozen=True)
class Answer:
    """One verdict: when its photos were in memory, when the verdict was durable, and what it cost.

    ``started_ns`` to ``done_ns`` is the latency of views that arrive together. For ``one_by_one``, ``started_ns`` is
    when the last photo was in memory.
    """

    started_ns: int
    done_ns: int
    cpu_ns: int
    written_bytes: int
    verdict: str
    p: float | None


class System(Protocol):
    """What one system implements; an order that it cannot carry out raises ``NotImplementedError``."""

    def does(self) -> str:
        """Return what this system does and with which versions, in one sentence."""
        ...

    def scan(
        self, item: str, photos: Mapping[str, bytes], listing: Mapping[str, float | None] | None
    ) -> tuple[str, float | None]:
        """Decide about photos that are all in memory; return (verdict, P) once it is durable."""
        ...

    def add(self, item: str, view: str, photo: bytes) -> None:
        """Take one photo of an item whose photos arrive one by one; work goes on behind."""
        ...

    def finish(self, item: str, listing: Mapping[str, float | None] | None) -> tuple[str, float | None]:
        """End the item that was begun; return (verdict, P) once it is durable."""
        ...

    def score_listings(self, rows: int) -> None:
        """Score so many listings in one call."""
        ...

    def swap(self, bundle: str) -> None:
        """Begin to swap to another bundle; scans go on meanwhile."""
        ...

    def settle(self) -> None:
        """Wait until the last swap has ended."""
        ...


def serve(start: Callable[[Setup], System], arguments: list[str]) -> int:
    """Run a system's process: one line when it is ready, then one for each order, until ``end`` or the pipe closes."""
    setup = Setup(**json.loads(arguments[0]))
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        system = start(setup)
    except CannotTakePart as error:
        _say(lines, {"absent": str(error)})
        return 0
    _say(lines, {"ready": True, "does": system.does(), **_memory()})
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "end":
            break
        try:
            _say(lines, _carry_out(system, order))
        except NotImplementedError:
            _say(lines, {"cannot": order["do"]})
        except Exception as error:  # noqa: BLE001 - a system that fails is a result
            _say(lines, {"failed": f"{type(error).__name__}: {error}"})
    return 0


def _carry_out(system: System, order: Mapping[str, Any]) -> dict[str, Any]:
    cpu_ns, written = time.process_time_ns(), _written_bytes()
    verdict: tuple[str, float | None] = ("", None)
    started_ns = time.monotonic_ns()
    if order["do"] == "scan":
        started_ns, verdict = _scan(system, order)
    elif order["do"] == "listing":
        system.score_listings(order["rows"])
    elif order["do"] == "swap":
        system.swap(order["bundle"])
    elif order["do"] == "settle":
        system.settle()
    elif order["do"] != "memory":
        raise NotImplementedError(order["do"])
    answer = Answer(
        started_ns=started_ns,
        done_ns=time.monotonic_ns(),
        cpu_ns=time.process_time_ns() - cpu_ns,
        written_bytes=_written_bytes() - written,
        verdict=verdict[0],
        p=verdict[1],
    )
    return {**asdict(answer), **_memory()}


def _scan(system: System, order: Mapping[str, Any]) -> tuple[int, tuple[str, float | None]]:
    item, listing, paths = order["item"], order.get("listing"), order["photos"]
    if order.get("cold"):
        for path in paths.values():
            _forget(path)
        started_ns = time.monotonic_ns()
        return started_ns, system.scan(item, {view: Path(path).read_bytes() for view, path in paths.items()}, listing)
    photos = {view: Path(path).read_bytes() for view, path in paths.items()}
    if not order.get("one_by_one"):
        started_ns = time.monotonic_ns()
        return started_ns, system.scan(item, photos, listing)
    *earlier, (last_view, last_photo) = photos.items()
    for view, photo in earlier:
        system.add(item, view, photo)
        time.sleep(order.get("gap_ms", 0.0) / 1000)
    started_ns = time.monotonic_ns()
    system.add(item, last_view, last_photo)
    return started_ns, system.finish(item, listing)


def _forget(path: str) -> None:
    """Ask the kernel to drop a file from its page cache."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def _memory() -> dict[str, float]:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return {"rss_mb": pages * os.sysconf("SC_PAGE_SIZE") / 1e6}


def _written_bytes() -> int:
    """Return what this process has sent to the disk so far, as the kernel counts it (proc(5), io)."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text("ascii").splitlines())
    return int(lines["write_bytes"])


def _say(lines: TextIO, line: Mapping[str, Any]) -> None:
    lines.write(json.dumps(line) + "\n")
    lines.flush()
