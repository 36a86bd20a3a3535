"""A station as a team writes it in an afternoon, around whatever scores a photo: one view after the other, plain files.

Every peer uses it, so peers differ only in how a photo becomes logits. Photos are files that nobody syncs; the verdict
is a commit to SQLite as it comes (rollback journal, ``synchronous = FULL``), so it alone survives a power cut. Standard
library alone: it also runs in a peer's own venv.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.latency.systems.protocol import Setup

ANY_VIEW = "*"

Listing = Mapping[str, float | None]
Score = Callable[[bytes], Sequence[float]]
"""Photo to logits, one a view of the model."""


class PeerStation:
    """Scores photos by ``score``, fuses as ``model.json`` says, and keeps everything in the work folder."""

    def __init__(self, setup: Setup, score: Score, does: str) -> None:
        self._model = _description(setup)
        self._views: list[str] = self._model["views"]
        self._score = score
        self._does = does
        self._begun: dict[str, dict[str, float | None]] = {}
        self._photos = Path(setup.work) / "photos"
        self._photos.mkdir(exist_ok=True)
        self._db = sqlite3.connect(Path(setup.work) / "verdicts.db")
        with self._db:
            self._db.execute("CREATE TABLE IF NOT EXISTS verdict (item TEXT, verdict TEXT, p REAL, details TEXT)")

    def does(self) -> str:
        """Return what this peer is."""
        return self._does

    def scan(self, item: str, photos: Mapping[str, bytes], listing: Listing | None) -> tuple[str, float | None]:
        """Take one view after the other, then commit."""
        for view, photo in photos.items():
            self.add(item, view, photo)
        return self.finish(item, listing)

    def add(self, item: str, view: str, photo: bytes) -> None:
        """Score a photo and write it to its file at once."""
        logit = self._logit(view, photo)
        (self._photos / f"{item}-{view}.jpg").write_bytes(photo)
        self._begun.setdefault(item, {})[view] = logit

    def finish(self, item: str, listing: Listing | None) -> tuple[str, float | None]:
        """Fuse, decide and commit."""
        logits = self._begun.pop(item)
        p = self._fuse(logits)
        verdict = self._decide(p)
        with self._db:
            self._db.execute(
                "INSERT INTO verdict VALUES (?, ?, ?, ?)",
                (item, verdict, p, json.dumps({"logits": logits, "listing": listing})),
            )
        return verdict, p

    def score_listings(self, rows: int) -> None:
        """Refuse: these tools have no listing model."""
        raise NotImplementedError

    def swap(self, bundle: str) -> None:
        """Refuse: a new model means a new process."""
        raise NotImplementedError

    def settle(self) -> None:
        """Do nothing: no swap ever begins."""

    def _logit(self, view: str, photo: bytes) -> float | None:
        logits = self._score(photo)
        if self._views == [ANY_VIEW]:
            return float(logits[0])
        return float(logits[self._views.index(view)]) if view in self._views else None

    def _fuse(self, logits: Mapping[str, float | None]) -> float | None:
        known = {view: logit for view, logit in logits.items() if logit is not None}
        if self._views == [ANY_VIEW]:
            known = {ANY_VIEW: sum(known.values()) / len(known)} if known else {}
        weights: Mapping[str, float] = self._model["fusion"]["weights"]
        if not set(weights) <= set(known):
            return None
        total = self._model["fusion"]["bias"] + sum(weight * known[view] for view, weight in weights.items())
        return 1 / (1 + math.exp(-min(max(total, -700.0), 700.0))) if math.isfinite(total) else None

    def _decide(self, p: float | None) -> str:
        thresholds = self._model["thresholds"]
        if p is None:
            return "uncertain"
        if p >= thresholds["suspect_from"]:
            return "suspect"
        return "authentic" if p < thresholds["authentic_below"] else "uncertain"


def px_of(setup: Setup) -> int:
    """Return the side of the network's input."""
    return int(_description(setup)["px"])


def _description(setup: Setup) -> dict[str, Any]:
    described: dict[str, Any] = json.loads((Path(setup.model) / "model.json").read_text(encoding="utf-8"))
    return described
