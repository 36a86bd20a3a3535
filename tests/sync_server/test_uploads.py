"""Photos that come in pieces, over real HTTP: they go on where they stopped, and only the right bytes count."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import TryLater, Unsupported
from runtime.contracts.records import MAX_PHOTO_BYTES, StationId
from runtime.contracts.sync import MAX_CHUNK_BYTES, UPLOAD_LENGTH, UPLOAD_OFFSET
from sync_server import uploads
from sync_server.app import create_app
from sync_server.blobs import Blobs
from sync_server.refusals import WrongOffset
from sync_server.settings import read_settings
from sync_server.uploads import KEPT_S, Uploads

KIB = 1024


@pytest.fixture
def photo(png):
    """``photo(seed)``: some 300 KiB that begin as a PNG does."""
    return lambda seed: png(seed) + hashlib.sha256(str(seed).encode()).digest() * (300 * KIB // 32)


def path_of(data: bytes) -> str:
    return f"/v1/photos/{sha256_hex(data)}"


def offset_of(answer) -> int:
    return int(answer.headers[UPLOAD_OFFSET])


def send(station, data: bytes, offset: int, end: int, length: int | None = None):
    headers = {UPLOAD_OFFSET: str(offset), UPLOAD_LENGTH: str(length or len(data))}
    return station.send("PATCH", path_of(data), data[offset:end], **headers)


@pytest.fixture
def other(home, client, station_class):
    fake = station_class(client)
    fake.enrol(home.code())
    return fake


def test_a_photo_in_pieces_counts_once_it_is_whole(station, people, photo) -> None:
    data = photo(1)
    asked = station.send("HEAD", path_of(data))
    assert (asked.status_code, offset_of(asked)) == (404, 0)
    first = send(station, data, 0, 100_000)
    assert (first.status_code, offset_of(first), first.content) == (204, 100_000, b"")
    asked = station.send("HEAD", path_of(data))
    assert (asked.status_code, offset_of(asked)) == (404, 100_000)
    assert people["viewer"].send("GET", path_of(data)).status_code == 404
    assert send(station, data, 100_000, 200_000).status_code == 204
    last = send(station, data, 200_000, len(data))
    assert (last.status_code, last.json()) == (201, {"id": sha256_hex(data), "new": True})
    assert station.send("HEAD", path_of(data)).status_code == 200
    assert people["viewer"].send("GET", path_of(data)).content == data
    record = station.record("in pieces", (data,))
    assert station.put_record(record).status_code == 201


def test_a_piece_sent_again_or_elsewhere_changes_nothing_and_is_told_where_it_goes_on(station, photo) -> None:
    data = photo(2)
    early = send(station, data, 50_000, 60_000)
    assert (early.status_code, early.json()["type"], offset_of(early)) == (409, "/problems/wrong-offset", 0)
    send(station, data, 0, 100_000)
    for offset, end in ((0, 100_000), (50_000, 150_000), (100_001, 150_000)):
        again = send(station, data, offset, end)
        assert (again.status_code, offset_of(again)) == (409, 100_000)
    assert send(station, data, 100_000, len(data)).status_code == 201
    repeated = send(station, data, 100_000, len(data))  # its answer was lost
    assert (repeated.status_code, repeated.json()) == (200, {"id": sha256_hex(data), "new": False})


def test_bytes_that_are_not_the_promised_photo_are_thrown_away(station, photo) -> None:
    data = photo(3)
    wrong = data[:100_000] + b"!" + data[100_001:]
    headers = {UPLOAD_OFFSET: "0", UPLOAD_LENGTH: str(len(data))}
    answer = station.send("PATCH", path_of(data), wrong, **headers)
    assert (answer.status_code, answer.json()["type"], offset_of(answer)) == (400, "/problems/upload-spoilt", 0)
    assert "thrown away" in answer.json()["detail"]
    assert offset_of(station.send("HEAD", path_of(data))) == 0
    assert send(station, data, 0, len(data)).status_code == 201


def test_a_file_that_is_no_photo_is_not_kept_in_pieces_either(station) -> None:
    data = b"<script>alert(1)</script>"
    answer = send(station, data, 0, len(data))
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/untrusted")
    assert offset_of(station.send("HEAD", path_of(data))) == 0


def test_pieces_and_lengths_that_cannot_be_are_refused(station, photo) -> None:
    data = photo(4)
    for headers, status in (
        ({UPLOAD_OFFSET: "0", UPLOAD_LENGTH: str(MAX_PHOTO_BYTES + 1)}, 422),
        ({UPLOAD_OFFSET: "0", UPLOAD_LENGTH: "10"}, 422),
        ({UPLOAD_OFFSET: "-1", UPLOAD_LENGTH: "10"}, 422),
        ({UPLOAD_OFFSET: "0"}, 422),
    ):
        assert station.send("PATCH", path_of(data), data[:100], **headers).status_code == status
    too_much = send(station, data.ljust(MAX_CHUNK_BYTES + 1, b"\0"), 0, MAX_CHUNK_BYTES + 1)
    assert (too_much.status_code, too_much.json()["type"]) == (413, "/problems/too-large")


def test_a_piece_is_bound_to_its_bytes_by_the_stations_signature(station, photo) -> None:
    data = photo(5)
    token = station.token("PATCH", path_of(data), data[:1000])
    headers = {"Authorization": f"Bearer {token}", UPLOAD_OFFSET: "0", UPLOAD_LENGTH: str(len(data))}
    answer = station.client.patch(path_of(data), content=data[:999] + b"!", headers=headers)
    assert answer.status_code == 401
    assert offset_of(station.send("HEAD", path_of(data))) == 0


def test_a_begun_photo_that_then_comes_whole_is_one_photo(station, photo) -> None:
    data = photo(6)
    send(station, data, 0, 1000)
    assert station.put_photo(data).status_code == 201  # an old agent, on the same station
    late = send(station, data, 1000, 2000)
    assert (late.status_code, late.json()["new"]) == (200, False)


def test_two_stations_that_bring_the_same_photo_do_not_spoil_each_others(station, other, people, photo) -> None:
    data = photo(7)
    assert send(station, data, 0, 200_000).status_code == 204
    assert offset_of(other.send("HEAD", path_of(data))) == 0
    assert send(other, data, 0, 100_000).status_code == 204
    assert send(station, data, 200_000, len(data)).status_code == 201
    assert send(other, data, 100_000, len(data)).status_code == 200
    assert people["viewer"].send("GET", path_of(data)).content == data


def test_requests_that_race_for_one_photo_never_spoil_it(station, other, people, photo) -> None:
    data = photo(8)

    def bring(fake) -> set[int]:
        seen = set()
        with httpx.Client(base_url=station.client.base_url, timeout=30) as own:
            mine = type(fake)(own, fake.key, fake.station_id)
            while (asked := mine.send("HEAD", path_of(data))).status_code != 200:
                seen.add(send(mine, data, offset := offset_of(asked), offset + 20_000).status_code)
        return seen

    with ThreadPoolExecutor(6) as pool:
        seen = set().union(*pool.map(bring, (station, other, station, other, station, other)))
    assert seen <= {200, 201, 204, 409, 503}
    assert people["viewer"].send("GET", path_of(data)).content == data


def test_a_connection_that_breaks_in_a_piece_costs_that_piece_alone(station, server, photo) -> None:
    data = photo(9)
    send(station, data, 0, 100_000)
    path, piece = path_of(data), data[100_000:200_000]
    host, port = server.url.removeprefix("http://").split(":")
    head = f"PATCH {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(piece)}\r\n"
    head += f"{UPLOAD_OFFSET}: 100000\r\n{UPLOAD_LENGTH}: {len(data)}\r\n"
    head += f"Authorization: Bearer {station.token('PATCH', path, piece)}\r\n\r\n"
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(head.encode() + piece[:50_000])
    assert offset_of(station.send("HEAD", path)) == 100_000
    assert send(station, data, 100_000, len(data)).status_code == 201  # and nothing was logged: see the server fixture


def test_a_server_that_is_killed_between_pieces_goes_on_where_it_was(home, server_class, station_class, photo) -> None:
    data = photo(10)
    running = server_class(home.home)
    with httpx.Client(base_url=running.url) as client:
        fake = station_class(client)
        fake.enrol(home.code())
        assert send(fake, data, 0, 150_000).status_code == 204
    running.stop(signal.SIGKILL)
    running.start()
    with httpx.Client(base_url=running.url) as client:
        fake.client = client
        asked = fake.send("HEAD", path_of(data))
        assert (asked.status_code, offset_of(asked)) == (404, 150_000)
        assert send(fake, data, 150_000, len(data)).status_code == 201
    running.stop()


S = StationId("st-1")


def test_what_a_power_cut_tore_goes_on_from_what_is_there(tmp_path: Path, photo) -> None:
    data, found = photo(11), Uploads(Blobs(tmp_path))
    sha256 = sha256_hex(data)
    found.append(sha256, S, offset=0, length=len(data), piece=data[:1000])
    (part,) = tmp_path.glob("unfinished/*.part")
    with part.open("ab") as file:
        file.write(data[1000:1234])  # killed in the middle of writing a piece
    assert found.offset(sha256, S) == 1234
    with pytest.raises(WrongOffset) as refused:
        found.append(sha256, S, offset=1000, length=len(data), piece=data[1000:2000])
    assert refused.value.offset == 1234
    with part.open("ab") as file:
        file.write(data[1234:])  # killed after the last byte, before it was looked at
    done = found.append(sha256, S, offset=len(data), length=len(data), piece=b"")
    assert done.photo is not None and done.photo.size == len(data)
    assert Blobs(tmp_path).read(sha256) == data
    assert not list(tmp_path.glob("unfinished/*"))


def test_a_beginning_that_is_longer_than_the_photo_is_begun_again(tmp_path: Path, photo) -> None:
    data, found = photo(12), Uploads(Blobs(tmp_path))
    sha256 = sha256_hex(data)
    found.append(sha256, S, offset=0, length=len(data) + 500, piece=data + b"x" * 100)
    with pytest.raises(WrongOffset) as refused:
        found.append(sha256, S, offset=len(data), length=len(data), piece=b"")
    assert refused.value.offset == 0
    assert found.append(sha256, S, offset=0, length=len(data), piece=data).photo is not None


def test_two_requests_of_one_station_take_turns(tmp_path: Path, photo) -> None:
    data, found = photo(13), Uploads(Blobs(tmp_path))
    sha256 = sha256_hex(data)
    found.append(sha256, S, offset=0, length=len(data), piece=data[:1000])
    (part,) = tmp_path.glob("unfinished/*.part")
    with part.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as another process does that has it in hand
        with pytest.raises(TryLater, match="another request"):
            found.append(sha256, S, offset=1000, length=len(data), piece=data[1000:])
    assert found.append(sha256, S, offset=1000, length=len(data), piece=data[1000:]).photo is not None


def test_a_request_that_opened_what_another_has_just_finished_does_not_write_into_it(
    tmp_path: Path, photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, found = photo(14), Uploads(Blobs(tmp_path))
    sha256 = sha256_hex(data)
    found.append(sha256, S, offset=0, length=len(data), piece=data[:1000])
    flock = uploads.fcntl.flock

    def finished_meanwhile(*arguments: object) -> None:
        monkeypatch.setattr(uploads.fcntl, "flock", flock)
        found.append(sha256, S, offset=1000, length=len(data), piece=data[1000:])
        flock(*arguments)

    monkeypatch.setattr(uploads.fcntl, "flock", finished_meanwhile)
    with pytest.raises(TryLater, match="another request"):
        found.append(sha256, S, offset=len(data), length=len(data) + 3, piece=b"abc")
    assert Blobs(tmp_path).read(sha256) == data


def test_a_station_cannot_leave_its_folder(tmp_path: Path) -> None:
    with pytest.raises(Unsupported):
        Uploads(Blobs(tmp_path)).offset("a" * 64, StationId("../../etc"))


def test_unfinished_photos_are_given_up_after_a_day_when_the_server_starts_and_while_it_runs(
    home, photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read_settings(home.home)
    found = Uploads(Blobs(settings.blobs))
    old, young = photo(15), photo(16)
    for data in (old, young):
        found.append(sha256_hex(data), S, offset=0, length=len(data), piece=data[:1000])
    long_ago = time.time() - KEPT_S - 60

    def age() -> None:
        (part,) = settings.blobs.glob(f"unfinished/{sha256_hex(old)}*")
        os.utime(part, (long_ago, long_ago))

    age()
    create_app(settings)
    assert [found.offset(sha256_hex(data), S) for data in (old, young)] == [0, 1000]
    found.append(sha256_hex(old), S, offset=0, length=len(old), piece=old[:1000])
    age()
    another = photo(17)
    found.append(sha256_hex(another), S, offset=0, length=len(another), piece=another[:10])
    assert found.offset(sha256_hex(old), S) == 1000, "not at each beginning"
    monkeypatch.setattr(found, "_swept_s", time.monotonic() - 3700)
    another = photo(18)
    found.append(sha256_hex(another), S, offset=0, length=len(another), piece=another[:10])
    assert [found.offset(sha256_hex(data), S) for data in (old, young)] == [0, 1000]
