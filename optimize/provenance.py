"""What this machine and its tools are, for evidence."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

from optimize.compiling import tool_versions
from runtime.engine import cpu_flags

_TELLING_FLAGS = {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp"}


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the CPU's name and number of cores, as Linux tells them."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or 'unknown'}, {os.cpu_count()} cores"


def machine_provenance() -> dict[str, str]:
    """Return the versions of the tools, and the CPU with its flags that matter here."""
    tools = {name: found for name, found in tool_versions().items() if found != "absent"}
    return {
        **tools,
        "scikit-learn": version("scikit-learn"),
        "python": platform.python_version(),
        "built_on": f"{platform.system()} {platform.machine()}",
        "built_with_cpu": cpu_name(),
        "built_with_cpu_flags": " ".join(sorted(cpu_flags() & _TELLING_FLAGS)),
    }


def device() -> list[str]:
    """Return what timings and outputs of this machine depend on: its CPU by name, and all its flags."""
    return [cpu_name(), *sorted(cpu_flags())]
