"""Schemathesis over the live desk: whatever comes, no crash, no traceback, and only answers that are described."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from edge_agent.desk.station_routes import OPENAPI
from tests.conftest import build_tiny_bundle
from tests.edge_agent.conftest import give_model
from tests.edge_agent.desk.rigs import Client, running
from tests.edge_agent.rigs import Daemon, make_home

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

HOSTILE = (
    "../../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%00", "'; DROP TABLE record; --", '" OR 1=1 --',
    "<script>alert(1)</script>", "{{7*7}}", "$(reboot)", "x" * 10_240, "\u202egnp.exe", "\ud800", "０１２", "-1", "NaN",
)  # fmt: skip


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Daemon]]:
    home = give_model(make_home(tmp_path_factory.mktemp("fuzz") / "station"), build_tiny_bundle)
    with running(home) as pair:
        yield pair


schema = schemathesis.openapi.from_path(OPENAPI)


@schema.parametrize()
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_comes_the_desk_answers_as_described(case: Any, live: tuple[Client, Daemon]) -> None:
    answer = case.call(base_url=f"http://127.0.0.1:{live[0].port}")
    assert b"Traceback" not in answer.content
    checks = [not_a_server_error, response_schema_conformance]
    if answer.status_code not in (404, 405):  # such a path was no route
        checks += [content_type_conformance, status_code_conformance]
    if answer.status_code == 503:  # a person must act: no crash
        checks.remove(not_a_server_error)
    case.validate_response(answer, checks=checks)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_every_place_that_takes_text(live: tuple[Client, Daemon], text: str) -> None:
    desk, _ = live
    quoted = urllib.parse.quote(text, safe="", errors="surrogatepass")
    begun = desk.send("POST", "/v1/sessions", {"item_id": text})
    assert begun.status in (201, 400, 422)
    session_id = begun.json["session_id"] if begun.status == 201 else "none"
    for method, path, body in (
        ("GET", f"/v1/sessions/{quoted}", None),
        ("PUT", f"/v1/sessions/{session_id}/photos/{quoted}", b"no photo"),
        ("DELETE", f"/v1/sessions/{session_id}/photos/{quoted}", None),
        ("POST", f"/v1/sessions/{session_id}/finish", json.dumps({"listing": {text: 1.0}}).encode()),
        ("GET", f"/v1/records?item={quoted}", None),
        ("GET", f"/v1/records?before={quoted}&limit={quoted}", None),
        ("GET", f"/v1/records/{quoted}", None),
        ("POST", f"/v1/records/{quoted}/objection", json.dumps({"text": text}).encode()),
        ("GET", f"/v1/photos/{quoted}", None),
        ("GET", f"/v1/references/{quoted}/{quoted}", None),
        ("GET", f"/static/{quoted}", None),
        ("POST", "/login", json.dumps({"pin": text}).encode()),
        ("POST", "/v1/inbox/read", json.dumps({"seq": text}).encode()),
        ("POST", "/v1/update/defer", json.dumps({"hours": text}).encode()),
    ):
        answer = desk.ask(method, path, body)
        assert answer.status < 500, (method, path, answer.body)
        assert b"root:" not in answer.body


def test_nothing_crashed_meanwhile(live: tuple[Client, Daemon]) -> None:
    desk, daemon = live
    assert desk.ask("GET", "/healthz").status == 200
    assert not daemon.events("crashed")
    assert Path(daemon.log).stat().st_size < 10_000_000
