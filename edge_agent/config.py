"""What a person may set, in ``agent.toml``. Unknown keys are an error, so that a typo never silently means the default.

Example::

    uplink_every_s = 5.0
    min_free_bytes = 536870912
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.waiting import parse_hours
from runtime.contracts.errors import StationFault, Unsupported

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every setting with its default; units are in the names.

    Attributes:
        server: overrides the address that the station enrolled at, for a server that moved.
        watch_every_s: how often the inbox is looked at.
        uplink_every_s: how often records are sent and answers fetched when nothing wakes the uplink.
        update_every_s: how often the station asks which release it should run.
        min_free_bytes: free disk space below which photos of confident records are deleted, then scanning stops.
        threads: threads of the engine; 0: one where each photo goes by itself, else one a core.
        variant: the bundle's variant to run; None: the fastest that agrees with its builder on this device.
        trial_timeout_s: how long the trial of one variant may take.
        trial_max_bytes: address space that a trial may use.
        trial_max_disk_bytes: what a trial may write to its temporary folder.
        max_latency_ms: a variant that needs longer for one golden item is refused.
        update_hours: local hours in which a new release may take over, as ``22-06``; empty: at any time.
        shadow_scans: on so many scans a new release is compared with the running one before it takes over; 0: on none.
        shadow_max_disagree: share of these scans on which it may decide otherwise, 0 to 1.
        watch_scans: so many scans after it took over, a release has proved itself or is taken back; 0: it just stays.
        watch_hours: so long after, too, if there were a few scans.
    """

    server: str | None = None
    watch_every_s: float = 0.25
    uplink_every_s: float = 5.0
    update_every_s: float = 60.0
    min_free_bytes: int = 512 * MIB
    threads: int = 0
    variant: str | None = None
    trial_timeout_s: float = 120.0
    trial_max_bytes: int = 8192 * MIB
    trial_max_disk_bytes: int = 1024 * MIB
    max_latency_ms: float = 5000.0
    update_hours: str = ""
    shadow_scans: int = 0
    shadow_max_disagree: float = 0.10
    watch_scans: int = 50
    watch_hours: float = 24.0


def read_config(path: Path) -> Config:
    """Read ``agent.toml``; a missing file gives the defaults.

    Raises:
        StationFault: it is not TOML, has an unknown key, or a value of the wrong kind.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return Config()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StationFault(f"{path.name}: expected TOML, got {error}; correct the file") from error
    except OSError as error:
        raise StationFault(f"{path.name}: cannot be read ({error.strerror})") from error
    fields = {field.name: field for field in dataclasses.fields(Config)}
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise StationFault(f"{path.name}: unknown key {unknown[0]!r}; expected {', '.join(fields)}")
    config = Config(**{name: _checked(path.name, name, str(fields[name].type), value) for name, value in data.items()})
    try:
        parse_hours(config.update_hours)
    except Unsupported as error:
        raise StationFault(f"{path.name}: update_hours: {error}") from error
    return config


def _checked(file: str, name: str, kind: str, value: object) -> Any:
    if kind == "float" and type(value) in (int, float) and float(str(value)) > 0:
        return float(str(value))
    if kind == "int" and type(value) is int and value >= 0:
        return value
    if kind == "str | None" and isinstance(value, str) and value:
        return value
    if kind == "str" and isinstance(value, str):
        return value
    expected = {"float": "a number above 0", "int": "a whole number, 0 or more", "str": "a text"}.get(
        kind, "a text that is not empty"
    )
    raise StationFault(f"{file}: {name}: expected {expected}, got {value!r}")
