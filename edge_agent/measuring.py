"""Measures every variant of a bundle on this device, one after the other, each in a child process of its own.

A variant that crashes or hangs the process is thereby refused by itself, and the next is tried. Loads no engine here,
decides nothing (see ``edge_agent.variant_choice``), and writes nothing.
"""

from __future__ import annotations

import importlib.util
import platform
import threading
from collections.abc import Sequence
from pathlib import Path

from edge_agent.config import Config
from edge_agent.trial import TRIAL_COMMAND, TrialOrder, run_trial
from edge_agent.variant_choice import Measured, MeasuredOn, Tried, judge, rank
from runtime.backends.cuda import DRIVER_FILE
from runtime.bundle_store import Bundle
from runtime.contracts.bundle import BundleManifest, Variant
from runtime.cores import core_count
from runtime.engine import LIBRARIES, cannot_run, cpu_flags, in_order, is_installed


def measure(
    bundle: Bundle,
    config: Config,
    *,
    stopping: threading.Event,
    command: Sequence[str] = TRIAL_COMMAND,
    scratch: Path | None = None,
) -> Measured:
    """Try and time every variant that may run here, and rank those that agree with the builder.

    Args:
        bundle: verified.
        config: of the station.
        stopping: set when the agent is told to stop.
        command: starts a trial.
        scratch: where a trial's temporary folder goes; ``None``: where the system has them.

    Raises:
        TryLater: the agent is stopping, or a child could not be started; nothing is known.
    """
    on = measured_on(bundle, config)
    flags = cpu_flags()
    tried = []
    for variant in _wanted(bundle.manifest, config.variant):
        why_not = cannot_run(variant, flags)
        tried.append(
            _try(bundle.folder, variant.name, config, stopping, command, scratch)
            if why_not is None
            else Tried(variant=variant.name, why_not=why_not)
        )
    if not tried:
        names = ", ".join(variant.name for variant in bundle.manifest.variants)
        tried.append(Tried(variant=str(config.variant), why_not=f"the bundle has {names}; correct agent.toml"))
    confirming = {one.name for one in bundle.manifest.variants if one.thresholds.authentic_below > 0}
    return Measured(on=on, tried=tuple(tried), ranked=rank(tried, bundle.manifest.preferred, confirming))


def measured_on(bundle: Bundle, config: Config) -> MeasuredOn:
    """Describe what a measurement taken now holds for. Imports no engine."""
    engines = {variant.engine for variant in bundle.manifest.variants}
    return MeasuredOn(
        bundle_id=bundle.bundle_id,
        engines={engine: _distributions(LIBRARIES[engine]) for engine in sorted(engines) if is_installed(engine)},
        driver=_first_line(DRIVER_FILE),
        cpu=_cpu_model(),
        cpu_flags=tuple(sorted(cpu_flags())),
        cores=core_count(),
        threads=config.threads,
        variant=config.variant,
    )


def _wanted(manifest: BundleManifest, name: str | None) -> tuple[Variant, ...]:
    return tuple(variant for variant in in_order(manifest) if name in (None, variant.name))


def _try(
    folder: Path,
    variant: str,
    config: Config,
    stopping: threading.Event,
    command: Sequence[str],
    scratch: Path | None,
) -> Tried:
    order = TrialOrder(
        bundle=str(folder),
        variant=variant,
        threads=config.threads,
        timeout_s=max(1, round(config.trial_timeout_s)),
        max_bytes=config.trial_max_bytes,
        max_disk_bytes=config.trial_max_disk_bytes,
    )
    result = run_trial(order, stopping=stopping, command=command, scratch=scratch)
    tried = Tried(
        variant=variant,
        why_not="; ".join(result.problems) or None,
        latency_ms=result.latency_ms,
        camera_ms=result.camera_ms,
        resident_mib=result.resident_mib,
    )
    return judge(tried, config.max_latency_ms)


def _distributions(library: str) -> str:
    """Return name and version of what brought a library, as its installer wrote them into folder names.

    ``importlib.metadata`` would say it too, but costs a scan tens of milliseconds, and knows ONNX Runtime under one of
    its several names only.
    """
    found = importlib.util.find_spec(library)
    places = found.submodule_search_locations if found is not None else None
    folders = [folder for place in places or () for folder in Path(place).parent.glob(f"{library}[-_]*.dist-info")]
    return " ".join(sorted(folder.name.removesuffix(".dist-info") for folder in folders))


def _cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _first_line(file: Path) -> str:
    try:
        return file.read_text().partition("\n")[0]
    except OSError:
        return ""
