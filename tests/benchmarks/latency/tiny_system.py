"""A real system for tests: reads its photos, sleeps, and does what ``behaviour.json`` in its model folder says."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.latency.systems.protocol import CannotTakePart, Setup, System, serve


class Tiny:
    def __init__(self, setup: Setup) -> None:
        self._told = json.loads((Path(setup.model) / "behaviour.json").read_text())
        if "absent" in self._told:
            raise CannotTakePart(self._told["absent"])
        if self._told.get("dies_at_start"):
            raise ValueError("no such network")
        self._diary = Path(setup.work) / "diary.txt"
        self._scans = 0

    def does(self) -> str:
        return "sleeps"

    def scan(
        self, item: str, photos: Mapping[str, bytes], listing: Mapping[str, float | None] | None
    ) -> tuple[str, float | None]:
        self._scans += 1
        if self._scans == self._told.get("dies_at"):
            sys.stderr.write("out of memory\n")
            os._exit(3)
        if self._scans == self._told.get("hangs_at"):
            time.sleep(60)
        if self._scans == self._told.get("fails_at"):
            raise ValueError("bad photo")
        time.sleep(self._told.get("work_ms", 1) / 1000)
        with self._diary.open("a") as diary:
            diary.write(f"{time.monotonic_ns()} {item} {hash(tuple(photos.values()))}\n")
        return ("suspect" if self._scans == self._told.get("changes_its_mind_at") else "authentic"), 0.1

    def add(self, item: str, view: str, photo: bytes) -> None:
        raise NotImplementedError

    def finish(self, item: str, listing: Mapping[str, float | None] | None) -> tuple[str, float | None]:
        raise NotImplementedError

    def score_listings(self, rows: int) -> None:
        raise NotImplementedError

    def swap(self, bundle: str) -> None:
        if self._told.get("no_swap"):
            raise NotImplementedError

    def settle(self) -> None:
        if self._told.get("swap_fails"):
            raise RuntimeError("the second bundle does not load")


def start(setup: Setup) -> System:
    return Tiny(setup)


if __name__ == "__main__":
    sys.exit(serve(start, sys.argv[1:]))
