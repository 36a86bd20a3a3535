"""Evidence: what a station said that it runs can be proved later, with nothing but what it signed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runtime.contracts.codec import canonical_json, decode, encode
from runtime.contracts.errors import Untrusted
from runtime.contracts.sync import StationReport
from sync_server.evidence import Evidence, proved, station_id_of

REPORT = StationReport(
    bundle_id="c" * 64, release=3, variant="cpu", state="watch", detail="é", recorded=3, acked=2, pending=1
)


@pytest.fixture
def evidence(station, people) -> Evidence:
    assert station.send("PUT", "/v1/station/report", canonical_json(REPORT)).status_code == 204
    answer = people["viewer"].send("GET", f"/v1/stations/{station.station_id}/report")
    assert answer.status_code == 200
    return decode(Evidence, answer.json(), "evidence")


def test_a_report_comes_with_what_proves_it(evidence: Evidence, station) -> None:
    known = proved(evidence)
    assert known.report == REPORT
    assert abs(datetime.fromisoformat(known.signed_at) - datetime.now(UTC)) < timedelta(minutes=1)
    assert (evidence.station_id, evidence.public_key) == (station.station_id, station.public_key)


def test_the_bytes_that_were_signed_are_kept_whatever_their_form(station, people) -> None:
    body = b'{ "bundle_id": null, "release": null, "variant": null, "state": "no-model", "detail": "",\n'
    body += b'"recorded": 0, "acked": 0, "pending": 0 }'
    assert station.send("PUT", "/v1/station/report", body).status_code == 204
    answer = people["viewer"].send("GET", f"/v1/stations/{station.station_id}/report").json()
    assert answer["body"] == body.decode()
    assert proved(decode(Evidence, answer, "evidence")).report.state == "no-model"


@pytest.mark.parametrize("change", ["body", "token", "key", "station", "key and station", "garbage"])
def test_whoever_changes_a_word_has_no_proof(evidence: Evidence, station, change: str) -> None:
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    another_request = station.token("GET", "/v1/answers", b"")
    changed = {
        "body": replace(evidence, body=evidence.body.replace('"release":3', '"release":4')),
        "token": replace(evidence, token=another_request),
        "key": replace(evidence, public_key=other),
        "station": replace(evidence, station_id="st-" + "0" * 16),
        "key and station": replace(evidence, public_key=other, station_id=station_id_of(other)),
        "garbage": replace(evidence, token="x.y.z"),
    }[change]
    assert changed != evidence
    with pytest.raises(Untrusted, match="evidence of st-"):
        proved(changed)


def test_a_station_that_has_signed_nothing_has_no_evidence(people) -> None:
    assert people["viewer"].send("GET", "/v1/stations/st-nobody/report").status_code == 404


def test_reports_of_older_agents_are_taken_and_shown(station, people) -> None:
    older = {**encode(REPORT), "state": "running"}
    assert station.send("PUT", "/v1/station/report", canonical_json(older)).status_code == 204
    (shown,) = [
        one["report"]
        for one in people["viewer"].send("GET", "/v1/stations").json()
        if one["station_id"] == station.station_id
    ]
    assert shown == older
