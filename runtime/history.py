"""What a scan may still say after what was scanned before: pure functions.

The first complete scan of an item decides. A later one, or a photo that was used elsewhere, only ever moves a verdict
towards review; else every miss of the model would be one retry away. What an expert said of a scan stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from runtime.contracts.records import ItemId, Reason, Record, RecordId, Verdict

NOT_BINDING = frozenset({"listing_missing", "listing_stale", "rescan", "expert_said_counterfeit"})
"""Reasons that say nothing against the item by themselves: its listing was lacking, or another scan speaks already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierScan:
    """A scan of the same item that is on record; ``scanned_at`` is ISO 8601."""

    record_id: RecordId
    scanned_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemHistory:
    """What is known of an item before a scan of it.

    Attributes:
        first: its first complete scan.
        open: the first scan that binds (see ``binds``) and of which no expert has said anything yet.
        counterfeit_at: when an expert last said that a scan of it shows a counterfeit, ISO 8601.
    """

    first: EarlierScan | None = None
    open: EarlierScan | None = None
    counterfeit_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoUse:
    """The photo that a scan gives for ``view`` is on record for another item, or for another view of this one."""

    view: str
    used_for: ItemId
    used_as: str


def is_complete(record: Record) -> bool:
    """Tell whether no required view was missing and the photos got a score."""
    return record.prediction.p_counterfeit is not None and not any(
        reason.code == "missing_view" for reason in record.reasons
    )


def binds(record: Record) -> bool:
    """Tell whether no later scan of the item may be ``authentic`` until an expert has called this one genuine.

    A complete scan that was not confirmed binds, unless it only lacked its listing or only repeats what an earlier scan
    bound: neither gives a counterfeit a second chance, as the photos were good enough each time.
    """
    return (
        is_complete(record)
        and record.verdict != "authentic"
        and any(reason.code not in NOT_BINDING for reason in record.reasons)
    )


def restrained(record: Record, item: ItemHistory, uses: Sequence[PhotoUse]) -> Record:
    """Return ``record`` as it may stand: never more favourable than it was.

    Args:
        record: as the model alone decided it.
        item: of its item, before it.
        uses: of its photos elsewhere, before it.
    """
    found = [*_of_item(item), *_of_photos(record), *_of_uses(record, uses)]
    if found:
        kept = () if record.verdict == "authentic" else record.reasons
        verdict: Verdict = "suspect" if record.verdict == "suspect" else "uncertain"
        record = replace(record, verdict=verdict, reasons=(*kept, *found))
    return replace(record, rescan_of=item.first.record_id) if item.first else record


def _of_item(item: ItemHistory) -> Iterator[Reason]:
    if item.counterfeit_at is not None:
        said = f"an expert said on {item.counterfeit_at[:10]} that a scan of this item shows a counterfeit"
        yield Reason(code="expert_said_counterfeit", text=said)
    if item.open is not None:
        yield Reason(
            code="rescan",
            text=f"scanned before, on {item.open.scanned_at[:10]}, and not confirmed: a later scan cannot undo that, "
            "an expert decides",
        )


def _of_photos(record: Record) -> Iterator[Reason]:
    views: dict[str, set[str]] = {}
    for score in record.views:
        views.setdefault(score.photo, set()).add(score.view)
    for several in views.values():
        if len(several) > 1:
            names = " and ".join(map(repr, sorted(several)))
            yield Reason(code="same_photo", text=f"one photo was given for the views {names}")


def _of_uses(record: Record, uses: Sequence[PhotoUse]) -> Iterator[Reason]:
    for use in uses:
        whose = "this item" if use.used_for == record.item_id else f"the item {use.used_for!r}"
        yield Reason(
            code="same_photo",
            text=f"the photo of the view {use.view!r} was used before, for {use.used_as!r} of {whose}",
        )
