"""What people may do, and that nothing is open that should not be."""

from __future__ import annotations

import pytest

OPEN = {("post", "/v1/enrol"), ("get", "/v1/tuf/{file}"), ("get", "/healthz")}


def test_every_route_but_three_wants_to_know_who_asks(client) -> None:
    routes = client.get("/openapi.json").json()["paths"]
    body = {"name": "x", "role": "admin", "label": "genuine", "state": "running", "rows": []}
    closed = 0
    for path, methods in routes.items():
        for method in methods:
            if (method, path) in OPEN:
                continue
            concrete = path.replace("{sha256}", "0" * 64)
            for headers in ({}, {"Authorization": "Bearer tsp_wrong"}, {"Cookie": "touchstone_token=wrong"}):
                content = {"json": body} if method in ("post", "put") else {}
                answer = client.request(method, concrete, headers=headers, **content)
                assert answer.status_code == 401, (method, path, answer.text)
                assert answer.headers["www-authenticate"] == "Bearer"
            closed += 1
    assert closed >= 17


def test_a_stations_token_opens_no_door_for_people_and_the_other_way_round(station, people) -> None:
    assert station.send("GET", "/v1/cases").status_code == 401
    assert people["admin"].send("GET", "/v1/answers").status_code == 401


@pytest.mark.parametrize(
    ("path", "body", "allowed"),
    [
        ("/v1/people", {"name": "NAME", "role": "viewer"}, {"admin"}),
        ("/v1/enrolment-codes", {}, {"admin"}),
        ("/v1/datasets", None, {"admin", "releaser"}),
        ("/v1/cases/" + "0" * 64 + "/labels", {"label": "genuine"}, {"admin", "ann"}),
    ],
)
def test_a_role_may_do_its_own_work_only(people, path: str, body: dict | None, allowed: set[str]) -> None:
    for who in ("admin", "releaser", "viewer", "ann"):
        options = {} if body is None else {"json": {k: v.replace("NAME", f"new {who}") for k, v in body.items()}}
        answer = people[who].send("POST", path, **options)
        assert (answer.status_code == 403) == (who not in allowed), (who, answer.text)


@pytest.mark.parametrize("path", ["/v1/cases", "/v1/stations", "/v1/releases"])
def test_everybody_reads(people, path: str) -> None:
    assert {people[who].send("GET", path).status_code for who in people} == {200}


def test_a_person_who_was_added_can_sign_in_at_once(people) -> None:
    made = people["admin"].send("POST", "/v1/people", json={"name": "dua", "role": "reviewer"})
    assert made.status_code == 201
    assert people["admin"].send("POST", "/v1/people", json={"name": "dua", "role": "viewer"}).status_code == 409
    dua = type(people["admin"])(people["admin"].client, made.json()["token"])
    assert dua.send("GET", "/v1/cases").status_code == 200


def test_an_admins_code_enrols_a_station(people, client, station_class) -> None:
    code = people["admin"].send("POST", "/v1/enrolment-codes", json={"valid_hours": 1}).json()["code"]
    assert station_class(client).enrol(code).status_code == 200
    refused = people["admin"].send("POST", "/v1/enrolment-codes", json={"valid_hours": 0})
    assert refused.status_code == 422


def test_a_cookie_alone_changes_nothing(people, client) -> None:
    cookie = {"Cookie": f"touchstone_token={people['admin'].token}"}
    assert client.get("/v1/cases", headers=cookie).status_code == 200
    assert client.post("/v1/datasets", headers=cookie).status_code == 401


def test_a_reviewer_sees_what_the_model_thought_only_once_the_case_is_settled(station, people, png) -> None:
    record = station.open_case("bag 20", png(20))
    path = f"/v1/cases/{record.record_id}"
    for label in ("counterfeit", "genuine"):
        seen = people["ann"].send("GET", path)
        assert seen.json()["blind"] is True
        for hint in ("0.4375", "0.0625", "0.25", "between"):
            assert hint not in seen.text
        assert people["ann"].label(record, label).json()["state"] == "open"
    assert '"ann"' not in people["ben"].send("GET", path).text
    assert people["ben"].label(record, "genuine").json() == {
        "record_id": record.record_id,
        "label": "genuine",
        "state": "resolved",
        "outcome": "genuine",
    }
    after = people["ann"].send("GET", path).json()
    assert (after["blind"], after["record"]["prediction"]["p_counterfeit"]) == (False, 0.4375)
    late = people["cem"].label(record, "genuine")
    assert (late.status_code, late.json()["type"]) == (409, "/problems/conflict")


def test_the_list_is_paged_and_filtered(station, people, png) -> None:
    for i in range(3):
        station.open_case(f"paged {i}", png(30 + i))
    seen = []
    after = ""
    while after is not None:
        query = {"state": "open", "limit": 2} | ({"after": after} if after else {})
        page = people["viewer"].send("GET", "/v1/cases", params=query).json()
        seen += [case["item_id"] for case in page["cases"]]
        after = page["next_after"]
    assert [item for item in seen if item.startswith("paged")] == ["paged 0", "paged 1", "paged 2"]
    assert people["viewer"].send("GET", "/v1/cases?limit=0").status_code == 422


def test_errors_are_problem_documents_whatever_went_wrong(client, people) -> None:
    for answer, status in (
        (client.get("/v1/nowhere"), 404),
        (client.delete("/v1/cases"), 405),
        (client.get("/v1/tuf/9.root.json"), 404),
        (client.get("/v1/tuf/root.json"), 404),
        (people["admin"].send("GET", "/v1/cases/nope"), 404),
        (people["admin"].send("GET", "/v1/cases?after=%00"), 422),
        (people["admin"].send("GET", "/v1/datasets/nope"), 422),
        (
            people["admin"].send(
                "POST",
                "/v1/people",
                content=b"{",
            ),
            422,
        ),
    ):
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(answer.json()) >= {"type", "title", "status", "detail"}


def test_healthz_answers(client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
