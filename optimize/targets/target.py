"""What a target is: the variants that it can make (slots), how one is compiled, and what only it can check.

A slot is a variant that a bundle may hold; a plan is one candidate for it; the search chooses among a slot's plans.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast

from optimize.samples import Samples
from runtime.contracts.errors import Unsupported
from runtime.engine import cpu_flags

Precision = Literal["float32", "bf16", "fp16", "int8"]
Calibration = Literal["minmax", "percentile", "entropy"]
Execution = Literal["timed", "untimed", "unverified"]

VNNI = "avx512_vnni|avx_vnni"
"""What x86 needs to sum INT8 products without saturating."""

TARGETS: Mapping[str, str] = {
    "x86": "optimize.targets.x86",
    "arm": "optimize.targets.arm",
    "openvino": "optimize.targets.openvino",
    "tensorrt-rtx": "optimize.targets.tensorrt_rtx",
    "tensorrt": "optimize.targets.tensorrt",
    "mobile": "optimize.targets.mobile",
    "web": "optimize.targets.web",
}
"""Target name to the module that is its ``Target``; imported only when chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A variant that a bundle may hold.

    Attributes:
        name: of the variant.
        engine: that loads it, as the manifest names it.
        precision: of its kernels.
        baseline: the slot of the same engine that it must not be slower than; ``None`` for the baseline itself.
        isa: CPU flags that it needs; ``a|b`` asks for either.
        calibrations: to search over; empty for a precision that needs none.
        excludable: whether nodes may stay in float (then the variant's precision is ``mixed``).
        execution: what this machine can say of it; see ``Variant.execution``.
    """

    name: str
    engine: str
    precision: Precision
    baseline: str | None
    isa: tuple[str, ...] = ()
    calibrations: tuple[Calibration, ...] = ()
    excludable: bool = False
    execution: Execution = "timed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One candidate for a slot. ``excluded`` are names of nodes of the prepared network that stay in float."""

    slot: str
    calibration: Calibration | None = None
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What compiling may read.

    Attributes:
        network: the prepared float ONNX: shapes inferred, batch norms folded, every node named. Photo networks have
            the one input ``photo``, ``uint8 (N, px, px, 3)``, N dynamic.
        ranges: histograms of its activations (``optimize.calibrate``); ``None`` where nothing is quantised.
        samples: the calibration feeds.
        keep_float: names of nodes that are never quantised (the heads).
    """

    network: Path
    ranges: Path | None
    samples: Samples
    keep_float: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """One compiled candidate.

    Attributes:
        file: what ships, in the folder given to ``compile``.
        companions: files that ship with it.
        judged_engine: engine that scores it on this machine: its own, or that of ``judged_file``.
        judged_file: what is scored here: ``file``, or the ONNX behind an engine that cannot run here.
    """

    file: Path
    companions: tuple[Path, ...] = ()
    judged_engine: str
    judged_file: Path


class Target(Protocol):
    """A module under ``optimize.targets``."""

    SLOTS: tuple[Slot, ...]

    def require(self) -> None:
        """Raise ``Unsupported`` with what to install where this target cannot be compiled here."""
        ...

    def unavailable(self, slot: Slot) -> str | None:
        """Return the gate that fails and why, "ISA: ..." or "latency: ...", where this machine cannot judge a slot."""
        ...

    def compile(self, slot: Slot, plan: Plan, inputs: Inputs, folder: Path) -> Compiled:
        """Compile one candidate into an empty folder; the same inputs give the same bytes.

        Raises:
            Unsupported: the engine or its quantiser refuses this network; the message says what and why.
        """
        ...

    def check(self, slot: Slot, compiled: Compiled, inputs: Inputs) -> list[str]:
        """Return refusals that only this target can know (silent fallback, a page that does not load it), in words."""
        ...


def needs_ranges(targets: Sequence[str]) -> bool:
    """Whether a slot of these targets is quantised from the ranges of activations."""
    return any(slot.calibrations for name in targets for slot in load_target(name).SLOTS)


def lacking_isa(slot: Slot) -> str | None:
    """Return, for ``Target.unavailable``, why this CPU cannot judge a slot; ``None`` where it has what that needs."""
    lacking = [need for need in slot.isa if not cpu_flags() & set(need.split("|"))]
    if not lacking:
        return None
    return (
        f"ISA: this CPU has none of {', '.join(lacking)}, so what {slot.name} does there cannot be measured here; "
        "build on a CPU like the stations'"
    )


def load_target(name: str) -> Target:
    """Import a target's module.

    Raises:
        Unsupported: there is no such target.
    """
    if name not in TARGETS:
        raise Unsupported(f"--target {name}: expected one of {', '.join(TARGETS)}")
    return cast(Target, importlib.import_module(TARGETS[name]))
