"""Our own station, in this process: the agent's ``Station`` over a verified bundle, on the work folder's disk.

It does what the agent does between camera and verdict, and nothing of the network around it. As the agent does with
every bundle, it measures the variants in child processes, loads the best beside, and exchanges one pointer.
"""

from __future__ import annotations

import math
import sys
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.latency.systems.protocol import Setup, System, serve
from edge_agent.config import Config
from edge_agent.home import Home
from edge_agent.identity import Identity
from edge_agent.measuring import measure
from edge_agent.outbox import Outbox
from edge_agent.running_model import RunningModel
from edge_agent.station import Scanned, ScanRequest, Session, Station
from edge_agent.variant_choice import reasons_against
from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.durable import ContentFolder
from runtime.contracts.errors import Unsupported
from runtime.contracts.records import StationId
from runtime.contracts.sync import ReleaseInfo
from runtime.engine import Network, load_network
from runtime.inspector import Inspector

Listing = Mapping[str, float | None]


class TouchstoneStation:
    """A station with a running model; a swap goes on beside it."""

    def __init__(self, setup: Setup) -> None:
        self._config = Config()
        self._model = self._load(open_bundle(Path(setup.model) / "bundle"))
        home = Home(root=Path(setup.work))
        home.create()
        identity = Identity(
            server="http://127.0.0.1", station_id=StationId("bench"), name="bench", audit_key="00" * 32, audit_share=0.0
        )
        self._station = Station(
            identity=identity,
            outbox=Outbox(home.database_file),
            photos=ContentFolder(home.photos),
            min_free_bytes=0,
        )
        self._begun: dict[str, Session] = {}
        self._behind = ThreadPoolExecutor(1, "swap")
        self._swaps: deque[Future[None]] = deque()
        self._listings: tuple[Network, npt.NDArray[np.float32]] | None = None

    def does(self) -> str:
        """Return what runs, with its versions."""
        chosen = self._model.inspector.variant
        engine = f"{chosen.engine} {version(chosen.engine)}" if chosen.engine in _ENGINES else chosen.engine
        return (
            f"touchstone {version('touchstone-edge')}, variant {chosen.name} ({chosen.precision}, {engine}), views "
            f"{self._model.inspector.schedule}, OpenCV {version('opencv-python-headless')}"
        )

    def scan(self, item: str, photos: Mapping[str, bytes], listing: Listing | None) -> tuple[str, float | None]:
        """Scan as the agent does."""
        self._report_failed_swap()
        request = ScanRequest(item_id=item, photos={view: (photo,) for view, photo in photos.items()}, listing=listing)
        return _said(self._station.scan(request, lambda: self._model))

    def add(self, item: str, view: str, photo: bytes) -> None:
        """Give a photo to the item's session; it is worked on behind."""
        if item not in self._begun:
            self._report_failed_swap()
            self._begun[item] = self._station.begin(lambda: self._model)
        self._begun[item].add(view, photo)

    def finish(self, item: str, listing: Listing | None) -> tuple[str, float | None]:
        """End the item's session."""
        return _said(self._begun.pop(item).finish(item, listing))

    def score_listings(self, rows: int) -> None:
        """Score the golden listing so many times, in one batch through the bundle's trees."""
        if self._listings is None:
            self._listings = _listing_network(self._model.inspector.bundle)
        network, row = self._listings
        network.run(np.repeat(row, rows, axis=0))

    def swap(self, bundle: str) -> None:
        """Measure the bundle, load it beside, and exchange the pointer, as ``ModelSlot.offer`` does."""
        self._swaps.append(self._behind.submit(self._exchange, Path(bundle)))

    def settle(self) -> None:
        """Wait until every swap has ended, and complain where one failed."""
        wait(self._swaps)
        self._report_failed_swap()

    def _exchange(self, folder: Path) -> None:
        self._model = self._load(open_bundle(folder))

    def _load(self, bundle: Bundle) -> RunningModel:
        measured = measure(bundle, self._config, stopping=threading.Event())
        if not measured.ranked:
            raise Unsupported(f"bundle {bundle.folder.name}: {reasons_against(measured.tried)}")
        best = measured.ranked[0]
        inspector = Inspector.open(bundle, variant=best.variant, threads=self._config.threads, schedule=best.schedule)
        return RunningModel(inspector=inspector, release=ReleaseInfo(name=bundle.manifest.name, release=1, floor=0))

    def _report_failed_swap(self) -> None:
        while self._swaps and self._swaps[0].done():
            self._swaps.popleft().result()


_ENGINES = ("onnxruntime", "openvino")
"""Engines that are named as their distributions are."""


def start(setup: Setup) -> System:
    """Open the bundle and the station. The threads are those that the process may use: the agent asks the system."""
    return TouchstoneStation(setup)


def _said(scanned: Scanned) -> tuple[str, float | None]:
    return scanned.record.verdict, scanned.record.prediction.p_counterfeit


def _listing_network(bundle: Bundle) -> tuple[Network, npt.NDArray[np.float32]]:
    model, golden = bundle.manifest.listing, bundle.manifest.golden
    listing = golden[0].listing if golden else None
    if model is None or listing is None:
        raise NotImplementedError("the bundle has no listing model")
    values = [listing.get(name) for name in model.features]
    row = np.array([[math.nan if value is None else value for value in values]], np.float32)
    return load_network("onnxruntime", bundle.path(model.file), 1), row


if __name__ == "__main__":
    sys.exit(serve(start, sys.argv[1:]))
