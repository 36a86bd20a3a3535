"""The model that decides now, and the one pointer to it. Exchanged between scans; a scan keeps what it began with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from runtime.contracts.records import ModelRef
from runtime.contracts.sync import ReleaseInfo
from runtime.inspector import Inspection, Inspector


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningModel:
    """A loaded model and the release that it came as."""

    inspector: Inspector
    release: ReleaseInfo

    @property
    def ref(self) -> ModelRef:
        """Which model this is, for records and reports."""
        return ModelRef(
            bundle_id=self.inspector.bundle.bundle_id,
            name=self.release.name,
            release=self.release.release,
            variant=self.inspector.variant.name,
        )

    def inspect(self, photos: Mapping[str, Sequence[bytes]], listing: Mapping[str, float | None] | None) -> Inspection:
        """Decide about one item."""
        return self.inspector.inspect(photos, listing)


class Pointer:
    """Which model decides. Reading takes no lock; whoever changes it, or reads to change it, holds ``changing``."""

    def __init__(self) -> None:
        self.current: RunningModel | None = None
        self.changing = threading.RLock()

    def exchange(self, fresh: RunningModel, commit: Callable[[], None]) -> None:
        """Point to ``fresh`` and make that durable; where ``commit`` raises, nothing has changed."""
        with self.changing:
            old, self.current = self.current, fresh
            try:
                commit()
            except BaseException:
                self.current = old
                raise
