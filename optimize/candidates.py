"""The networks that compete for a bundle: compiled from one float model, scored and timed side by side."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from optimize.colour import ColourStatistics
from optimize.decisions import Scored
from optimize.head import keep_columns
from optimize.model import ModelSpec
from optimize.quantize import Coverage, coverage, quantize
from optimize.roles import Roles
from optimize.scoring import Row, photos_of, score_photos
from optimize.timing import interleaved_us
from runtime.contracts.bundle import ANY_VIEW
from runtime.contracts.errors import Unsupported
from runtime.engine import Network, load_network
from runtime.preprocess import prepare

FLOAT, INT8 = "ort-cpu-float32", "ort-cpu-int8"
ENGINE = "onnxruntime"

StepProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A compiled network: ``path`` is what would ship, ``wide`` still has the columns of every fold."""

    name: str
    precision: str
    path: Path
    wide: Path
    coverage: Coverage


def compile_candidates(
    network: onnx.ModelProto, spec: ModelSpec, roles: Roles, shipped: Path, work: Path, progress: StepProgress
) -> list[Candidate]:
    """Compile float32 and INT8; calibration photos come from the calibrate split alone.

    Args:
        network: float, with the columns of every fold.
        spec: of the model.
        roles: of the items.
        shipped: folder for what would ship.
        work: folder for the rest.
        progress: called with (step, done, total).
    """
    photos = [photo for _, photo in photos_of(roles.calibrate, spec.views)]
    int8 = quantize(network, photos, spec.px, lambda done, total: progress("calibrate INT8", done, total))
    candidates = []
    for name, precision, wide in ((FLOAT, "float32", network), (INT8, "int8", int8)):
        narrow = keep_columns(wide, spec.block(None))
        onnx.save(narrow, shipped / f"{name}.onnx")
        onnx.save(wide, work / f"{name}.onnx")
        candidates.append(
            Candidate(
                name=name,
                precision=precision,
                path=shipped / f"{name}.onnx",
                wide=work / f"{name}.onnx",
                coverage=coverage(narrow),
            )
        )
    return candidates


def score_candidates(
    candidates: Sequence[Candidate], spec: ModelSpec, roles: Roles, progress: StepProgress
) -> list[Row]:
    """Decode every photo once and run it through every candidate; a row's last output is its colour statistics."""
    networks: list[Network] = [load_network(ENGINE, candidate.wide, 1) for candidate in candidates]
    return score_photos(
        [*networks, ColourStatistics()],
        roles.scored,
        spec.views,
        spec.px,
        lambda done, total: progress("score items", done, total),
    )


def gather(rows: Sequence[Row], index: int, spec: ModelSpec, roles: Roles) -> dict[str, Scored]:
    """Gather one candidate's logits by item, from the block of columns that may judge the item.

    Raises:
        Unsupported: a logit is not finite.
    """
    logits: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        block = row.outputs[index][spec.block(roles.fold_of.get(row.item_id))]
        column = 0 if spec.views == (ANY_VIEW,) else spec.views.index(row.view)
        logit = float(block[column])
        if not math.isfinite(logit):
            raise Unsupported(
                f"model {spec.name}: photo {row.view!r} of item {row.item_id!r} scores {logit}; train again"
            )
        logits[row.item_id][row.view].append(logit)
    return {
        item.item_id: Scored(
            item_id=item.item_id,
            positive=item.label == "counterfeit",
            logits=logits[item.item_id],
            fold=roles.fold_of.get(item.item_id, 0),
        )
        for item in roles.scored
    }


def time_candidates(
    candidates: Sequence[Candidate], spec: ModelSpec, roles: Roles
) -> dict[str, npt.NDArray[np.float64]]:
    """Time what would ship on one photo, interleaved; microseconds by candidate."""
    photo = roles.scored[0].photos[0].path
    networks = [load_network(ENGINE, candidate.path, 0) for candidate in candidates]
    taken = interleaved_us(networks, prepare([photo.read_bytes()], spec.px, [str(photo)]))
    return {candidate.name: row for candidate, row in zip(candidates, taken, strict=True)}
