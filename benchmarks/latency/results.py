"""What a run of the suite leaves: JSON lines, a header, then one line a result. Written once, read by every report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.fingerprint import Fingerprint
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.errors import Unsupported, Untrusted

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What this machine can do at all, medians.

    Attributes:
        entropy_decode_ms: Huffman decoding, and little else, of one 12-megapixel photo of the run on one core.
        full_decode_ms: of the same photo into RGB at full size.
        copy_gb_per_s: of a memory copy larger than the caches.
        int8_gops: multiply-adds x 2 of a large INT8 matrix product, all cores, 1e9 a second.
        float32_gflops: the same in float32.
        bf16_gflops: the same in bfloat16; ``None`` where the CPU does not compute in it.
        fsync_ms: of a small write and its fsync, on the disk that the run wrote to.
        write_mb_per_s: of a large write and its fsync, there.
        cores: that this process may use.
    """

    entropy_decode_ms: float
    full_decode_ms: float
    copy_gb_per_s: float
    int8_gops: float
    float32_gflops: float
    bf16_gflops: float | None
    fsync_ms: float
    write_mb_per_s: float
    cores: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkWork:
    """What the network does for one photo, and in what time it did so alone, on all cores.

    Attributes:
        variant: of the bundle.
        operations: multiply-adds x 2.
        bytes: read and written by its kernels.
        ms: the time.
    """

    variant: str
    operations: float
    bytes: float
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Where, when and how a run was made; its first line. ``network``: ``None`` where nothing counts its work."""

    format: int = FORMAT
    kind: Literal["header"] = "header"
    device: Fingerprint
    command: str
    suite: Literal["quick", "full"]
    views: int
    photo_mb: float
    limits: Limits
    network: NetworkWork | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One scenario played by one system.

    Attributes:
        scenario: name, of ``scenarios.SCENARIOS``.
        system: name, of ``systems``.
        does: what the system does and with which versions, in a sentence.
        seed: of the load.
        warm_up: verdicts that came before and were not counted.
        latencies_ms: one a verdict, in the order of arrival; from the (scheduled) arrival to the durable verdict.
        at_s: when each arrived, seconds since the first.
        cpu_ms: CPU time per verdict, over all threads.
        peak_rss_mb: greatest resident size of the system's process.
        written_bytes: per verdict, as the kernel counts what was sent to the disk.
        photo_bytes: per verdict.
        limit_ms: what the machine's limits allow for one verdict of this scenario; ``None`` where there is none.
        valid: whether the figures may be used.
        why: if not, the sentence that says what to do; else empty.
        figures: what only this scenario has, units in the names.
    """

    kind: Literal["result"] = "result"
    scenario: str
    system: str
    does: str
    seed: int
    warm_up: int
    latencies_ms: tuple[float, ...]
    at_s: tuple[float, ...]
    cpu_ms: float
    peak_rss_mb: float
    written_bytes: float
    photo_bytes: float
    limit_ms: float | None
    valid: bool
    why: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A system that could not take part, and why."""

    kind: Literal["absent"] = "absent"
    system: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A whole file."""

    header: Header
    results: tuple[Result, ...]
    absent: tuple[Absent, ...]

    def find(self, scenario: str, system: str) -> Result | None:
        """Return one result, if the run has it."""
        return next((one for one in self.results if (one.scenario, one.system) == (scenario, system)), None)


def write_lines(path: Path, lines: Iterable[Header | Result | Absent]) -> None:
    """Append lines to a run's file; each is whole on its own, so a run that is cut short can still be read."""
    with path.open("ab") as file:
        for line in lines:
            file.write(canonical_json(line) + b"\n")
            file.flush()


def read_run(path: Path) -> Run:
    """Read a run's file.

    Raises:
        Unsupported: it is none, or of a newer format.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise Unsupported(
            f"run {path}: cannot be read ({error.strerror}); name a file that 'run --out' wrote"
        ) from error
    header, results, absent = None, [], []
    try:
        for number, raw in enumerate(lines, 1):
            data = parse_json(raw, f"line {number}")
            kind = data.get("kind") if isinstance(data, dict) else None
            if kind == "header":
                if data.get("format") != FORMAT:
                    raise Unsupported(f"run {path}: expected format {FORMAT}, got {data.get('format')!r}; run it again")
                header = decode(Header, data, f"line {number}")
            elif kind == "result":
                results.append(decode(Result, data, f"line {number}"))
            elif kind == "absent":
                absent.append(decode(Absent, data, f"line {number}"))
            else:
                raise Unsupported(f"run {path}: line {number} is no header, result or absence; name a run's file")
    except Untrusted as error:
        raise Unsupported(f"run {path}: {error}; name a file that 'touchstone-bench run --out' wrote") from error
    if header is None:
        raise Unsupported(f"run {path}: it has no header; name a file that 'touchstone-bench run --out' wrote")
    return Run(header=header, results=tuple(results), absent=tuple(absent))


def names(run: Run) -> tuple[Sequence[str], Sequence[str]]:
    """Return the scenarios and the systems of a run, each in order of appearance."""
    return list(dict.fromkeys(r.scenario for r in run.results)), list(dict.fromkeys(r.system for r in run.results))
