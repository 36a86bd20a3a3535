"""A full disk, on a real small file system: nothing half written, cases kept, and scanning resumes by itself."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.disk import PhotoBudget, free_bytes, make_room
from edge_agent.home import Home
from edge_agent.outbox import Outbox
from edge_agent.server_link import ServerLink
from edge_agent.uplink import Uplink
from runtime.contracts.durable import ContentFolder, sha256_hex
from runtime.contracts.errors import StationFault
from tests.edge_agent.conftest import give_model
from tests.edge_agent.rigs import (
    Asked,
    Daemon,
    Say,
    agent,
    make_home,
    make_record,
    say_json,
    scripted_server,
    wait_until,
)


@pytest.fixture
def full_home(small_disk: Path, tiny_bundle: Callable[..., Path]) -> Home:
    home = give_model(make_home(small_disk / "station"), tiny_bundle)
    (home.root / "agent.toml").write_text("min_free_bytes = 0\nthreads = 1\n")
    return home


def fill_up(folder: Path, leave_bytes: int = 0) -> Path:
    filler = folder / "filler"
    with filler.open("wb") as file:
        file.write(b"\0" * max(0, free_bytes(folder) - leave_bytes))
        file.flush()
    return filler


@pytest.mark.parametrize("leave_bytes", [0, 4096, 8192, 16384, 32768])
def test_a_scan_on_a_full_disk_shows_no_verdict_records_nothing_and_works_again_afterwards(
    full_home: Home, tmp_path: Path, photo_of: Callable[..., bytes], leave_bytes: int
) -> None:
    photo = tmp_path / "logo.jpg"
    photo.write_bytes(photo_of(140, size=(160, 160)))
    assert agent("scan", photo, "--item", "before", "--home", full_home.root).returncode == 0
    filler = fill_up(full_home.root, leave_bytes)
    done = agent("scan", photo, "--item", "i", "--home", full_home.root)
    if done.returncode == 0:
        pytest.skip(f"the scan found room in {leave_bytes} bytes")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "disk" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    filler.unlink()
    outbox = Outbox(full_home.database_file)
    assert outbox.tally().recorded == 1
    outbox.close()
    assert not list(full_home.photos.glob("*/.*"))
    assert agent("scan", photo, "--item", "i", "--home", full_home.root).returncode == 0


def test_the_oldest_confident_photos_go_first_and_their_records_stay(small_disk: Path) -> None:
    outbox, photos = Outbox(small_disk / "station.db"), ContentFolder(small_disk / "photos")
    hashes = [photos.put(os.urandom(512 * 1024)) for _ in range(6)]
    verdicts = ["authentic", "uncertain", "authentic", "suspect", "authentic", "authentic"]
    for number, (sha256, verdict) in enumerate(zip(hashes, verdicts, strict=True)):
        outbox.add(make_record(number, verdict=verdict, audited=number == 5, photos=[sha256]))  # type: ignore[arg-type]
    wanted = free_bytes(small_disk) + 700 * 1024
    assert make_room(outbox, photos, wanted) == 2
    assert [sha256 in photos for sha256 in hashes] == [False, True, False, True, True, True]
    assert outbox.tally().recorded == 6

    with pytest.raises(StationFault, match="only photos of cases are left"):
        make_room(outbox, photos, 2**40)
    assert [sha256 in photos for sha256 in hashes] == [False, True, False, True, False, True], "cases never go"
    outbox.close()


def test_the_photos_keep_to_their_budget_in_the_same_order(tmp_path: Path) -> None:
    outbox, photos = Outbox(tmp_path / "station.db"), ContentFolder(tmp_path / "photos")
    hashes = [photos.put(bytes([number]) * 100_000) for number in range(6)]
    verdicts = ["authentic", "uncertain", "authentic", "suspect", "authentic", "authentic"]
    for number, (sha256, verdict) in enumerate(zip(hashes, verdicts, strict=True)):
        outbox.add(make_record(number, verdict=verdict, audited=number == 5, photos=[sha256]))  # type: ignore[arg-type]
    assert make_room(outbox, photos, 0, PhotoBudget(photos, 600_000)) == 0
    assert make_room(outbox, photos, 0, PhotoBudget(photos, 450_000)) == 2
    assert [sha256 in photos for sha256 in hashes] == [False, True, False, True, True, True]
    with pytest.raises(StationFault, match=r"max_photo_bytes allows 0, and only photos of cases are left"):
        make_room(outbox, photos, 0, PhotoBudget(photos, 200_000))
    assert [sha256 in photos for sha256 in hashes] == [False, True, False, True, False, True], "cases never go"
    outbox.close()


def test_a_budget_knows_what_this_process_stores_and_removes_and_recounts_the_rest(tmp_path: Path) -> None:
    photos = ContentFolder(tmp_path / "photos")
    photos.put(b"there before")
    budget = PhotoBudget(photos, 1)
    assert budget.held_bytes() == 12
    for _ in range(2):
        budget.put(b"new", sha256_hex(b"new"))
    assert budget.held_bytes() == 15
    for _ in range(2):
        budget.remove(sha256_hex(b"new"))
    assert budget.held_bytes() == 12
    photos.put(b"by another process")
    assert budget.held_bytes() == 12
    budget.recount()
    assert budget.held_bytes() == 30


def test_without_a_budget_nobody_looks_through_the_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = ContentFolder(tmp_path / "photos")
    monkeypatch.setattr(PhotoBudget, "_looked_through", None)
    budget = PhotoBudget(photos)
    budget.put(b"a", sha256_hex(b"a"))
    budget.recount()
    assert budget.held_bytes() == 0


def test_a_scan_keeps_to_the_budget_of_the_photos(
    home_with_model: Home, tmp_path: Path, photo_of: Callable[..., bytes]
) -> None:
    def scan(red: int, seed: int) -> subprocess.CompletedProcess[str]:
        photos = [tmp_path / f"{view}.jpg" for view in ("logo", "stitching")]
        for number, photo in enumerate(photos):
            photo.write_bytes(photo_of(red, seed=2 * seed + number))
        return agent("scan", *photos, "--item", f"i{seed}", "--home", home_with_model.root)

    max_photo_bytes = 5 * len(photo_of(20))
    (home_with_model.root / "agent.toml").write_text(f"min_free_bytes = 0\nmax_photo_bytes = {max_photo_bytes}\n")
    for seed in range(6):
        done = scan(20, seed)
        assert (done.returncode, "confirmed" in done.stdout) == (0, True), done.stderr
        # Looked at before each photo, so one may be over.
        assert PhotoBudget(ContentFolder(home_with_model.photos), 1).held_bytes() < 1.3 * max_photo_bytes
    assert len(list(ContentFolder(home_with_model.photos))) >= 4
    for seed in range(6, 10):  # cases now
        done = scan(140, seed)
    assert (done.returncode, done.stdout) == (2, "")
    assert "max_photo_bytes allows" in done.stderr
    assert "only photos of cases are left" in done.stderr


def test_a_crash_between_deleting_and_noting_it_is_harmless(small_disk: Path) -> None:
    outbox, photos = Outbox(small_disk / "station.db"), ContentFolder(small_disk / "photos")
    sha256 = photos.put(os.urandom(1024))
    outbox.add(make_record(1, verdict="authentic", photos=[sha256]))
    photos.path(sha256).unlink()
    with pytest.raises(StationFault):
        make_room(outbox, photos, 2**40)
    assert outbox.drop_oldest(str) is None
    outbox.close()


def test_a_record_whose_ack_found_the_disk_full_is_sent_again_by_the_next_pass(
    small_disk: Path, link_to: Callable[..., ServerLink]
) -> None:
    outbox, photos = Outbox(small_disk / "station.db"), ContentFolder(small_disk / "photos")
    for number in range(3):
        outbox.add(make_record(number, verdict="authentic"))
    fillers: list[Path] = []

    def fills_the_disk(asked: Asked) -> Say:
        if not fillers:
            fillers.append(fill_up(small_disk))
        return say_json({"id": asked.path.rpartition("/")[2], "new": True}, 201)

    with scripted_server(fills_the_disk) as (url, _):
        uplink = Uplink(outbox=outbox, photos=photos, link=link_to(url), stopping=threading.Event(), now_s=lambda: 0.0)
        with pytest.raises(StationFault, match="full"):
            uplink.push()
        assert outbox.tally().acked == 0
        fillers[0].unlink()
        assert uplink.push().acked == 3, "long before the lease ends"
    outbox.close()


def test_the_daemon_keeps_items_while_only_cases_are_left_and_goes_on_by_itself(
    full_home: Home, photo_of: Callable[..., bytes], tmp_path: Path, small_disk: Path
) -> None:
    (full_home.root / "agent.toml").write_text(
        f"min_free_bytes = {2 * 1024 * 1024}\nwatch_every_s = 0.05\nthreads = 1\n"
    )
    item = full_home.inbox / ".item"
    item.mkdir()
    (item / "logo.jpg").write_bytes(photo_of(140))
    item.rename(full_home.inbox / "item")
    filler = fill_up(small_disk, 1024 * 1024)
    outbox = Outbox(full_home.database_file)
    daemon = Daemon(full_home.root, log=tmp_path / "log")
    try:
        daemon.ready_line()
        wait_until(lambda: "only photos of cases are left" in daemon.log.read_text(), "it says so")
        assert (full_home.inbox / "item" / "logo.jpg").exists()
        assert outbox.tally().recorded == 0
        filler.unlink()
        wait_until(lambda: outbox.tally().recorded == 1, "it scans again")
    finally:
        daemon.end()
        outbox.close()
