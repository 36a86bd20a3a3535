"""One frozen variant a slot: searched for on calibration samples, compiled as it ships, checked by the cheap gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from optimize.compiling import (
    Attempt,
    Candidate,
    Compared,
    CompileJob,
    compile_candidate,
    compile_key,
    inputs_digest,
    tool_versions,
)
from optimize.evidence import CandidateEvidence, Gate, GateName, Latency, VariantEvidence
from optimize.gate import SizeLimit, fidelity, fusion, parity, size
from optimize.groundwork import Groundwork
from optimize.kernels import Coverage, fallbacks, kernels, quantisable_kernels
from optimize.provenance import device
from optimize.search import Filled, Task, Workbench, search
from optimize.targets.target import VNNI, Compiled, Inputs, Slot, Target, load_target
from runtime.contracts.errors import TouchstoneError, Unsupported
from runtime.engine import cpu_flags

_SIZE_SLACK = 1.02
"""INT8 carries scales; a network too small to gain from it may weigh a little more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """The first stage of a cascade: a small model's variant of the same slot, and the side of its photos."""

    frozen: Frozen
    px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A slot's variant.

    Attributes:
        name: of the variant; ``mixed`` and passed-through ones keep their slot's.
        target: it was compiled for.
        slot: that it fills.
        precision: what it really is.
        shipped: what a bundle holds; ``None`` where nothing could be compiled.
        candidate: as frozen.
        attempt: what is scored on this machine, with the columns of every fold.
        compared: with float, on the calibration samples.
        gates: of the cheap gates, in order; the first refusal is the last.
        coverage: kernels of what is scored.
        first: of a cascade, what looks first; everything else is its second stage's, which is a variant by itself too.
    """

    name: str
    target: str
    slot: Slot
    precision: str
    shipped: Compiled | None
    candidate: Candidate | None
    attempt: Attempt | None
    compared: Compared | None
    gates: tuple[Gate, ...]
    coverage: Coverage | None
    first: First | None = None

    @property
    def looks_first(self) -> Frozen:
        """The stage that looks first: itself where there is one stage only."""
        return self.first.frozen if self.first else self

    @property
    def alive(self) -> bool:
        """Whether no gate has refused it yet."""
        return self.shipped is not None and all(gate.passed for gate in self.gates)

    @property
    def scored(self) -> Compiled:
        """What is scored on this machine."""
        assert self.attempt is not None
        assert self.attempt.compiled is not None
        return self.attempt.compiled

    @property
    def digest(self) -> str:
        """Of what is scored."""
        return self.attempt.digest if self.attempt else ""

    @property
    def size_bytes(self) -> int:
        """Of all files that ship."""
        files = (self.shipped.file, *self.shipped.companions) if self.shipped else ()
        return sum(path.stat().st_size for path in files) + (self.first.frozen.size_bytes if self.first else 0)

    def judged(self, gate: Gate | None) -> Frozen:
        """Return it with one more gate's answer; ``None`` is a gate that does not apply."""
        return self if gate is None else replace(self, gates=(*self.gates, gate))


