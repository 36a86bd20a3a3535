"""On what a figure was measured: CPU, flags that matter, memory, versions, date. Without it a figure says nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from runtime.engine import cpu_flags

FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
    "bf16",
)
"""CPU flags that decide which integer and half-precision kernels run."""
PACKAGES = ("numpy", "onnx", "onnxruntime", "openvino", "nncf", "optimum", "optimum-onnx", "torch", "tensorrt_rtx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Where and when; ``load_1min`` tells whether the machine was quiet at the start.

    ``governor`` is of the CPU's frequency, as Linux names it; empty where the system does not say.
    """

    date: str
    cpu: str
    flags: tuple[str, ...]
    cores: int
    memory_gb: float
    load_1min: float
    system: str
    python: str
    versions: dict[str, str]
    governor: str = ""

    def line(self) -> str:
        """Say the most of it in one line."""
        flags = " ".join(self.flags) or "none of the flags that matter"
        return f"{self.date[:10]}, {self.cores} cores of {self.cpu} ({flags}), {self.memory_gb:.0f} GB, {self.system}"


def fingerprint(now: datetime, packages: Sequence[str] = PACKAGES) -> Fingerprint:
    """Describe this machine.

    Args:
        now: aware of its zone.
        packages: to name with their versions where they are installed.
    """
    have = cpu_flags()
    return Fingerprint(
        date=now.isoformat(timespec="seconds"),
        cpu=_cpu(),
        flags=tuple(flag for flag in FLAGS if flag in have),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gb=psutil.virtual_memory().total / 1e9,
        load_1min=os.getloadavg()[0],
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions={name: found for name in packages if (found := _version(name))},
        governor=governor(),
    )


def governor(cpus: Path = Path("/sys/devices/system/cpu")) -> str:
    """Return the cores' frequency governors, as Linux names them; empty where the system does not say."""
    found = set()
    for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor"):
        with suppress(OSError):
            found.add(path.read_text("ascii", "replace").strip())
    return ", ".join(sorted(found))


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
