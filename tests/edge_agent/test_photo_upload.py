"""Photos go up in pieces: what is there already is never sent again, whoever dies; and old servers get them whole."""

from __future__ import annotations

import json
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from edge_agent.bandwidth import Bandwidth
from edge_agent.home import Home
from edge_agent.meter import Meter
from edge_agent.outbox import Outbox
from edge_agent.photo_upload import PhotoUpload
from edge_agent.server_link import RefusedForGood, ServerLink
from runtime.contracts.durable import ContentFolder, sha256_hex
from runtime.contracts.errors import TryLater
from runtime.contracts.sync import UPLOAD_LENGTH, UPLOAD_OFFSET
from tests.edge_agent.rigs import FAST, Asked, Daemon, RealServer, Say, make_record, say_json, say_problem, wait_until
from tests.edge_agent.rigs import scripted_server as scripted
from tests.edge_agent.slow_line import SlowLine, slow_line

MIB = 1024 * 1024
PIECE = 64 * 1024
PHOTO = b"\x89PNG\r\n\x1a\n" + random.Random(5).randbytes(250_000)
HASH = sha256_hex(PHOTO)


class Pieces:
    """A server that takes photos in pieces, with a place to go wrong: ``first`` may answer instead."""

    def __init__(self, first: Callable[[Asked], Say | None] = lambda _: None) -> None:
        self.held = b""
        self.whole = b""
        self.first = first

    def __call__(self, asked: Asked) -> Say:
        return self.first(asked) or self.honestly(asked)

    def honestly(self, asked: Asked) -> Say:
        there = {UPLOAD_OFFSET: str(len(self.held))}
        if asked.method == "HEAD":
            return Say(status=200) if self.whole else Say(status=404, headers=there)
        if asked.method == "PUT":
            self.whole = asked.body
            return say_json({"id": HASH, "new": True}, 201)
        if int(asked.headers[UPLOAD_OFFSET]) != len(self.held):
            return with_offset(say_problem(409, "wrong-offset"), len(self.held))
        self.held += asked.body
        if len(self.held) < int(asked.headers[UPLOAD_LENGTH]):
            return Say(status=204, headers={UPLOAD_OFFSET: str(len(self.held))})
        if sha256_hex(self.held) != HASH:
            self.held = b""
            return with_offset(say_problem(400, "upload-spoilt"), 0)
        self.whole = self.held
        return say_json({"id": HASH, "new": True}, 201)


def with_offset(say: Say, offset: int) -> Say:
    say.headers = {UPLOAD_OFFSET: str(offset)}
    return say


Send = Callable[[str], bool]


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


@pytest.fixture
def send_to(
    tmp_path: Path, outbox: Outbox, link_to: Callable[..., ServerLink], stopping: threading.Event
) -> Callable[[str], bool]:
    photos = ContentFolder(tmp_path / "photos")
    photos.put(PHOTO)

    def send(url: str) -> bool:
        link = link_to(url, timeout=httpx.Timeout(2))
        meter = Meter(outbox, Bandwidth())
        upload = PhotoUpload(photos=photos, link=link, meter=meter, piece_bytes=PIECE, stopping=stopping)
        return upload.send(HASH, urgent=True)

    return send


def methods(asked: list[Asked]) -> str:
    return "".join(one.method[:2].lower() for one in asked)


def test_a_photo_goes_in_pieces_one_after_the_other(send_to: Send) -> None:
    server = Pieces()
    with scripted(server) as (url, asked):
        assert send_to(url)
        assert send_to(url)
    assert server.whole == PHOTO
    assert methods(asked) == "he" + 4 * "pa" + "he"
    assert max(len(one.body) for one in asked) == PIECE


def test_it_goes_on_where_the_server_says_that_it_stopped(send_to: Send) -> None:
    server = Pieces()
    server.held = PHOTO[:200_001]
    with scripted(server) as (url, asked):
        assert send_to(url)
    assert server.whole == PHOTO
    assert sum(len(one.body) for one in asked) == len(PHOTO) - 200_001


def test_a_photo_that_only_has_to_be_finished_is_finished(send_to: Send) -> None:
    server = Pieces()
    server.held = PHOTO
    with scripted(server) as (url, asked):
        assert send_to(url)
    assert server.whole == PHOTO
    assert [len(one.body) for one in asked] == [0, 0]


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_that_knows_no_pieces_gets_the_photo_whole(send_to: Send, status: int) -> None:
    server = Pieces(lambda asked: say_problem(status) if asked.method == "PATCH" else None)
    with scripted(server) as (url, asked):
        assert send_to(url)
    assert (server.whole, methods(asked)) == (PHOTO, "hepapu")


def test_a_server_that_tells_of_no_offset_gets_the_photo_whole_at_once(send_to: Send) -> None:
    server = Pieces(lambda asked: Say(status=404) if asked.method == "HEAD" else None)
    with scripted(server) as (url, asked):
        assert send_to(url)
    assert (server.whole, methods(asked)) == (PHOTO, "hepu")


def test_bytes_that_were_spoilt_at_the_server_are_sent_again_from_the_beginning(send_to: Send) -> None:
    server = Pieces()
    server.held = b"x" * 100_000
    with scripted(server) as (url, _):
        assert send_to(url)
    assert server.whole == PHOTO


