"""What stations send, over real HTTP: who may, what is taken, and that sending again is safe."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from dataclasses import replace
from email.utils import parsedate_to_datetime

import jwt
import pytest

from runtime.contracts.codec import canonical_json, decode, encode
from runtime.contracts.records import MAX_PHOTO_BYTES
from runtime.contracts.sync import MAX_HEARTBEAT_BYTES, Answers, Objection, request_claims
from sync_server.api.callers import TOKEN_COOKIE

NO_BYTES = hashlib.sha256(b"").hexdigest()


def slug(answer) -> str:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.json()["type"]


def test_enrolling_again_with_the_same_code_and_key_gives_the_same_answer(home, client, station_class) -> None:
    code = home.code()
    fake = station_class(client)
    first, second = fake.enrol(code), fake.enrol(code)
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()
    assert len(bytes.fromhex(first.json()["audit_key"])) == 32
    assert first.json()["audit_share"] == 0.02
    stolen = station_class(client).enrol(code)
    assert (stolen.status_code, slug(stolen)) == (403, "/problems/forbidden")
    assert stolen.json()["detail"] == "enrolment code: it is wrong, used or expired; ask an admin for a new one"


def test_each_station_has_a_lottery_key_of_its_own(home, client, station_class) -> None:
    fakes = [station_class(client) for _ in range(2)]
    for fake in fakes:
        fake.enrol(home.code())
    assert fakes[0].audit_key != fakes[1].audit_key


def test_a_wrong_code_is_refused_without_repeating_it(client, station_class) -> None:
    refused = station_class(client).enrol("A" * 16 + "-" + "0" * 32)
    assert refused.status_code == 403
    unread = client.post("/v1/enrol", json={"secret": "SECRET-INSIDE", "public_key": 5, "nme": "x"})
    assert (unread.status_code, slug(unread)) == (422, "/problems/unsupported")
    assert "SECRET-INSIDE" not in unread.text
    assert "nme" in unread.json()["detail"]


def test_the_code_pins_the_root_metadata_as_it_is_served(home, client) -> None:
    root = client.get("/v1/tuf/1.root.json").content
    assert home.code().partition("-")[2] == hashlib.sha256(root).hexdigest()[:32]


def test_a_photo_is_stored_once_and_found_by_its_hash(station, people, png) -> None:
    data = png(1)
    path = f"/v1/photos/{hashlib.sha256(data).hexdigest()}"
    assert station.send("HEAD", path).status_code == 404
    assert station.put_photo(data).status_code == 201
    assert station.put_photo(data).status_code == 200
    assert station.send("HEAD", path).status_code == 200
    shown = people["viewer"].send("GET", path)
    assert (shown.content, shown.headers["content-type"]) == (data, "image/png")
    assert shown.headers["x-content-type-options"] == "nosniff"


def test_bytes_that_are_not_the_promised_photo_are_not_kept(station, png) -> None:
    data = png(2)
    path = f"/v1/photos/{hashlib.sha256(data).hexdigest()}"
    token = station.token("PUT", path, data)
    answer = station.client.put(path, content=png(3), headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, slug(answer)) == (400, "/problems/untrusted")
    assert station.send("HEAD", path).status_code == 404


def test_a_file_that_is_no_photo_is_not_kept(station) -> None:
    answer = station.put_photo(b"<script>alert(1)</script>")
    assert (answer.status_code, slug(answer)) == (400, "/problems/untrusted")


def test_a_photo_above_the_limit_is_refused_however_it_is_sent(station, png) -> None:
    path = f"/v1/photos/{'0' * 64}"
    claims = request_claims(station.station_id, "PUT", path, "0" * 64, int(time.time()))
    headers = {"Authorization": f"Bearer {jwt.encode(claims, station.key, algorithm='EdDSA')}"}
    chunk = png(4).ljust(1024 * 1024, b"\0")

    def chunks():
        for _ in range(MAX_PHOTO_BYTES // len(chunk) + 1):
            yield chunk

    streamed = station.client.put(path, content=chunks(), headers=headers)
    assert (streamed.status_code, slug(streamed)) == (413, "/problems/too-large")
    body = b"x" * (300 * 1024)
    record = station.send("PUT", "/v1/records/x", body)
    assert (record.status_code, slug(record)) == (413, "/problems/too-large")


def test_a_case_waits_for_its_photos_and_is_then_taken_once(station, people, png) -> None:
    photos = (png(10), png(11))
    record = station.record("bag 10", photos)
    station.put_photo(photos[0])
    early = station.put_record(record)
    assert (early.status_code, slug(early)) == (409, "/problems/photos-missing")
    assert early.json()["missing"] == [record.views[1].photo]
    station.put_photo(photos[1])
    assert station.put_record(record).json() == {"id": record.record_id, "new": True}
    again = station.put_record(record)
    assert (again.status_code, again.json()["new"]) == (200, False)
    changed = station.put_record(replace(record, verdict="suspect"))
    assert (changed.status_code, slug(changed)) == (409, "/problems/conflict")
    assert people["viewer"].send("GET", f"/v1/cases/{record.record_id}").json()["record"] == encode(record)


def test_a_record_of_an_agent_from_before_version_2_is_taken_and_taken_again(station, people, png) -> None:
    station.put_photo(png(12))
    record = station.record("bag 12", (png(12),), v=1)
    body = {name: value for name, value in encode(record).items() if name not in ("rescan_of", "features_as_of")}
    path = f"/v1/records/{record.record_id}"
    assert [station.send("PUT", path, canonical_json(body)).status_code for _ in range(2)] == [201, 200]
    assert people["viewer"].send("GET", f"/v1/cases/{record.record_id}").json()["record"]["v"] == 1
    wrong = canonical_json(body | {"rescan_of": "not a hash"})
    assert station.send("PUT", path, wrong).status_code == 422


def test_a_record_comes_only_by_its_own_station_and_id(home, client, station, station_class, png) -> None:
    other = station_class(client)
    other.enrol(home.code())
    record = replace(station.record("bag 11", ()), verdict="authentic")
    foreign = other.put_record(record)
    assert (foreign.status_code, slug(foreign)) == (403, "/problems/forbidden")
    misplaced = station.send("PUT", f"/v1/records/{'0' * 64}", canonical_json(record))
    assert (misplaced.status_code, slug(misplaced)) == (400, "/problems/untrusted")


def test_a_record_with_a_field_too_many_is_refused_by_name(station) -> None:
    record = encode(station.record("bag 12", ())) | {"price": 5}
    answer = station.send("PUT", f"/v1/records/{record['record_id']}", json.dumps(record).encode())
    assert answer.status_code == 422
    assert "price" in answer.json()["detail"]


def test_the_experts_answer_goes_back_to_the_station_that_asked(station, people, png) -> None:
    record = station.open_case("bag 13", png(13))
    before = decode(Answers, station.send("GET", "/v1/answers?after=0").json(), "answers").answers
    people["ann"].label(record, "genuine")
    people["ben"].label(record, "genuine")
    after = before[-1].seq if before else 0
    (answer,) = decode(Answers, station.send("GET", f"/v1/answers?after={after}").json(), "answers").answers
    assert (answer.item_id, answer.outcome, answer.seq) == ("bag 13", "genuine", after + 1)


def test_a_person_at_a_station_who_disagrees_brings_an_expert_to_it_once(station, people, png) -> None:
    record = replace(station.record("bag 20", (png(20),)), verdict="authentic", audited=False)
    path = f"/v1/records/{record.record_id}/objection"
    body = canonical_json(Objection(text="<b>the clasp</b>\nis too light", made_at="2026-11-27T09:30:00+00:00"))
    early = station.send("PUT", path, body)
    assert (early.status_code, slug(early)) == (404, "/problems/not-found")
    assert station.put_record(record).status_code == 201
    assert people["viewer"].send("GET", f"/v1/cases/{record.record_id}").status_code == 404
    without = station.send("PUT", path, body)
    assert (without.status_code, without.json()["missing"]) == (409, [record.views[0].photo])
    station.put_photo(png(20))
    assert [station.send("PUT", path, body).status_code for _ in range(2)] == [201, 200]
    assert station.send("PUT", path, body).json() == {"id": record.record_id, "new": False}
    shown = people["ann"].send("GET", f"/v1/cases/{record.record_id}").json()
    assert shown["objection"]["text"] == "<b>the clasp</b>\nis too light"
    assert (shown["blind"], shown["record"]["verdict"]) == (True, "uncertain")
    cookie = {"Cookie": f"{TOKEN_COOKIE}={people['ann'].token}"}
    html = station.client.get(f"/cases/{record.record_id}", headers=cookie).text
    assert "&lt;b&gt;the clasp&lt;/b&gt;" in html
    assert "<b>the clasp" not in html
    bad = station.send("PUT", path, b'{"text": "x"}')
    assert (bad.status_code, slug(bad)) == (422, "/problems/unsupported")


def test_a_report_is_shown_to_people(station, people) -> None:
    report = {"bundle_id": None, "release": None, "variant": None, "state": "no-model", "detail": ""}
    report |= {"recorded": 1, "acked": 1, "pending": 0}
    assert station.send("PUT", "/v1/station/report", json.dumps(report).encode()).status_code == 204
    shown = people["viewer"].send("GET", "/v1/stations").json()
    assert [s["report"] for s in shown if s["station_id"] == station.station_id] == [report]
    assert station.send("GET", "/v1/station/assignment").json() == {"target": None}


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("path", {"htu": "/v1/answers?after=1"}),
        ("method", {"htm": "PUT"}),
        ("body", {"bsh": "0" * 64}),
        ("audience", {"aud": "another-product"}),
        ("lifetime", {"exp": 2_000_000_000}),
        ("extra claim", {"scope": "all"}),
        ("claim that is no text", {"\ud800": "all"}),
        ("time that is no time", {"iat": 10**400, "exp": 10**400 + 60}),
    ],
)
def test_a_token_signed_for_another_request_is_refused(station, what: str, changes: dict) -> None:
    claims = request_claims(station.station_id, "GET", "/v1/answers?after=0", NO_BYTES, int(time.time())) | changes
    token = jwt.encode(claims, station.key, algorithm="EdDSA")
    answer = station.client.get("/v1/answers?after=0", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, slug(answer)) == (401, "/problems/unauthenticated")


def test_a_number_that_no_database_keeps_is_refused(station) -> None:
    answer = station.send("GET", f"/v1/answers?after={2**63}")
    assert (answer.status_code, slug(answer)) == (422, "/problems/invalid")


def test_a_token_signed_by_nobody_or_by_another_key_is_refused(station, station_class) -> None:
    stranger = station_class(station.client, station_id=station.station_id)
    unknown = station_class(station.client, station_id="st-unknown")
    none = jwt.encode(
        request_claims(station.station_id, "GET", "/v1/answers", NO_BYTES, int(time.time())), None, "none"
    )
    for token in (
        stranger.token("GET", "/v1/answers", b""),
        unknown.token("GET", "/v1/answers", b""),
        none,
        jwt.encode({"iss": "\ud800"}, stranger.key, algorithm="EdDSA"),
        jwt.encode({"iss": "\x00"}, stranger.key, algorithm="EdDSA"),
        "x.y.z",
        "nonsense",
    ):
        answer = station.client.get("/v1/answers", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, slug(answer)) == (401, "/problems/unauthenticated")


@pytest.mark.parametrize("skew_s", [-3600, -90, 30, 3600])
def test_a_clock_that_is_off_is_told_apart_and_corrected_by_the_date_header(station, skew_s: int) -> None:
    off = replace(station, skew_s=skew_s)
    answer = off.send("GET", "/v1/answers")
    assert (answer.status_code, slug(answer)) == (401, "/problems/clock")
    server_s = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    off.skew_s = server_s - time.time()
    assert off.send("GET", "/v1/answers").status_code == 200


def test_a_clock_that_is_off_by_seconds_is_let_in(station) -> None:
    for skew_s in (-30, 3):
        assert replace(station, skew_s=skew_s).send("GET", "/v1/answers").status_code == 200


def test_a_broken_connection_in_a_photo_is_no_mistake_of_the_servers(station, server, png) -> None:
    data = png(60).ljust(2 * 1024 * 1024, b"\0")
    path = f"/v1/photos/{hashlib.sha256(data).hexdigest()}"
    host, port = server.url.removeprefix("http://").split(":")
    head = f"PUT {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(data)}\r\n"
    head += f"Authorization: Bearer {station.token('PUT', path, data)}\r\n\r\n"
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(head.encode() + data[: len(data) // 2])
    assert station.send("HEAD", path).status_code == 404
    assert station.put_photo(data).status_code == 201  # the server fixture checks that nothing was logged


def test_a_heartbeat_is_kept_for_people_and_bounded(station, people, client) -> None:
    beat = {
        "v": 1,
        "made_at": "2026-11-20T09:00:00Z",
        "started_at": "2026-11-20T08:00:00Z",
        "uptime_s": 3600.0,
        "model": None,
        "versions": {"agent": "0.1.0"},
        "counters": {"touchstone_rescans_total": 3},
        "gauges": {"touchstone_free_bytes": 5.0},
        "latencies_us": {"until_stored": {"301": 2}},
        "scores": [{"release": 1, "score": "p_fraud", "bins": [2] + [0] * 19}],
    }

    def put(seq: object, body: object) -> int:
        raw = json.dumps(body).encode()
        path = f"/v1/station/heartbeats/{seq}"
        return station.send("PUT", path, raw, **{"Content-Type": "application/json"}).status_code

    assert [put(1, beat), put(1, beat), put(2, beat)] == [204, 204, 204]
    path = f"/v1/stations/{station.station_id}/heartbeats"
    shown = people["viewer"].send("GET", path).json()
    assert [(one["seq"], one["heartbeat"]) for one in shown] == [(2, beat), (1, beat)]
    assert len(people["viewer"].send("GET", f"{path}?limit=1").json()) == 1
    assert put(3, {**beat, "photo": "x"}) == 422
    assert put(3, {**beat, "counters": {"touchstone_rescans_total": "3"}}) == 422
    assert put(0, beat) == 422
    assert put(3, {**beat, "versions": {"agent": "x" * MAX_HEARTBEAT_BYTES}}) == 413
    assert people["viewer"].send("GET", "/v1/stations/st-00ff/heartbeats").status_code == 404
    assert people["viewer"].send("GET", "/v1/stations/%00/heartbeats").status_code == 422
    assert station.send("GET", path).status_code == 401
    assert len(people["viewer"].send("GET", path).json()) == 2
