"""How pages put things into words. Pure. Nothing here calls an item anything before the experts have."""

from __future__ import annotations

from datetime import datetime

from sync_server.cases import CaseSummary
from sync_server.fleet import Station

_STEPS = ((60, "s"), (60, "min"), (24, "h"))
QUIET_AFTER_S = 24 * 3600
_NEWS = {
    "reverted": ("bad", "took a release back"),
    "shadow": ("wait", "compares a new release"),
    "waits": ("wait", "a new release waits for its hour"),
    "watch": ("wait", "watches a new release"),
}
"""What a station says of the newest release that it knows, as (tone, words)."""


def age(since: str, now: datetime) -> str:
    """Return how long ago ``since`` (ISO 8601) was: ``12 s``, ``5 min``, ``3 h``, ``2 days``."""
    amount = max(0, int((now - datetime.fromisoformat(since)).total_seconds()))
    for size, unit in _STEPS:
        if amount < size:
            return f"{amount} {unit}"
        amount //= size
    return f"{amount} day{'' if amount == 1 else 's'}"


def waited(case: CaseSummary, now: datetime) -> str:
    """Return how long ago a case was opened, or reopened."""
    return age(case.reopened_at or case.opened_at, now)


def case_state(case: CaseSummary) -> tuple[str, str]:
    """Return a case's state as (tone, words); the tone is a CSS class."""
    if case.outcome is not None:
        return ("good" if case.outcome == "genuine" else "bad"), case.outcome
    if case.mine is not None and not case.to_look_again:
        return "quiet", f"you said {case.mine}"
    return "wait", "waiting" if case.reopened_at is None else "the station disagrees"


def station_state(station: Station, newest: int | None, now: datetime) -> tuple[str, str]:
    """Return what a station has shown of itself as (tone, words); the tone is a CSS class."""
    report = station.report
    if report is None:
        return "quiet", "nothing shown yet"
    if station.last_seen is not None:
        silent_s = (now - datetime.fromisoformat(station.last_seen)).total_seconds()
        if silent_s > QUIET_AFTER_S:
            return "wait", f"silent for {age(station.last_seen, now)}"
    if report.state == "refused":
        return "bad", "refused a release"
    if report.state in _NEWS:
        return _NEWS[report.state]
    if report.state == "no-model":
        return "wait", "no model yet"
    if newest is not None and report.release is not None and report.release < newest:
        return "wait", "running an older release"
    if report.detail:
        return "wait", "running, wants a look"
    return "good", "running"


def what_runs(station: Station) -> tuple[str, ...]:
    """Return what a station has shown that it runs, and what it says of it: the release, then what belongs to it."""
    report, heartbeat = station.report, station.heartbeat
    if report is None or report.release is None:
        return ("nothing",)
    model = heartbeat.model if heartbeat else None
    name = f" of {model.name}" if model is not None and model.bundle_id == report.bundle_id else ""
    agent = heartbeat.versions.get("agent") if heartbeat else None
    return tuple(filter(None, (f"release {report.release}{name}", report.variant, f"agent {agent}" if agent else None)))


def devices(station: Station, now: datetime) -> str:
    """Return how often a new device took the station over, and when it last did; empty: never."""
    if not station.devices_replaced:
        return ""
    last = ago(station.devices_replaced[-1], now)
    if len(station.devices_replaced) == 1:
        return f"new device {last}"
    return f"{len(station.devices_replaced)} new devices, the last {last}"


def ago(since: str | None, now: datetime) -> str:
    """Return how long ago something was, or ``never``."""
    return f"{age(since, now)} ago" if since else "never"


def feature_name(name: str) -> str:
    """Return a listing feature's column name as words."""
    return name.replace("_", " ")


def feature_value(value: float | None) -> str:
    """Return a listing feature's value as people write it."""
    return "not given" if value is None else f"{value:,.6g}"


def percent(probability: float | None) -> str:
    """Return a probability in per cent with one decimal."""
    return "not known" if probability is None else f"{100 * probability:.1f} %"
