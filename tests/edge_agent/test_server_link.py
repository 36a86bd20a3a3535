"""The link: what each failure means, and whose word counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.device_key import DeviceKey
from edge_agent.server_link import EXCEPTIONS, RefusedForGood, RefusedForNow, RefusedStation, ServerLink
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import TouchstoneError, TryLater
from runtime.contracts.records import StationId
from runtime.contracts.sync import Answers
from tests.edge_agent.rigs import Asked, Say, make_home, say_json, say_problem, scripted_server

PROGRAMMING_MISTAKES = {
    "CookieConflict",
    "HTTPError",
    "HTTPStatusError",
    "RequestError",
    "TransportError",
    "RequestNotRead",
    "ResponseNotRead",
    "StreamClosed",
    "StreamConsumed",
    "StreamError",
}
LinkTo = Callable[..., ServerLink]
QUICK = httpx.Timeout(0.3)


def test_every_exception_of_httpx_has_a_meaning_or_is_a_programming_mistake() -> None:
    exceptions = {
        name: kind
        for name, kind in vars(httpx).items()
        if isinstance(kind, type) and issubclass(kind, Exception) and name not in PROGRAMMING_MISTAKES
    }
    assert len(exceptions) >= 15
    for name, kind in exceptions.items():
        assert any(issubclass(kind, known) for known, _, _ in EXCEPTIONS), f"httpx.{name} has no meaning yet"


@pytest.mark.parametrize(
    ("say", "family"),
    [
        (say_problem(400), RefusedForGood),
        (say_problem(401), RefusedStation),
        (say_problem(403), RefusedStation),
        (say_problem(409), RefusedForGood),
        (say_problem(413), RefusedForGood),
        (say_problem(422), RefusedForGood),
        (say_problem(408), RefusedForNow),
        (say_problem(429), RefusedForNow),
        (say_problem(500), RefusedForNow),
        (say_problem(503), RefusedForNow),
        (Say(status=404, body=b"<html>nothing here", kind="text/html"), RefusedForNow),
        (Say(status=403, body=b"<html>pay first", kind="text/html"), RefusedForNow),
        (Say(status=302, headers={"Location": "http://login.example/"}), RefusedForNow),
        (Say(status=400, body=b"{cut", kind="application/problem+json"), RefusedForNow),
    ],
)
def test_a_status_counts_as_final_only_with_the_servers_own_problem_document(
    link_to: LinkTo, say: Say, family: type[TouchstoneError]
) -> None:
    with scripted_server(lambda _: say) as (url, _), pytest.raises(family):
        link_to(url).request("GET", "/v1/answers?after=0")


@pytest.mark.parametrize(
    "say",
    [
        Say(body=b"<html>welcome to the hotel", kind="text/html"),
        Say(body=b'{"answers": [', kind="application/json"),
        Say(body=b'{"answers": []}', claim=4000),
        Say(body=b"{}", pause_s=2),
        say_json({"answers": [{"seq": "one"}]}),
        say_json([]),
        Say(body=b" " * (5 * 1024 * 1024)),
        Say(body=b"\xff\xfe{}"),
    ],
)
def test_garbage_is_try_later(link_to: LinkTo, say: Say) -> None:
    with scripted_server(lambda _: say) as (url, _), pytest.raises(TryLater):
        link_to(url, timeout=QUICK).request("GET", "/v1/answers?after=0").read(Answers, "answers")


def test_a_server_that_is_not_there_is_try_later(link_to: LinkTo) -> None:
    with pytest.raises(TryLater, match="cannot be reached"):
        link_to("http://127.0.0.1:9").request("GET", "/")


def test_a_request_carries_a_token_bound_to_exactly_itself(link_to: LinkTo, tmp_path: Path) -> None:
    key = DeviceKey.load_or_create(make_home(tmp_path))
    with scripted_server(lambda _: say_json({})) as (url, asked):
        link = link_to(url, station_id=StationId("st-1"), key=key, now_s=lambda: 1000.0, clock_offset_s=500.0)
        link.request("PUT", "/v1/x?after=1", b"body")
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public_hex))
    token = asked[0].headers["Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, public, algorithms=["EdDSA"], audience="touchstone-sync", options={"verify_exp": False})
    assert claims == {
        "iss": "st-1",
        "aud": "touchstone-sync",
        "iat": 1500,
        "exp": 1560,
        "htm": "PUT",
        "htu": "/v1/x?after=1",
        "bsh": sha256_hex(b"body"),
    }


def test_the_key_is_readable_by_its_owner_only_and_stays_the_same(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    first = DeviceKey.load_or_create(home)
    assert home.key_file.stat().st_mode & 0o777 == 0o600
    assert DeviceKey.load_or_create(home).public_hex == first.public_hex


def test_a_dead_clock_is_corrected_by_the_servers_date_and_the_request_sent_again(
    link_to: LinkTo, tmp_path: Path
) -> None:
    key = DeviceKey.load_or_create(make_home(tmp_path))

    def answer(asked: Asked) -> Say:
        token = asked.headers["Authorization"].removeprefix("Bearer ")
        issued_s = jwt.decode(token, options={"verify_signature": False})["iat"]
        if abs(issued_s - time.time()) > 60:
            return say_problem(401, "clock")
        return say_json({"at": formatdate(usegmt=True)})

    with scripted_server(answer) as (url, asked):
        link = link_to(url, station_id=StationId("st-1"), key=key, now_s=lambda: time.time() - 1e9)
        assert link.request("GET", "/v1/station/assignment").status == 200
        assert len(asked) == 2
        assert abs(link.clock_offset_s - 1e9) < 5
        link.request("HEAD", "/v1/photos/" + "0" * 64)
        assert len(asked) == 3


def test_a_station_that_is_not_known_is_not_asked_about_its_clock_for_ever(link_to: LinkTo, tmp_path: Path) -> None:
    key = DeviceKey.load_or_create(make_home(tmp_path))
    with scripted_server(lambda _: say_problem(401, "unauthenticated")) as (url, asked):
        link = link_to(url, station_id=StationId("st-1"), key=key, now_s=time.time)
        with pytest.raises(RefusedStation):
            link.request("GET", "/")
        assert len(asked) == 1
