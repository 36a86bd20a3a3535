"""Checks of the station's work: enrolment, outbox, inbox, what was rejected, and the model. Reads only."""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path

from edge_agent.capture import REASON_FILE, waiting_items
from edge_agent.doctor.finding import Seen, age, fail, ok, warn
from edge_agent.doctor.subject import Subject
from edge_agent.trial import TrialOrder, run_trial
from runtime.bundle_store import Bundle
from runtime.engine import cannot_run, cpu_flags, in_order

_OLD_RECORD_S = 86_400.0
_OLD_ITEM_S = 600.0
_SHOWN = 3


def enrolment(subject: Subject) -> Seen:
    """Whether the station knows who it is, has its key, and keeps both to itself."""
    from edge_agent.device_key import DeviceKey
    from edge_agent.signed_releases import read_pinned_root

    home = subject.home
    DeviceKey.load(home)
    read_pinned_root(home.root_metadata_file)
    open_files = [path for path in (home.key_file, home.identity_file) if path.stat().st_mode & 0o077]
    if open_files:
        names = " ".join(map(str, open_files))
        return fail(f"others may read {names}: whoever has them can speak as this station", f"chmod 600 {names}")
    return ok(f"{subject.identity.station_id} ({subject.identity.name}) of {subject.identity.server}")


def outbox(subject: Subject) -> Seen:
    """Whether records leave, and whether all that were made are accounted for."""
    box, tally = subject.outbox, subject.outbox.tally()
    found = (
        f"{tally.recorded} recorded = {tally.acked} acked + {tally.pending} pending; {tally.waiting_cases} cases wait"
    )
    if tally.recorded != tally.acked + tally.pending:
        return fail(
            f"{found}: records are missing",
            f"keep {subject.home.database_file}, run 'touchstone-agent outbox verify', report this",
        )
    parked = box.parked(_SHOWN)
    if parked:
        reasons = "; ".join(f"{one.item_id}: {one.why}" for one in parked)
        advice = "the server will not take them as they are, and each is tried again daily: see to the reason"
        return warn(f"{found}; {tally.parked} refused by the server, such as {reasons}", advice)
    oldest = box.oldest_waiting()
    if oldest is None:
        return ok(found)
    age_s = subject.now_s - datetime.fromisoformat(oldest.scanned_at).timestamp()
    found += f", the oldest for {age(age_s)}"
    if age_s > _OLD_RECORD_S:
        return warn(found, "they wait for the server: see 'server' below; nothing is lost meanwhile")
    return ok(found)


def inbox(subject: Subject) -> Seen:
    """Whether items are taken as they come."""
    waiting = waiting_items(subject.home)
    if not waiting:
        return ok("nothing waits")
    age_s = max(subject.now_s - path.lstat().st_mtime for path in waiting)
    found = f"{len(waiting)} items wait, the oldest for {age(age_s)}"
    if age_s > _OLD_ITEM_S:
        return warn(found, "the agent does not run, has no model, or its disk is full: see the other lines")
    return ok(found)


def rejected(subject: Subject) -> Seen:
    """Whether somebody must look at items that could not be scanned."""
    folder = subject.home.rejected
    items = [path for path in folder.iterdir() if not path.name.endswith(REASON_FILE)] if folder.is_dir() else []
    if not items:
        return ok("nothing")
    newest = sorted(items, key=lambda path: path.lstat().st_mtime, reverse=True)[:_SHOWN]
    shown = "; ".join(f"{path.name!a}: {_reason(path)}" for path in newest)
    return warn(
        f"{len(items)} items, the newest {shown}",
        f"scan them anew, or mend them and move them back into {subject.home.inbox}; then delete them here",
    )


def _reason(item: Path) -> str:
    is_folder = item.is_dir() and not item.is_symlink()
    file = item / REASON_FILE if is_folder else item.with_name(f"{item.name}.{REASON_FILE}")
    try:
        return file.read_text("utf-8", errors="backslashreplace").strip()[:160]
    except OSError:
        return "no reason was kept"


def model(subject: Subject) -> Seen:
    """Whether the model that should run is there, unchanged, and signed."""
    from edge_agent.admission import verify_kept
    from edge_agent.signed_releases import read_pinned_root

    proved, bundle = subject.running
    root = read_pinned_root(subject.home.root_metadata_file)
    verify_kept(bundle.folder, bundle.bundle_id, proved.release.release, root)
    found = f"{proved.release.name} release {proved.release.release}, bundle {bundle.bundle_id[:12]}, as it was signed"
    refusals = subject.book.refusals()
    if refusals and refusals[-1].release > proved.release.release:
        newest = refusals[-1]
        advice = "this release does not run on this station: publish one that does"
        return warn(f"{found}; release {newest.release} was refused: {newest.reason[:300]}", advice)
    return ok(found)


def engine(subject: Subject) -> Seen:
    """Whether this machine has what the model's variant runs on; with ``--trial``, whether it runs."""
    proved, bundle = subject.running
    loaded = subject.book.loaded()
    name = loaded.pick.variant if loaded and loaded.bundle_id == bundle.bundle_id else proved.variant
    flags = cpu_flags()
    reasons = {one.name: cannot_run(one, flags) for one in in_order(bundle.manifest)}
    if reasons.get(name):
        advice = "undo what changed on this machine, or restart the agent: it looks for another variant"
        return fail(f"{name}: {reasons[name]}", advice)
    others = "; ".join(f"{other} cannot: {why}" for other, why in reasons.items() if why)
    found = name + (f" ({others})" if others else "")
    return _tried(subject, bundle, name, found) if subject.trial else ok(f"{found}; not tried, --trial does")


def _tried(subject: Subject, bundle: Bundle, variant: str, found: str) -> Seen:
    order = TrialOrder(
        bundle=str(bundle.folder),
        variant=variant,
        threads=subject.config.threads,
        timeout_s=max(1, round(subject.config.trial_timeout_s)),
        max_bytes=subject.config.trial_max_bytes,
    )
    result = run_trial(order, stopping=threading.Event())
    if result.problems:
        advice = "the model does not agree with its builder here: restart the agent, which tries the other variants"
        return fail(f"{found}: {'; '.join(result.problems)[:300]}", advice)
    times = ", ".join(f"{schedule} {ms:.1f} ms" for schedule, ms in sorted(result.latency_ms.items()))
    return ok(f"{found}: agrees with its builder; an item takes {times}")