def freeze(
    targets: Sequence[str],
    ground: Groundwork,
    shipped: Inputs,
    bench: Workbench,
    *,
    by_correlation: bool,
    tolerance: float,
    already_quantised: bool,
    max_bytes: int | None,
) -> tuple[list[Frozen], tuple[CandidateEvidence, ...]]:
    """Search every target's slots and apply every gate that needs no label.

    Args:
        targets: names, in the user's order.
        ground: of what is searched over and scored.
        shipped: inputs to compile what ships; those of ``ground`` where both are the same network.
        bench: cache, executor, time budget.
        by_correlation: see ``CandidateEvidence.harm``.
        tolerance: harm that still keeps the decisions.
        already_quantised: nothing is quantised again.
        max_bytes: of a variant.

    Returns:
        One ``Frozen`` a slot, refused ones with the gate that refused, and every candidate that was tried.
    """
    frozen: list[Frozen] = []
    tasks: list[Task] = []
    for name in targets:
        target = load_target(name)
        target.require()
        for slot in _slots(target, ground, already_quantised):
            reason = target.unavailable(slot)
            if reason is not None:
                gate: GateName = "latency" if reason.startswith("latency: ") else "ISA"
                frozen.append(_bare(name, slot, Gate(gate=gate, passed=False, reason=reason.partition(": ")[2])))
                continue
            tasks.append(
                Task(
                    target=name,
                    slot=slot,
                    inputs=ground.inputs,
                    inputs_digest=ground.digest,
                    reference=ground.reference,
                    sensitive=tuple(layer.node for layer in ground.sensitivity if layer.added_noise > 0),
                    by_correlation=by_correlation,
                    tolerance=tolerance,
                )
            )
    filled = search(tasks, bench)
    wide_is_shipped = inputs_digest(shipped) == ground.digest
    for one in filled:
        attempt = one.attempt if wide_is_shipped else _ship(one, shipped, bench)
        frozen.append(_check(one, attempt, shipped, bench, already_quantised))
    order = {slot.name: place for place, slot in enumerate(s for n in targets for s in load_target(n).SLOTS)}
    frozen.sort(key=lambda one: order[one.slot.name])
    return _sized(frozen, max_bytes), tuple(tried for one in filled for tried in one.tried)


def with_fidelity(frozen: Sequence[Frozen], min_cosine: float, held_out: Mapping[str, Compared]) -> list[Frozen]:
    """Judge a model that is no authenticator on inputs that it was not calibrated on."""

    def gate(found: Compared | None) -> Gate:
        return fidelity(found.fidelity, min_cosine, found.refusal) if found else fidelity(None, min_cosine)

    return [one.judged(gate(held_out.get(one.name))) if one.alive else one for one in frozen]


def refusals(variants: Sequence[Frozen] | Sequence[VariantEvidence]) -> str:
    """Return every refusal in one line."""
    return "; ".join(
        f"{one.name}: {gate.gate}: {gate.reason}" for one in variants for gate in one.gates if not gate.passed
    )


def evidence_of(one: Frozen, found: Latency | None, accepted: bool) -> VariantEvidence:
    """Return a variant's evidence, but for what it decides."""
    plan = one.candidate.plan if one.candidate else None
    return VariantEvidence(
        name=one.name,
        target=one.target,
        engine=one.slot.engine,
        precision=one.precision,
        isa=one.slot.isa,
        execution=one.slot.execution,
        accepted=accepted,
        gates=one.gates,
        calibration=plan.calibration if plan else None,
        excluded=plan.excluded if plan else (),
        size_bytes=one.size_bytes,
        integer_kernels=one.coverage.integer if one.coverage else None,
        float_kernels=one.coverage.floating if one.coverage else None,
        latency=found,
        fidelity=one.compared.fidelity if one.compared else None,
        decision=None,
    )


def _slots(target: Target, ground: Groundwork, already_quantised: bool) -> list[Slot]:
    """Leave out what needs ranges where there are none; a network that came quantised is only passed through.

    Its integer kernels may round differently on another kind of CPU, so it is bound to the kind that judges it here.
    """
    if already_quantised:
        flags = cpu_flags()
        isa = (VNNI if flags & set(VNNI.split("|")) else "avx2",)
        plain = [slot for slot in target.SLOTS if not slot.calibrations]
        return [replace(slot, isa=slot.isa or isa) if slot.execution == "timed" else slot for slot in plain]
    return [slot for slot in target.SLOTS if ground.inputs.ranges is not None or not slot.calibrations]


def _bare(target: str, slot: Slot, gate: Gate) -> Frozen:
    """Return a slot of which only one gate's answer is known."""
    return Frozen(
        name=slot.name,
        target=target,
        slot=slot,
        precision=slot.precision,
        shipped=None,
        candidate=None,
        attempt=None,
        compared=None,
        gates=(gate,),
        coverage=None,
    )


def _ship(one: Filled, shipped: Inputs, bench: Workbench) -> Attempt | None:
    if one.candidate is None:
        return None
    candidate = replace(one.candidate, inputs=shipped, inputs_digest=inputs_digest(shipped))
    return compile_candidate(CompileJob(cache=bench.cache.folder, candidate=candidate))