def test_a_server_that_spoils_every_byte_is_not_sent_them_for_ever(send_to: Send) -> None:
    def spoil(asked: Asked) -> Say | None:
        if asked.method != "PATCH":
            return None
        at = int(asked.headers[UPLOAD_OFFSET]) + len(asked.body)
        whole = at == len(PHOTO)
        return (
            with_offset(say_problem(400, "upload-spoilt"), 0) if whole else Say(204, headers={UPLOAD_OFFSET: str(at)})
        )

    with scripted(Pieces(spoil)) as (url, asked), pytest.raises(RefusedForGood):
        send_to(url)
    assert methods(asked).count("pa") == 12


def test_an_upload_that_somebody_else_moves_again_and_again_is_left_for_later(send_to: Send) -> None:
    moved = iter(range(1000))
    server = Pieces(
        lambda asked: with_offset(say_problem(409, "wrong-offset"), next(moved)) if asked.method == "PATCH" else None
    )
    with scripted(server) as (url, asked), pytest.raises(TryLater, match="somebody else"):
        send_to(url)
    assert len(asked) == 4


@pytest.mark.parametrize("lie", [Say(status=204), Say(status=204, headers={UPLOAD_OFFSET: "7"})])
def test_a_box_in_between_that_takes_everything_gets_no_further_piece(send_to: Send, lie: Say) -> None:
    server = Pieces(lambda asked: lie if asked.method == "PATCH" else None)
    with scripted(server) as (url, asked), pytest.raises(TryLater, match="the server's word"):
        send_to(url)
    assert methods(asked) == "hepa"


def test_a_stopping_agent_sends_no_further_piece(send_to: Send, stopping: threading.Event) -> None:
    server = Pieces(lambda asked: stopping.set() if asked.method == "PATCH" else None)  # type: ignore[func-returns-value]
    with scripted(server) as (url, asked):
        assert not send_to(url)
    assert (server.held, methods(asked)) == (PHOTO[:PIECE], "hepa")


BIG = b"\x89PNG\r\n\x1a\n" + random.Random(6).randbytes(3 * MIB)
SLACK = 3 * PIECE + 40_000


class Far:
    """A station with one case of a big photo, on a slow line to a real server."""

    def __init__(self, server: RealServer, home: Path, line: SlowLine) -> None:
        self.server = server
        self.home = Home(root=server.enrolled(home))
        self.line = line
        (home / "agent.toml").write_text(f'{FAST}uplink_chunk_bytes = {PIECE}\nserver = "{line.url}"\n')
        station_id = json.loads(self.home.identity_file.read_text())["station_id"]
        self.photo = BIG + station_id.encode()
        sha256 = ContentFolder(self.home.photos).put(self.photo)
        self.outbox = Outbox(self.home.database_file)
        self.outbox.add(make_record(int(station_id[3:], 16), photos=[sha256], station_id=station_id))
        self.station_id = station_id
        self.stored = server.home / "blobs" / sha256[:2] / sha256
        self.daemon = Daemon(home)

    def held_bytes(self) -> int:
        parts = list(self.server.home.glob(f"blobs/unfinished/*{self.station_id}.part"))
        return parts[0].stat().st_size if parts else 0

    def wait_for(self, held_bytes: int) -> None:
        wait_until(lambda: self.held_bytes() > held_bytes, "the server has some of the photo")

    def finish(self) -> None:
        self.line.bytes_per_s = 0
        wait_until(lambda: self.outbox.tally().acked == 1, "the case is at the server", 60)
        assert self.stored.read_bytes() == self.photo
        assert len(self.server.cases_of(self.station_id)) == 1


@pytest.fixture
def far(server: RealServer, tmp_path: Path) -> Iterator[Far]:
    with slow_line(server.url, bytes_per_s=2 * MIB) as line:
        rig = Far(server, tmp_path / "station", line)
        try:
            yield rig
        finally:
            rig.daemon.end(signal.SIGKILL) if rig.daemon.process.poll() is None else None
            rig.outbox.close()


def test_a_cut_line_costs_a_piece_and_not_the_photo(far: Far) -> None:
    for held_bytes in (MIB, 2 * MIB):
        far.wait_for(held_bytes)
        far.line.cut()
    far.finish()
    assert far.line.sent_bytes < len(far.photo) + 2 * SLACK


def test_a_killed_agent_goes_on_where_it_was(far: Far) -> None:
    far.wait_for(MIB)
    far.daemon.end(signal.SIGKILL)
    held, far.line.sent_bytes = far.held_bytes(), 0
    far.daemon = Daemon(far.home.root)
    far.finish()
    assert far.line.sent_bytes < len(far.photo) - held + SLACK


def test_a_killed_server_goes_on_where_it_was(far: Far) -> None:
    far.wait_for(MIB)
    far.server.stop(signal.SIGKILL)
    held, far.line.sent_bytes = far.held_bytes(), 0
    assert held > MIB
    far.server.start_again()
    far.line.target = far.server.url
    far.finish()
    assert far.line.sent_bytes < len(far.photo) - held + SLACK
