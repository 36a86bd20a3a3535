"""Photos to durable verdict on this machine: the station's own code, real disk writes, 12-megapixel JPEGs.

Measured from the moment the last photo's bytes are in memory until the record is on disk. In this release a station
takes all views of an item together, so the figure covers all of them.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.latency.photos import enlarged, golden_items
from edge_agent.home import Home
from edge_agent.identity import Identity
from edge_agent.outbox import Outbox
from edge_agent.photo_stamp import stamped
from edge_agent.running_model import RunningModel
from edge_agent.station import ScanRequest, Station
from runtime.bundle_store import open_bundle
from runtime.contracts.durable import ContentFolder
from runtime.contracts.records import StationId
from runtime.contracts.sync import ReleaseInfo
from runtime.inspector import Inspector

WARM_UP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds of single scans, ``float64 (n,)``, of items with so many views of ``photo_mb`` each."""

    scan_ms: npt.NDArray[np.float64]
    views: int
    photo_mb: float


def measure(bundle_folder: Path, work: Path, scans: int) -> Latency:
    """Scan the bundle's golden items, enlarged to 12 megapixels, as often as asked; every photo is new to the disk.

    Args:
        bundle_folder: a verified bundle.
        work: folder on the disk to measure.
        scans: how many to count.
    """
    bundle = open_bundle(bundle_folder)
    model = RunningModel(
        inspector=Inspector.open(bundle), release=ReleaseInfo(name=bundle.manifest.name, release=1, floor=0)
    )
    photos, listing = enlarged(golden_items(bundle, 1)[0]), bundle.manifest.golden[0].listing
    taken = []
    with tempfile.TemporaryDirectory(dir=work) as name:
        home = Home(root=Path(name))
        home.create()
        outbox = Outbox(home.database_file)
        station = Station(
            identity=_identity(), outbox=outbox, photos=ContentFolder(Path(name) / "photos"), min_free_bytes=0
        )
        stamps = itertools.count()
        for number in range(-WARM_UP, scans):
            fresh = {view: (stamped(data, next(stamps)),) for view, data in photos.items()}
            request = ScanRequest(item_id=f"item-{number + WARM_UP}", photos=fresh, listing=listing)
            started = time.perf_counter_ns()
            station.scan(request, lambda: model)
            if number >= 0:
                taken.append((time.perf_counter_ns() - started) / 1e6)
        outbox.close()
    sizes = [len(data) for data in photos.values()]
    return Latency(scan_ms=np.array(taken), views=len(photos), photo_mb=sum(sizes) / len(sizes) / 1e6)


def _identity() -> Identity:
    return Identity(
        server="http://127.0.0.1", station_id=StationId("bench"), name="bench", audit_key="00" * 32, audit_share=0.0
    )
