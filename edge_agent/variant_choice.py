"""Which variant of a bundle runs on this station, and how photos that arrive together go through it.

Decides from what the variants showed when they were measured here (``edge_agent.measuring``). Opens no file, starts no
process, asks no clock; imports no engine, so that ``status`` can show a choice without loading one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from runtime.contracts.records import BundleId

Schedule = Literal["each", "together"]
"""The same as ``runtime.inspector.Schedule``, whose module would load numpy and OpenCV."""

TIE = 1.03
"""A variant that is slower than the fastest by less than this factor ties with it."""
_MOST_REASON = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredOn:
    """What a measurement holds for: when any of it changes, the variants are measured anew.

    Attributes:
        bundle_id: of the bundle.
        engines: those of the bundle that are installed, with what brought them and its version.
        driver: of the NVIDIA GPU, as it names itself; empty where there is none.
        cpu: its model.
        cpu_flags: as Linux names them, sorted.
        cores: that this process may use.
        threads: of ``agent.toml``.
        variant: of ``agent.toml``.
    """

    bundle_id: BundleId
    engines: Mapping[str, str]
    driver: str
    cpu: str
    cpu_flags: tuple[str, ...]
    cores: int
    threads: int
    variant: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A variant, and the schedule for photos that arrive together."""

    variant: str
    schedule: Schedule = "each"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What one variant showed on this station.

    Attributes:
        variant: its name.
        why_not: why it must not run here; ``None``: it agrees with the builder on every golden sample.
        latency_ms: schedule to the median time of the golden item with the most photos, milliseconds.
        camera_ms: the same with photos of a camera's size.
        resident_mib: memory of a process that has loaded it, MiB.
    """

    variant: str
    why_not: str | None
    latency_ms: Mapping[Schedule, float] = field(default_factory=dict)
    camera_ms: Mapping[Schedule, float] = field(default_factory=dict)
    resident_mib: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All variants of one bundle: what each showed, and those that may run, the one to run first."""

    on: MeasuredOn
    tried: tuple[Tried, ...]
    ranked: tuple[Pick, ...]


def judge(tried: Tried, max_latency_ms: float) -> Tried:
    """Refuse a variant that agrees, but was not timed or is too slow by its faster schedule."""
    why_not = tried.why_not and tried.why_not[:_MOST_REASON]
    if why_not is None and not tried.latency_ms:
        why_not = "the trial has not timed it"
    elif why_not is None and not min(tried.latency_ms.values()) <= max_latency_ms:
        why_not = f"it needs {min(tried.latency_ms.values()):.0f} ms an item, at most {max_latency_ms:.0f}"
    return replace(tried, why_not=why_not)


def rank(tried: Sequence[Tried], preferred: str, confirming: Collection[str]) -> tuple[Pick, ...]:
    """Return the variants that agree, the one to run first: the fastest, each with its faster schedule.

    Variants are compared on the golden photos as they are, so that decoding hides no difference between them; schedules
    on photos of a camera's size, because decoding is what they divide.

    A variant that ties with the fastest goes first if the bundle prefers it. One whose thresholds can confirm nothing
    comes after all that can: it would send every item to an expert, however fast.

    Args:
        tried: what each variant showed.
        preferred: the bundle's own choice.
        confirming: variants that can call an item authentic.
    """
    agree = {one.variant: one for one in tried if one.why_not is None}
    fastest_ms = {name: min(one.latency_ms.values()) for name, one in agree.items()}
    order = sorted(agree, key=lambda name: (name not in confirming, fastest_ms[name]))
    ties = preferred in agree and fastest_ms[preferred] <= fastest_ms[order[0]] * TIE
    if ties and (preferred in confirming or order[0] not in confirming):
        order.remove(preferred)
        order.insert(0, preferred)
    return tuple(Pick(variant=name, schedule=_faster_schedule(agree[name])) for name in order)


def _faster_schedule(tried: Tried) -> Schedule:
    taken_ms = tried.camera_ms or tried.latency_ms
    return min(taken_ms, key=lambda schedule: (taken_ms[schedule], schedule))


def reasons_against(tried: Sequence[Tried]) -> str:
    """Say of every variant that may not run why not, in one line."""
    return "; ".join(f"{one.variant}: {one.why_not}" for one in tried if one.why_not is not None)
