"""The desk around its routes: a crash is no traceback, and a desk that is off is off."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import httpx
import pytest

from edge_agent.agent import build
from edge_agent.desk.app import build_app, build_desk
from edge_agent.desk.station_routes import STATIC
from edge_agent.home import Home
from tests.edge_agent.desk.rigs import Client, deskless


def test_a_crash_is_a_problem_and_one_line_of_the_log(
    home_with_model: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> object:
        raise ZeroDivisionError("oops")

    parts = build(home_with_model, threading.Event())
    monkeypatch.setattr(parts.outbox, "page", broken)
    desk = build_desk(parts, threading.Event(), lambda: None)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(build_app(desk, None), raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/v1/records")

    answer = asyncio.run(ask())
    parts.outbox.close()
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "oops" not in answer.text
    assert "frame-ancestors" in answer.headers["content-security-policy"]
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["why"] == "ZeroDivisionError: oops"


def test_a_desk_that_is_off_listens_nowhere(home_with_model: Home) -> None:
    with deskless(home_with_model) as daemon:
        time.sleep(1.0)
        assert not home_with_model.desk_socket.exists()
        assert daemon.events("desk") == []


def test_the_page_and_its_files_are_there_and_may_be_kept_but_are_asked_for_again(desk: Client) -> None:
    page = desk.ask("GET", "/")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-cache"
    files = [path.relative_to(STATIC) for path in STATIC.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        answer = desk.ask("GET", f"/static/{path}")
        assert (answer.status, answer.headers["cache-control"]) == (200, "no-cache")