def _check(one: Filled, attempt: Attempt | None, inputs: Inputs, bench: Workbench, already_quantised: bool) -> Frozen:
    slot, target = one.task.slot, load_target(one.task.target)
    if one.candidate is None or one.attempt is None or attempt is None or attempt.compiled is None:
        reason = one.refusal or (attempt.refusal if attempt else None) or "nothing was compiled"
        return _bare(one.task.target, slot, Gate(gate="compile", passed=False, reason=reason))
    excluded = one.candidate.plan.excluded
    precision = "int8" if already_quantised else "mixed" if excluded else slot.precision
    found = replace(
        _bare(one.task.target, slot, Gate(gate="compile", passed=True, reason="compiled")),
        precision=precision,
        shipped=attempt.compiled,
        candidate=one.candidate,
        attempt=one.attempt,
        compared=one.compared,
    )
    if slot.isa:
        found = found.judged(
            Gate(gate="ISA", passed=True, reason=f"needs {', '.join(slot.isa)}; checked when it is loaded")
        )
    comparison = one.compared
    found = found.judged(
        parity(comparison.fidelity if comparison else None, precision, comparison.refusal if comparison else None)
    )
    if not found.alive:
        return found
    key = {
        "attempt": attempt.digest,
        "candidate": compile_key(one.candidate),
        "inputs": inputs_digest(inputs),
        "device": device(),
        "tools": dict(tool_versions()),
    }
    run = bench.cache.value("check", key, _Run, lambda: _run(found, target, inputs))
    found = replace(found, coverage=run.coverage).judged(fusion(run.coverage, precision))
    if not found.alive:
        return found
    return found.judged(_fallback(run.refusals))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What running a compiled variant on this machine showed: its kernels, and what only its target knows to refuse."""

    coverage: Coverage | None
    refusals: tuple[str, ...]


def _run(one: Frozen, target: Target, inputs: Inputs) -> _Run:
    excluded = one.candidate.plan.excluded if one.candidate else ()
    return _Run(coverage=_coverage(one, inputs, excluded), refusals=tuple(_refusals(one, target, inputs)))


def _coverage(one: Frozen, inputs: Inputs, excluded: Sequence[str]) -> Coverage | None:
    """Count kernels as the engine that judged it runs them; each tells in its own way."""
    assert one.shipped is not None
    kept = quantisable_kernels(inputs.network, (*inputs.keep_float, *excluded))
    try:
        if one.shipped.judged_engine == "openvino":
            from optimize.targets.openvino import kernels as openvino_kernels

            return openvino_kernels(one.shipped.judged_file)
        return kernels(one.shipped.judged_file, kept=kept)
    except TouchstoneError:
        return None


def _refusals(one: Frozen, target: Target, inputs: Inputs) -> list[str]:
    assert one.shipped is not None
    try:
        found = list(target.check(one.slot, one.shipped, inputs))
    except Unsupported as error:
        found = [str(error)]
    if one.shipped.judged_engine == "onnxruntime":
        found += fallbacks(one.shipped.judged_file, "CPUExecutionProvider")
    return found


def _fallback(found: Sequence[str]) -> Gate:
    if found:
        return Gate(gate="fallback", passed=False, reason="; ".join(found))
    return Gate(gate="fallback", passed=True, reason="every node runs where it was compiled for")


def _sized(frozen: Sequence[Frozen], max_bytes: int | None) -> list[Frozen]:
    weight = {one.slot.name: one.size_bytes for one in frozen if one.shipped}
    return [
        one.judged(size(one.size_bytes, SizeLimit(max_bytes=max_bytes, baseline_bytes=_allowed(one, weight))))
        if one.alive
        else one
        for one in frozen
    ]


def _allowed(one: Frozen, weight: Mapping[str, int]) -> int | None:
    baseline = weight.get(one.slot.baseline or "")
    return None if baseline is None else int(baseline * _SIZE_SLACK) + 4096
