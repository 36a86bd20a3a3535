"""``touchstone-agent status``: what runs here, why, how the outbox stands. Reads only; safe beside a running daemon."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from edge_agent.config import Config, read_config
from edge_agent.features import held
from edge_agent.home import Home
from edge_agent.identity import require_identity
from edge_agent.meter import Meter
from edge_agent.outbox import (
    CLOCK_FACT,
    CONTACT_FACT,
    ERROR_FACT,
    REST,
    UNCERTAIN,
    UPDATE_FROM_ERROR_FACT,
    Outbox,
)
from edge_agent.release_book import ReleaseBook
from edge_agent.release_facts import Proved
from edge_agent.trusted_time import complaint
from edge_agent.update_state import update_state
from runtime.contracts.codec import encode
from runtime.contracts.durable import ContentFolder


def main(home: Home, arguments: argparse.Namespace) -> int:
    """Print how the station stands."""
    identity = require_identity(home)
    config = read_config(home.config_file)
    home.create()
    outbox = Outbox(home.database_file)
    try:
        state: dict[str, Any] = {
            "station": identity.station_id,
            "name": identity.name,
            "server": config.server or identity.server,
            **_releases(ReleaseBook(outbox)),
            "update": encode(update_state(ReleaseBook(outbox), config, datetime.now(UTC).astimezone())),
            "folder_error": outbox.fact(UPDATE_FROM_ERROR_FACT) or None,
            "clock": complaint(
                datetime.now(UTC), float(outbox.fact(CLOCK_FACT) or "0"), ReleaseBook(outbox).time_floor()
            ),
            "outbox": encode(outbox.tally()),
            "photos_wait": _photos_wait(outbox, home, config),
            **_contact(outbox),
            "features": encode(held(outbox)),
            "answers_received": outbox.answer_count(),
            "answers": encode(outbox.answers(after=max(0, outbox.last_answer() - max(0, arguments.answers)))),
        }
    finally:
        outbox.close()
    sys.stdout.write(json.dumps(state, indent=2) + "\n" if arguments.json else _shown(state))
    return 0


def _releases(book: ReleaseBook) -> dict[str, Any]:
    running = next(iter(book.runnable()), None)
    refusals = book.refusals()
    return {
        "bundle_id": None if running is None else running.bundle_id,
        "release": None if running is None else running.release.release,
        "model": None if running is None else running.release.name,
        **_variants(book, running),
        "floor": book.floor(),
        "refused": encode(refusals[-1]) if refusals else None,
    }


def _variants(book: ReleaseBook, running: Proved | None) -> dict[str, Any]:
    measured = running and book.measured(running.bundle_id)
    loaded = book.loaded()
    if running is None or loaded is None or loaded.bundle_id != running.bundle_id:
        loaded = None
    return {
        "variant": loaded.pick.variant if loaded else running and running.variant,
        "schedule": loaded.pick.schedule if loaded else None,
        "variants": encode(measured.tried) if measured else [],
        "passed_over": dict(loaded.passed_over) if loaded else {},
    }


def _photos_wait(outbox: Outbox, home: Home, config: Config) -> dict[str, Any] | None:
    """Tell which photos the bandwidth holds back, and until when; None if it holds back none."""
    meter = Meter(outbox, config.bandwidth)
    up_to = meter.photos_up_to()
    if up_to == REST:
        return None
    hashes = outbox.unsent_photos(audited_only=up_to == UNCERTAIN)
    photos = ContentFolder(home.photos)
    sizes = [photos.path(sha256).stat().st_size for sha256 in hashes if sha256 in photos]
    wait_s = meter.allowance(urgent=up_to != UNCERTAIN).look_again_s
    until = datetime.now(UTC) + timedelta(seconds=wait_s)
    return {"until": until.isoformat(timespec="seconds"), "photos": len(sizes), "bytes": sum(sizes)} if sizes else None


def _contact(outbox: Outbox) -> dict[str, Any]:
    contact = outbox.fact(CONTACT_FACT)
    return {
        "last_contact": None if contact is None else datetime.fromtimestamp(float(contact), UTC).isoformat(),
        "last_error": outbox.fact(ERROR_FACT) or None,
        "clock_offset_s": float(outbox.fact(CLOCK_FACT) or "0"),
    }


def _shown(state: dict[str, Any]) -> str:
    tally = state["outbox"]
    model = "no model yet"
    if state["bundle_id"] is not None:
        model = f"{state['model']} release {state['release']}, {state['variant']}, bundle {state['bundle_id'][:12]}"
        if state["schedule"]:
            model += f"; photos that arrive together: {state['schedule']}"
    lines = [
        f"station   {state['station']} ({state['name']}) of {state['server']}",
        f"model     {model}",
        *_shown_variants(state),
        f"outbox    {tally['recorded']} recorded = {tally['acked']} acked + {tally['pending']} pending"
        f" ({tally['parked']} parked); {tally['cases']} cases, {tally['waiting_cases']} of them waiting",
        *_shown_wait(state["photos_wait"]),
        f"contact   {state['last_contact'] or 'never'}; clock offset {state['clock_offset_s']:+.0f} s",
    ]
    if state["last_error"]:
        lines.append(f"error     {state['last_error']}")
    update = state["update"]
    if update["detail"]:
        lines.append(f"update    {update['state']}: {update['detail']}")
    if update["deferred_until"]:
        lines.append(f"put off   until {update['deferred_until']}")
    if state["refused"] and update["state"] not in ("refused", "reverted"):
        lines.append(f"refused   release {state['refused']['release']}: {state['refused']['reason']}")
    if state["features"]["items"]:
        lines.append(f"features  of {state['features']['items']} items, the newest of {state['features']['newest']}")
    if state["folder_error"]:
        lines.append(f"folder    {state['folder_error']}")
    if state["clock"]:
        lines.append(f"clock     {state['clock']}")
    lines.append(f"answers   {state['answers_received']}")
    lines += [f"  {answer['item_id']}: {answer['outcome']} ({answer['resolved_at']})" for answer in state["answers"]]
    return "\n".join(lines) + "\n"


def _shown_wait(wait: dict[str, Any] | None) -> Iterator[str]:
    if wait is not None:
        until = datetime.fromisoformat(wait["until"])
        photos = f"{wait['photos']} photo{'' if wait['photos'] == 1 else 's'}"
        yield f"  waits for {until.astimezone():%H:%M}: {photos}, {wait['bytes'] / 1e6:.0f} MB"


def _shown_variants(state: dict[str, Any]) -> Iterator[str]:
    said = {one["variant"]: [*_figures(one), one["why_not"]] for one in state["variants"]}
    for name, why in state["passed_over"].items():
        said.setdefault(name, []).append(f"not loaded at the last start: {why}")
    for name, parts in said.items():
        mark = " (runs)" if name == state["variant"] else ""
        yield f"  {name}{mark}: {'; '.join(filter(None, parts))}"


def _figures(tried: dict[str, Any]) -> Iterator[str]:
    for schedule, ms in sorted(tried["latency_ms"].items()):
        camera_ms = tried["camera_ms"].get(schedule)
        yield f"{schedule} {ms:.1f} ms an item" + (
            f", {camera_ms:.0f} with photos of a camera's size" if camera_ms else ""
        )
    if tried["resident_mib"] is not None:
        yield f"{tried['resident_mib']:.0f} MiB"
