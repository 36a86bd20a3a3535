"""Candidates as jobs: compile one, or compare one with the float model; every result is a step of the cache.

Runs in worker processes, so jobs are plain data. A refusal is a result; a programming error ends the build.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from optimize.evidence import Fidelity
from optimize.fidelity import Outputs, compare, read_outputs
from optimize.step_cache import StepCache
from optimize.targets.target import Compiled, Inputs, Plan, Slot, load_target
from runtime.contracts.codec import canonical_json, decode, encode, parse_json
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import Unsupported
from runtime.engine import load_network

_RESULT = "compiled.json"
_TOOLS = ("onnx", "onnxruntime", "openvino", "nncf", "tensorrt_rtx", "numpy", "opencv-python-headless")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A plan for a slot of a target, with what compiling it may read."""

    target: str
    slot: Slot
    plan: Plan
    inputs: Inputs
    inputs_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What compiling gave: files, or a refusal in words. ``digest`` identifies the files."""

    compiled: Compiled | None
    refusal: str | None
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    file: str | None
    companions: tuple[str, ...]
    judged_engine: str
    judged_file: str
    refusal: str | None
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileJob:
    """One candidate to compile into the cache."""

    cache: Path
    candidate: Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareJob:
    """One compiled candidate to compare with the float model's ``reference`` outputs on the first ``feeds`` feeds."""

    cache: Path
    candidate: Candidate
    attempt: Attempt
    reference: Path
    feeds: int


@cache
def tool_versions() -> Mapping[str, str]:
    """Return the versions of what compiles, as far as it is installed."""
    found = {}
    for name in _TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def inputs_digest(inputs: Inputs) -> str:
    """Return the SHA-256 over the content of everything that compiling may read."""
    parts = [sha256_hex(inputs.network.read_bytes()), inputs.samples.digest, *inputs.keep_float]
    parts += [sha256_hex(inputs.ranges.read_bytes())] if inputs.ranges else []
    return sha256_hex("\n".join(parts).encode())


def compile_key(candidate: Candidate) -> dict[str, object]:
    """Return everything that a compiled candidate depends on."""
    return {
        "target": candidate.target,
        "slot": encode(candidate.slot),
        "plan": encode(candidate.plan),
        "inputs": candidate.inputs_digest,
        "tools": dict(tool_versions()),
    }


def compile_candidate(job: CompileJob) -> Attempt:
    """Compile a candidate, or find it in the cache."""

    def make(draft: Path) -> None:
        (draft / _RESULT).write_bytes(canonical_json(_compile(job.candidate, draft)))

    return read_attempt(StepCache(job.cache).step("compile", compile_key(job.candidate), make))


def read_attempt(folder: Path) -> Attempt:
    """Read what a finished compile step left."""
    stored = decode(_Stored, parse_json((folder / _RESULT).read_bytes(), _RESULT), _RESULT)
    compiled = None
    if stored.file is not None:
        compiled = Compiled(
            file=folder / stored.file,
            companions=tuple(folder / name for name in stored.companions),
            judged_engine=stored.judged_engine,
            judged_file=folder / stored.judged_file,
        )
    return Attempt(compiled=compiled, refusal=stored.refusal, digest=stored.digest)


def _compile(candidate: Candidate, folder: Path) -> _Stored:
    target = load_target(candidate.target)
    try:
        compiled = target.compile(candidate.slot, candidate.plan, candidate.inputs, folder)
    except Unsupported as error:
        return _Stored(file=None, companions=(), judged_engine="", judged_file="", refusal=str(error), digest="")
    files = (compiled.file, *compiled.companions, compiled.judged_file)
    return _Stored(
        file=compiled.file.relative_to(folder).as_posix(),
        companions=tuple(path.relative_to(folder).as_posix() for path in compiled.companions),
        judged_engine=compiled.judged_engine,
        judged_file=compiled.judged_file.relative_to(folder).as_posix(),
        refusal=None,
        digest=sha256_hex("\n".join(sha256_hex(path.read_bytes()) for path in files).encode()),
    )


def compare_key(job: CompareJob) -> dict[str, object]:
    """Return everything that a comparison depends on."""
    return {
        "digest": job.attempt.digest,
        "engine": job.attempt.compiled.judged_engine if job.attempt.compiled else "",
        "samples": job.candidate.inputs.samples.digest,
        "reference": sha256_hex(job.reference.read_bytes()),
        "feeds": job.feeds,
        "tools": dict(tool_versions()),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """How a candidate compares with float: ``correlation`` of the logits' columns, or why it could not be run."""

    fidelity: Fidelity | None
    correlation: float | None
    refusal: str | None


def compare_candidate(job: CompareJob) -> Compared:
    """Run a compiled candidate on the first feeds and compare it with the float model, or find that in the cache."""

    def make() -> Compared:
        assert job.attempt.compiled is not None
        try:
            found = run_outputs(
                job.attempt.compiled.judged_engine,
                job.attempt.compiled.judged_file,
                job.candidate.inputs.samples.read(job.feeds),
            )
        except Unsupported as error:
            return Compared(fidelity=None, correlation=None, refusal=str(error))
        return compared(found, read_outputs(job.reference, most=job.feeds))

    return StepCache(job.cache).value("compare", compare_key(job), Compared, make)


def compared(found: list[Outputs], reference: list[Outputs]) -> Compared:
    """Compare outputs, feed by feed; pure."""
    bad = next((name for feed in found for name, value in feed.items() if not np.isfinite(value).all()), None)
    if bad is not None:
        return Compared(fidelity=None, correlation=None, refusal=f"output {bad!r} has values that are not finite")
    return Compared(fidelity=compare(found, reference), correlation=_correlation(found, reference), refusal=None)


def run_outputs(
    engine: str, file: Path, feeds: Iterable[Mapping[str, npt.NDArray[np.generic]]], threads: int = 1
) -> list[Outputs]:
    """Run feeds through a network and return all its outputs, feed by feed.

    Raises:
        Unsupported: the engine refuses the file.
    """
    network = load_network(engine, file, threads)
    return [network.run_all(feed) for feed in feeds]


def _correlation(found: list[Outputs], reference: list[Outputs]) -> float | None:
    """Return the mean correlation over the columns of the one ``(N, columns)`` output; ``None`` for other outputs."""
    first = reference[0]
    if len(first) != 1 or next(iter(first.values())).ndim != 2:
        return None
    a, b = (
        np.concatenate([next(iter(feed.values())) for feed in side]).astype(np.float64) for side in (found, reference)
    )
    if a.shape != b.shape or len(a) < 2:
        return None
    a, b = a - a.mean(0), b - b.mean(0)
    norm = np.sqrt((a * a).sum(0) * (b * b).sum(0))
    return float(np.mean(np.where(norm > 0, (a * b).sum(0) / np.maximum(norm, 1e-30), 1.0)))


def harm_of(found: Compared, *, by_correlation: bool) -> float:
    """Return how far a candidate is from float, 0 for not at all; infinite where it could not be run."""
    if found.fidelity is None:
        return math.inf
    if by_correlation and found.correlation is not None:
        return max(0.0, 1.0 - found.correlation)
    return max(0.0, 1.0 - found.fidelity.cosine)
