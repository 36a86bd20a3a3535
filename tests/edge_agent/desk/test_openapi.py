"""``openapi.json`` is what the desk does: every route, status and shape, and nothing that the desk does not do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import get_args

import jsonschema_rs
import pytest
from starlette.routing import Mount, Route

from edge_agent.desk.app import ROUTES
from edge_agent.home import Home
from edge_agent.update_state import State, UpdateState
from tests.edge_agent.desk import described
from tests.edge_agent.desk.rigs import Client, answer_to, running
from tests.edge_agent.desk.test_camera import film

ELSEWHERE = {("POST", "/login"), ("GET", "/v1/camera.mjpg")}
"""Answered in ``test_access`` and ``test_camera``."""


def test_every_route_is_described_and_every_description_is_a_route() -> None:
    routes = set()
    for route in ROUTES:
        if isinstance(route, Route):
            routes |= {(method, route.path) for method in route.methods or () if method != "HEAD"}
        else:
            assert isinstance(route, Mount)
            routes.add(("GET", f"{route.path}/{{path}}"))
    assert routes == described.OPERATIONS


def test_it_is_openapi_and_every_operation_has_a_name_of_its_own() -> None:
    assert described.DOCUMENT["openapi"] == "3.1.0"
    names = [one["operationId"] for item in described.DOCUMENT["paths"].values() for one in item.values()]
    assert len(names) == len(set(names)) == len(described.OPERATIONS)
    for name, schema in described.DOCUMENT["components"]["schemas"].items():
        assert jsonschema_rs.meta.is_valid({**schema, "components": described.DOCUMENT["components"]}), name


def test_what_changes_something_says_that_it_needs_the_header() -> None:
    for method, path in described.OPERATIONS:
        parameters = described.DOCUMENT["paths"][path][method.lower()].get("parameters", [])
        needs = {"$ref": "#/components/parameters/Desk"} in parameters
        assert needs == (method != "GET" and path != "/scans"), (method, path)


def test_the_states_of_an_update_are_those_of_the_agent() -> None:
    update = described.DOCUMENT["components"]["schemas"]["State"]["properties"]["update"]
    assert tuple(update["properties"]["state"]["enum"]) == get_args(State)
    assert update["required"] == list(update["properties"]) == [one.name for one in fields(UpdateState)]


def test_an_answer_of_another_shape_is_noticed() -> None:
    with pytest.raises(jsonschema_rs.ValidationError):
        described.check("GET", "/healthz", 200, "application/json", b'{"status": "ok", "more": 1}')
    with pytest.raises(AssertionError):
        described.check("GET", "/healthz", 201, "application/json", b'{"status": "ok"}')
    with pytest.raises(AssertionError):
        described.check("GET", "/v1/inbox", 500, "text/plain", b"Traceback")


def test_every_operation_answers_as_it_is_described(
    home_with_model: Home, tmp_path: Path, photo_of: Callable[..., bytes]
) -> None:
    with running(home_with_model, camera=str(film(tmp_path / "camera.avi", 5.0))) as (desk, _):
        first = desk.begin("bag")
        assert desk.ask("PUT", f"/v1/sessions/{first}/photos/stitching?camera=1").json["kept"] is False
        assert desk.ask("GET", f"/v1/sessions/{first}/photos/stitching/refused").status == 200
        desk.put(first, "logo", photo_of(140, size=(40, 50)))
        desk.put(first, "logo", photo_of(140), keep=1)
        desk.put(first, "stitching", photo_of(140))
        assert desk.ask("DELETE", f"/v1/sessions/{first}/photos/stitching").status == 204
        desk.get("/v1/sessions")
        desk.get(f"/v1/sessions/{first}")
        verdict = desk.finish(first).json
        second = desk.begin("other")
        assert desk.ask("DELETE", f"/v1/sessions/{second}").status == 204
        assert desk.scan("third", {"price": 1.5, "age": None}, logo=photo_of(20), stitching=photo_of(20)).status == 201
        objection = f"/v1/records/{verdict['record_id']}/objection"
        assert desk.send("POST", objection, {"text": "the stitching is too even"}).status == 204
        assert desk.get(f"/v1/records/{verdict['record_id']}")["objected"] is True
        answer_to(home_with_model, verdict["record_id"])
        assert desk.get("/v1/state")["unread"] == 1
        assert [one["outcome"] for one in desk.get("/v1/inbox")["answers"]] == ["genuine"]
        assert desk.send("POST", "/v1/inbox/read", {"seq": 1}).status == 204
        assert desk.get("/v1/state")["unread"] == 0
        assert desk.send("POST", "/v1/update/defer", {"hours": 1}).status == 204
        for path in (
            "/", "/static/index.html", "/healthz", "/openapi.json", "/v1/records?limit=1&item=bag",
            f"/v1/records/{verdict['record_id']}", f"/v1/photos/{verdict['views'][0]['sha256']}",
            verdict["references"][0]["url"], "/v1/camera.jpg", "/metrics",
        ):  # fmt: skip
            assert desk.ask("GET", path).status == 200, path
        assert described.OPERATIONS - desk.answered == ELSEWHERE


def test_pages_of_records_follow_each_other(desk: Client, photo_of: Callable[..., bytes]) -> None:
    for number in range(5):
        desk.scan(f"Page {number}", logo=photo_of(20 + number))
    found, before = [], ""
    while True:
        page = desk.get(f"/v1/records?limit=2&item=page{before}")
        found += [one["item_id"] for one in page["records"]]
        if page["next_before"] is None:
            break
        before = f"&before={page['next_before']}"
    assert found == [f"Page {number}" for number in reversed(range(5))]
    for query in (
        "limit=0",
        "limit=201",
        "limit=x",
        "before=-1",
        "limit=1e3",
        "before=99999999999999999999",
        "limit=½",
    ):
        assert desk.ask("GET", f"/v1/records?{query.replace('½', '%C2%BD')}").status == 422


def test_what_is_held_and_what_waits(home_with_model: Home, photo_of: Callable[..., bytes]) -> None:
    identity = home_with_model.identity_file
    identity.write_text(identity.read_text().replace('"audit_share":0.0', '"audit_share":1.0'))
    with running(home_with_model) as (desk, _):
        scanned = desk.scan("good", logo=photo_of(20), stitching=photo_of(20, seed=1)).json
        assert (scanned["verdict"], scanned["audited"], scanned["answer"]) == ("authentic", True, None)
        inbox = desk.get("/v1/inbox")
        assert [one["item_id"] for one in inbox["holds"]] == [one["item_id"] for one in inbox["waiting"]] == ["good"]
        assert desk.send("POST", "/v1/inbox/read", {"seq": 1}).status == 422
        answer_to(home_with_model, scanned["record_id"])
        inbox = desk.get("/v1/inbox")
        assert (inbox["holds"], inbox["waiting"]) == ([], [])
        assert inbox["answers"][0]["verdict"] == "authentic"
        assert desk.get("/v1/records")["records"][0]["answer"] == "genuine"
        assert desk.get(f"/v1/records/{scanned['record_id']}")["answer"] == "genuine"
        again = desk.scan("good", logo=photo_of(20), stitching=photo_of(20, seed=1))
        assert (again.status, again.json["again"], again.json["answer"]) == (200, True, "genuine")


def test_an_objection_to_what_is_gone_is_refused(home_with_model: Home, photo_of: Callable[..., bytes]) -> None:
    with running(home_with_model) as (desk, _):
        record_id = desk.scan("bag", logo=photo_of(20), stitching=photo_of(20)).json["record_id"]
        for path in home_with_model.photos.glob("*/*"):
            path.unlink()
        refused = desk.send("POST", f"/v1/records/{record_id}/objection", {"text": "the stitching is too even"})
        assert refused.status == 409
        assert desk.send("POST", "/v1/records/none/objection", {"text": "x"}).status == 404
