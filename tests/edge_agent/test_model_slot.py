"""A bad model takes down nothing, and a swap drops no scan."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edge_agent.config import MIB, Config
from edge_agent.home import Home
from edge_agent.model_slot import ModelSlot
from edge_agent.outbox import Outbox
from edge_agent.release_book import ReleaseBook
from edge_agent.station import ScanRequest, Station
from edge_agent.trial import TRIAL_COMMAND, TrialOrder, run_trial
from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.durable import ContentFolder
from runtime.contracts.errors import StationFault, TryLater, Unsupported
from runtime.contracts.records import BundleId
from runtime.contracts.sync import ReleaseInfo
from tests.edge_agent.rigs import make_home

NewSlot = Callable[..., ModelSlot]
PutBundle = Callable[[float], Bundle]


def release(number: int, floor: int = 0) -> ReleaseInfo:
    return ReleaseInfo(name="tiny", release=number, floor=floor)


def offer(slot: ModelSlot, bundle: Bundle, number: int, floor: int = 0) -> None:
    slot.offer(bundle.folder, release(number, floor), bundle.bundle_id)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "station")


@pytest.fixture
def new_slot(home: Home, outbox: Outbox) -> NewSlot:
    def make(
        *, command: Sequence[str] = TRIAL_COMMAND, stopping: threading.Event | None = None, **settings: object
    ) -> ModelSlot:
        return ModelSlot(
            home=home,
            book=ReleaseBook(outbox),
            config=Config(threads=1, **settings),  # type: ignore[arg-type]
            stopping=stopping or threading.Event(),
            trial_command=command,
        )

    return make


@pytest.fixture
def put_bundle(home: Home, tiny_bundle: Callable[..., Path]) -> PutBundle:
    def make(bias: float) -> Bundle:
        folder = tiny_bundle(home.bundles / f"b{bias}", bias=bias)
        return open_bundle(folder.rename(home.bundles / open_bundle(folder).bundle_id))

    return make


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.kill(os.getpid(), 11)", "killed by signal 11"),
        ("import sys; sys.exit('a model crashed')", "exit code 1 .*a model crashed"),
        ("print('no json')", "expected JSON"),
        ("print('{}')", "is missing"),
        ("while True: pass", "longer than 1 s"),
    ],
)
def test_a_trial_that_crashes_hangs_or_talks_nonsense_leaves_the_old_model_running(
    new_slot: NewSlot, put_bundle: PutBundle, code: str, reason: str
) -> None:
    bundle = put_bundle(0.0)
    offer(new_slot(), bundle, 1)
    slot = new_slot(command=(sys.executable, "-c", code), trial_timeout_s=1)
    slot.restore(None)
    with pytest.raises(Unsupported, match=reason):
        offer(slot, put_bundle(0.1), 2)
    assert slot.require().ref.release == 1
    assert slot.book.runnable()[0].bundle_id == bundle.bundle_id
    assert slot.book.refusals()[-1].release == 2


def test_a_trial_may_not_use_more_memory_than_it_is_given(new_slot: NewSlot, put_bundle: PutBundle) -> None:
    with pytest.raises(Unsupported, match="refused"):
        offer(new_slot(trial_max_bytes=64 * MIB), put_bundle(0.0), 1)


def test_a_model_that_is_too_slow_is_refused(new_slot: NewSlot, put_bundle: PutBundle) -> None:
    with pytest.raises(Unsupported, match="ms an item"):
        offer(new_slot(max_latency_ms=1e-6), put_bundle(0.0), 1)


def test_a_bundle_whose_bytes_changed_before_its_trial_is_refused(new_slot: NewSlot, put_bundle: PutBundle) -> None:
    bundle = put_bundle(0.0)
    (bundle.folder / "evidence.json").write_bytes(b"[]")
    with pytest.raises(Unsupported, match=r"evidence\.json was changed"):
        offer(new_slot(), bundle, 1)


def test_an_agent_that_stops_during_a_trial_has_refused_nothing(new_slot: NewSlot, put_bundle: PutBundle) -> None:
    stopping = threading.Event()
    slot = new_slot(command=(sys.executable, "-c", "while True: pass"), stopping=stopping)
    threading.Timer(0.3, stopping.set).start()
    with pytest.raises(TryLater, match="stopping"):
        offer(slot, put_bundle(0.0), 1)
    assert slot.book.refusals() == ()


def test_without_a_model_the_station_says_what_to_do(new_slot: NewSlot) -> None:
    with pytest.raises(StationFault, match="publish a release"):
        new_slot().require()


def test_the_floor_only_rises(new_slot: NewSlot, put_bundle: PutBundle) -> None:
    slot = new_slot()
    offer(slot, put_bundle(0.0), 5, floor=4)
    offer(slot, put_bundle(0.1), 6, floor=2)
    assert slot.book.floor() == 4


def test_a_release_that_fell_below_the_floor_is_not_fallen_back_to(
    new_slot: NewSlot, put_bundle: PutBundle, home: Home
) -> None:
    slot = new_slot(watch_scans=0)
    offer(slot, put_bundle(0.0), 1)
    newer = put_bundle(0.1)
    offer(slot, newer, 2, floor=2)
    assert slot.book.floor() == 2, "nothing is watched here: the floor holds at once"
    (newer.folder / "evidence.json").write_bytes(b"[]")
    restarted = new_slot(watch_scans=0)
    restarted.restore(None)
    assert restarted.current is None


def test_a_bundle_that_failed_stays_refused_for_its_release_and_older_ones(new_slot: NewSlot) -> None:
    book = new_slot().book
    book.refuse(BundleId("a" * 64), release(5), "bad")
    assert book.is_refused(BundleId("a" * 64), release(5))
    assert book.is_refused(BundleId("a" * 64), release(4))
    assert not book.is_refused(BundleId("a" * 64), release(6))
    assert not book.is_refused(BundleId("b" * 64), release(5))


def test_a_commit_that_the_disk_refuses_leaves_the_old_model_in_the_slot(
    new_slot: NewSlot, put_bundle: PutBundle, outbox: Outbox
) -> None:
    slot = new_slot()
    offer(slot, put_bundle(0.0), 1)
    outbox._db.execute("PRAGMA query_only = ON")
    with pytest.raises(StationFault):
        offer(slot, put_bundle(0.1), 2)
    outbox._db.execute("PRAGMA query_only = OFF")
    assert slot.require().ref.release == 1


def test_a_swap_during_scans_drops_none_and_each_scan_has_one_model(
    new_slot: NewSlot, put_bundle: PutBundle, home: Home, outbox: Outbox, photo_of: Callable[..., bytes]
) -> None:
    from edge_agent.identity import require_identity

    slot = new_slot()
    bundles = [put_bundle(bias) for bias in (0.0, 3.0, -3.0)]
    offer(slot, bundles[0], 1)
    station = Station(
        identity=require_identity(home), outbox=outbox, photos=ContentFolder(home.photos), min_free_bytes=0
    )
    swapped, failures, scans = threading.Event(), [], [0, 0]

    def scan(worker: int) -> None:
        try:
            while not swapped.is_set():
                number = scans[worker]
                request = ScanRequest(
                    item_id=f"{worker}-{number}", photos={"logo": (photo_of(128, seed=number % 5),)}, listing=None
                )
                station.scan(request, slot.require)
                scans[worker] += 1
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    workers = [threading.Thread(target=scan, args=(worker,)) for worker in (0, 1)]
    for worker in workers:
        worker.start()
    for number, bundle in enumerate(bundles[1:], 2):
        offer(slot, bundle, number)
    time.sleep(0.1)
    swapped.set()
    for worker in workers:
        worker.join()
    assert failures == []
    assert outbox.tally().recorded == sum(scans) > 0
    seen = set()
    ids = {number: bundle.bundle_id for number, bundle in enumerate(bundles, 1)}
    p_of: dict[tuple[int, str], set[float | None]] = {}
    for one in outbox.lease(now_s=0, lease_s=1, limit=100_000):
        record = one.record
        seen.add(record.model.release)
        assert record.model.bundle_id == ids[record.model.release]
        key = (record.model.release, record.views[0].photo)
        p_of.setdefault(key, set()).add(record.prediction.p_counterfeit)
    assert seen == {1, 2, 3}
    assert all(len(values) == 1 for values in p_of.values()), "a scan was decided by two models"


def test_a_trial_goes_first_when_memory_runs_out() -> None:
    code = (
        "import sys, edge_agent.trial as trial\n"
        "def tried(order):\n"
        "    return trial.TrialResult(problems=(open('/proc/self/oom_score_adj').read().strip(),))\n"
        "trial.try_variant = tried\n"
        "sys.exit(trial.main(sys.argv[1:]))"
    )
    order = TrialOrder(bundle="", variant=None, threads=1, timeout_s=30, max_bytes=0)
    result = run_trial(order, stopping=threading.Event(), command=(sys.executable, "-c", code))
    assert result.problems == ("1000",)
