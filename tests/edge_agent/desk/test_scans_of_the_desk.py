"""``POST /scans`` for conveyor software, and ``scan``, which asks the daemon where there is one."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_agent.desk import ask
from edge_agent.desk.ask import Item, as_form
from edge_agent.home import Home
from runtime.contracts.durable import ContentFolder
from runtime.contracts.errors import TouchstoneError
from tests.edge_agent.desk.rigs import Client, over_socket, running
from tests.edge_agent.rigs import agent

PhotoOf = Callable[..., bytes]


def form(*parts: tuple[str, bytes]) -> tuple[dict[str, str], bytes]:
    body = b"".join(
        b"--x\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (head.encode(), data) for head, data in parts
    )
    return {"Content-Type": "multipart/form-data; boundary=x"}, body + b"--x--\r\n"


def test_a_scan_is_recorded_once_however_often_it_is_sent(desk: Client, photo_of: PhotoOf) -> None:
    photos = {"logo": photo_of(220), "stitching": photo_of(221)}
    before = desk.get("/v1/state")["queue"]["recorded"]
    with ThreadPoolExecutor(6) as pool:
        answers = [job.result() for job in [pool.submit(desk.scan, "bag", None, **photos) for _ in range(6)]]
    assert sorted(answer.status for answer in answers) == [200] * 5 + [201]
    assert {answer.json["record_id"] for answer in answers} == {answers[0].json["record_id"]}
    assert {(answer.json["verdict"], answer.json["shown"]) for answer in answers} == {("suspect", "not confirmed")}
    assert sorted(answer.json["again"] for answer in answers) == [False] + [True] * 5
    assert desk.get("/v1/state")["queue"]["recorded"] == before + 1


def test_views_are_the_names_of_the_files_and_may_have_several(desk: Client, photo_of: PhotoOf) -> None:
    headers, body = form(
        ('name="logo~2"; filename="b"', photo_of(30)),
        ('name="item_id"', b"several"),
        ('name="logo"; filename="a"', photo_of(20)),
        ('name="listing"', b'{"price": 12.5, "age": null}'),
        ('name="box \\"x\\""; filename="c"', photo_of(40)),
    )
    answer = desk.ask("POST", "/scans", body, headers)
    assert answer.status == 201, answer.body
    assert [(one["view"], one["logit"] is None) for one in answer.json["views"]] == [
        ('box "x"', True),
        ("logo", False),
        ("logo", False),
    ]
    assert answer.json["views"][1]["logit"] < answer.json["views"][2]["logit"]
    assert [reason["code"] for reason in answer.json["reasons"]] == ["missing_view"]


@pytest.mark.parametrize(
    ("parts", "status", "says"),
    [
        ([], 422, "item_id"),
        ([('name="item_id"', b"i")], 422, "1 to 64 photos"),
        ([('name="item_id"', b"a/b"), ('name="logo"; filename="x"', b"?")], 422, "item id"),
        ([('name="item_id"', b"../../etc/passwd"), ('name="logo"; filename="x"', b"?")], 422, "item id"),
        ([('name="item_id"', b"x" * 10_240), ('name="logo"; filename="x"', b"?")], 422, "item id"),
        ([('name="item_id"', b"nul\0"), ('name="logo"; filename="x"', b"?")], 422, "item id"),
        ([('name="item_id"', b"i"), ('name="item_id"', b"j")], 422, "one each"),
        ([('name="item_id"', b"i"), ('name="colour"', b"red")], 422, "one each"),
        ([('name="item_id"', b"i"), ('name="../x"; filename="x"', b"?")], 422, "view"),
        ([('name="item_id"', b"i"), ('name="logo"; filename="x"', b"text")], 422, "photo logo"),
        ([('name="item_id"', b"i"), ('name="listing"', b"{"), ('name="logo"; filename="x"', b"?")], 400, "listing"),
        ([('name="item_id"', b"i"), ('name="listing"', b'{"a": "b"}')], 400, "expected a float"),
        ([('name="item_id"', b"i"), *[(f'name="v{n}"; filename="x"', b"?") for n in range(70)]], 422, "form"),
        ([('name="item_id"', b"x" * 300_000)], 422, "form"),
        ([("filename", b"?")], 422, "form"),
    ],
)  # fmt: skip
def test_a_form_that_is_no_scan_says_what_is_wrong_and_records_nothing(
    desk: Client, parts: list[tuple[str, bytes]], status: int, says: str
) -> None:
    before = desk.get("/v1/state")["queue"]
    headers, body = form(*parts)
    refused = desk.ask("POST", "/scans", body, headers)
    assert (refused.status, refused.headers["content-type"]) == (status, "application/problem+json")
    assert says in refused.json["detail"]
    assert desk.get("/v1/state")["queue"] == before


@pytest.mark.parametrize("code", ["'; DROP TABLE record; --", "<img src=x onerror=alert(1)>", "%2e%2e%2fetc"])
def test_an_odd_code_from_a_conveyor_is_an_item_like_any_other(desk: Client, photo_of: PhotoOf, code: str) -> None:
    headers, body = form(('name="item_id"', code.encode()), ('name="logo"; filename="x.jpg"', photo_of(20)))
    answer = desk.ask("POST", "/scans", body, headers)
    assert (answer.status, answer.json["item_id"]) == (201, code), answer.body
    assert desk.get(f"/v1/records/{answer.json['record_id']}")["item_id"] == code


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({"Content-Type": "application/json"}, b"{}"),
        ({"Content-Type": "multipart/form-data"}, b"--x--"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"no form"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\nContent-Disposition: form-data; na"),
        ({"Content-Type": "multipart/form-data; boundary=" + "x" * 9000}, b"--x--"),
    ],
)
def test_bytes_that_are_no_form_are_refused(desk: Client, headers: dict[str, str], body: bytes) -> None:
    assert desk.ask("POST", "/scans", body, headers).status == 422


def test_a_body_without_an_end_in_sight_is_refused_before_it_comes(desk: Client) -> None:
    with socket.create_connection(("127.0.0.1", desk.port), 20) as link:
        link.sendall(
            b"POST /scans HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: 99999999999\r\n\r\n"
        )
        assert link.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_scan_asks_the_daemon_and_prints_the_same_as_without(
    home_with_model: Home, tmp_path: Path, photo_of: PhotoOf
) -> None:
    for view, red in (("logo", 220), ("stitching", 221)):
        (tmp_path / f"{view}.jpg").write_bytes(photo_of(red))
    alone_home = tmp_path / "alone"
    shutil.copytree(home_with_model.root, alone_home)
    arguments = ["scan", tmp_path / "logo.jpg", "--view", f"stitching={tmp_path / 'stitching.jpg'}", "--item", "bag"]
    alone = agent(*arguments, "--home", alone_home)
    with running(home_with_model) as (_, daemon):
        asked = agent(*arguments, "--home", home_with_model.root)
        assert (asked.returncode, asked.stdout, asked.stderr) == (0, alone.stdout, "")
        (decided,) = daemon.events("decided")
        assert decided["item_id"] == "bag"
        again = agent(*arguments, "--home", home_with_model.root)
        assert again.stdout.startswith("already scanned at ")
        record = json.loads(agent(*arguments, "--json", "--home", home_with_model.root).stdout)
        assert [view["view"] for view in record["views"]] == ["logo", "stitching"]
        assert not home_with_model.desk_socket.stat().st_mode & 0o077
        torn = tmp_path / "torn.jpg"
        torn.write_bytes(photo_of(20)[:300])
        refused = agent("scan", "--view", f"logo={torn}", "--item", "torn", "--home", home_with_model.root)
        expected = agent("scan", "--view", f"logo={torn}", "--item", "torn", "--home", alone_home)
        assert (refused.returncode, refused.stderr) == (expected.returncode, expected.stderr) == (2, refused.stderr)
        assert "cut short" in refused.stderr


def test_scan_works_by_itself_beside_a_socket_that_nobody_answers(
    home_with_model: Home, tmp_path: Path, photo_of: PhotoOf
) -> None:
    (tmp_path / "logo.jpg").write_bytes(photo_of(20))
    with socket.socket(socket.AF_UNIX) as left, ask.short_path(home_with_model.desk_socket) as short:
        left.bind(short)  # as a kill leaves it
    done = agent("scan", tmp_path / "logo.jpg", "--item", "bag", "--home", home_with_model.root)
    assert done.returncode == 0, done.stderr
    assert len(list(ContentFolder(home_with_model.photos))) == 1
    with running(home_with_model) as (desk, _):
        assert desk.get("/v1/state")["queue"]["recorded"] == 1


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"SSH-2.0-x\r\n"])
def test_a_program_that_is_no_desk_is_told_in_one_line(home_with_model: Home, photo_of: PhotoOf, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        with ask.short_path(home_with_model.desk_socket) as short:
            server.bind(short)
        server.listen()

        def answer() -> None:
            link, _ = server.accept()
            with link:
                link.recv(1 << 16)
                link.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(TouchstoneError, match="desk: "):
            ask.scan(
                ask.by_socket(home_with_model.desk_socket), Item(item_id="i", photos={"logo": [b"x"]}, listing=None)
            )
        thread.join()


def test_the_socket_works_however_deep_the_home_lies(home_with_model: Home, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.parent.mkdir()
    home_with_model.root.rename(deep)
    with running(Home(root=deep)):
        assert over_socket(Home(root=deep).desk_socket, "/healthz") == 200


def test_a_form_is_read_back_as_it_was_made(desk: Client, photo_of: PhotoOf) -> None:
    names = ["logo", 'a "quoted" one', "back\u00a0space ;x=", "größe 袋", "logo~2"]
    content_type, body = as_form(
        Item(item_id='ünï; "x"', photos={name: [photo_of(20)] for name in names}, listing=None)
    )
    answer = desk.ask("POST", "/scans", body, {"Content-Type": content_type})
    assert answer.status == 201, answer.body
    assert answer.json["item_id"] == 'ünï; "x"'
    assert {one["view"] for one in answer.json["views"]} == {name.removesuffix("~2") for name in names}
