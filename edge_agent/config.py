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

from edge_agent.bandwidth import SMALLEST_PIECE_BYTES, Bandwidth
from edge_agent.hours import parse_hours
from runtime.contracts.errors import StationFault, Unsupported
from runtime.contracts.sync import MAX_CHUNK_BYTES

MIB = 1024 * 1024
_SECRET = ("desk_pin",)
_HOURS = ("uplink_hours", "update_hours")
"""Of the day; empty: always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every setting with its default; units are in the names.

    Attributes:
        server: overrides the address that the station enrolled at, for a server that moved.
        watch_every_s: how often the inbox is looked at.
        uplink_every_s: how often records are sent and answers fetched when nothing wakes the uplink.
        update_every_s: how often the station asks which release it should run.
        uplink_bytes_per_hour: of photos and telemetry that go to the server; 0: no limit.
        uplink_hours: when they go, such as "22-06"; suspect and uncertain cases go at any hour; empty: always.
        uplink_chunk_bytes: photos go in pieces of this size, so that a cut connection costs one piece at most.
        min_free_bytes: free disk space below which photos of confident records are deleted, then scanning stops.
        max_photo_bytes: that the photos may take, kept in the same way; 0: no limit.
        keep_photos_days: after the server took a record, unless it is a case that waits for an answer.
        keep_case_photos_days: after the server took a case, while it waits for an answer.
        threads: threads of the engine; 0: one where each photo goes by itself, else one a core.
        variant: the bundle's variant to run; None: the fastest that agrees with its builder on this device.
        trial_timeout_s: how long the trial of one variant may take.
        trial_max_bytes: address space that a trial may use.
        trial_max_disk_bytes: what a trial may write to its temporary folder.
        max_latency_ms: a variant that needs longer for one golden item is refused.
        features_max_age_s: listing features sent ahead that are older confirm nothing.
        features_most: of so many items at most are features kept; the oldest go.
        heartbeat_every_s: how often the station tells the server what it has counted.
        desk_port: where the operator's page answers; 0 turns the desk off.
        desk_host: the address that it listens at; one that is not this very machine needs the next three.
        desk_certificate: PEM file of its TLS certificate.
        desk_key: PEM file of the certificate's key.
        desk_pin: what people on the network sign in with, at least 6 characters.
        desk_language: of the page, where the browser does not ask for another.
        camera: the station's own: a number, a device's path or an address; None: that of the page's browser.
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
    uplink_bytes_per_hour: int = 0
    uplink_hours: str = ""
    uplink_chunk_bytes: int = MIB
    min_free_bytes: int = 512 * MIB
    max_photo_bytes: int = 0
    keep_photos_days: int = 30
    keep_case_photos_days: int = 90
    threads: int = 0
    variant: str | None = None
    trial_timeout_s: float = 120.0
    trial_max_bytes: int = 8192 * MIB
    trial_max_disk_bytes: int = 1024 * MIB
    max_latency_ms: float = 5000.0
    features_max_age_s: float = 7 * 86_400.0
    features_most: int = 200_000
    heartbeat_every_s: float = 300.0
    desk_port: int = 8377
    desk_host: str = "127.0.0.1"
    desk_certificate: str | None = None
    desk_key: str | None = None
    desk_pin: str | None = None
    desk_language: str = "en"
    camera: int | str | None = None

    @property
    def bandwidth(self) -> Bandwidth:
        """What may go to the server, and when.

        Raises:
            Unsupported: ``uplink_hours`` cannot be read.
        """
        return Bandwidth(bytes_per_hour=self.uplink_bytes_per_hour, hours=parse_hours(self.uplink_hours))

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
    for name in _HOURS:
        try:
            parse_hours(getattr(config, name))
        except Unsupported as error:
            raise StationFault(f"{path.name}: {name}: {error}") from error
    if not SMALLEST_PIECE_BYTES <= config.uplink_chunk_bytes <= MAX_CHUNK_BYTES:
        raise StationFault(
            f"{path.name}: uplink_chunk_bytes: expected {SMALLEST_PIECE_BYTES} to {MAX_CHUNK_BYTES}, "
            f"got {config.uplink_chunk_bytes}"
        )
    return config


def _checked(file: str, name: str, kind: str, value: object) -> Any:
    if kind == "float" and type(value) in (int, float) and float(str(value)) > 0:
        return float(str(value))
    if "int" in kind and type(value) is int and value >= 0:
        return value
    if "str" in kind and isinstance(value, str) and (value or name in _HOURS):
        return value
    text = "a text" if name in _HOURS else "a text that is not empty"
    expected = {"float": "a number above 0", "int": "a whole number, 0 or more"}.get(kind, text)
    got = "something else" if name in _SECRET else repr(value)
    raise StationFault(f"{file}: {name}: expected {expected}, got {got}")
