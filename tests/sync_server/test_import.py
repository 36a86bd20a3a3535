"""What a station carried here on a stick: taken as if it had sent it, and nothing that it did not sign."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jwt
import pytest

from runtime.contracts.codec import canonical_json, encode
from runtime.contracts.durable import sha256_hex
from runtime.contracts.export import Export, Listing, export_claims
from runtime.contracts.records import Record
from runtime.contracts.sync import Objection, request_claims

OBJECTION = Objection(text="the clasp", made_at="2026-11-27T09:30:00+00:00")


@dataclass
class Stick:
    """A folder as a station writes it."""

    folder: Path
    station: Any
    records: tuple[Record, ...]
    photos: tuple[bytes, ...]
    objections: dict[str, Objection]

    def write(self, **changes: Any) -> Stick:
        for name in ("records", "objections", "photos"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        bodies = {record.record_id: canonical_json(record) for record in self.records}
        words = {record_id: canonical_json(one) for record_id, one in self.objections.items()}
        for record_id, body in bodies.items():
            (self.folder / "records" / f"{record_id}.json").write_bytes(body)
        for record_id, body in words.items():
            (self.folder / "objections" / f"{record_id}.json").write_bytes(body)
        for photo in self.photos:
            (self.folder / "photos" / sha256_hex(photo)).write_bytes(photo)
        listing = Listing(
            station_id=self.station.station_id,
            made_at="2026-11-27T10:00:00+00:00",
            records={record_id: sha256_hex(body) for record_id, body in bodies.items()},
            objections={record_id: sha256_hex(body) for record_id, body in words.items()},
            photos=tuple(sorted(map(sha256_hex, self.photos))),
        )
        self.sign(replace(listing, **changes))
        return self

    def sign(self, listing: Listing, claims: dict[str, Any] | None = None, key: Any = None) -> None:
        signature = jwt.encode(
            export_claims(listing, 1_795_000_000) | (claims or {}), key or self.station.key, algorithm="EdDSA"
        )
        (self.folder / "export.json").write_bytes(canonical_json(Export(listing=listing, signature=signature)))

    def listing(self) -> dict[str, Any]:
        return json.loads((self.folder / "export.json").read_bytes())["listing"]


@pytest.fixture
def stick(home, client, station_class, png, tmp_path: Path) -> Stick:
    station = station_class(client)
    station.enrol(home.code())
    photos = tuple(png(100 + seed) + station.station_id.encode() for seed in range(3))
    case = station.record("case", photos[:2])
    confident = replace(station.record("confident", (png(9),)), verdict="authentic")
    objected = replace(station.record("objected", photos[2:]), verdict="authentic")
    return Stick(tmp_path / "stick", station, (case, confident, objected), photos, {objected.record_id: OBJECTION})


@pytest.fixture
def take(home, command) -> Callable[..., Any]:
    return lambda folder: command("import", folder, "--home", home.home, check=False)


def test_a_stick_is_taken_as_if_the_station_had_sent_it_and_taking_it_again_is_safe(stick: Stick, take, people) -> None:
    stick.write()
    done = take(stick.folder)
    assert (done.code, done.err) == (0, "")
    assert "records: 3 new, 0 known" in done.out
    assert "photos: 3 new, 0 known" in done.out
    assert "objections: 1 new, 0 known" in done.out
    again = take(stick.folder)
    assert (again.code, again.out.count("0 new"), again.err) == (0, 3, "")
    case, confident, objected = stick.records
    shown = people["viewer"].send("GET", f"/v1/cases/{case.record_id}").json()
    assert shown["record"] == encode(case)
    for view in shown["record"]["views"]:
        assert people["viewer"].send("GET", f"/v1/photos/{view['photo']}").status_code == 200
    assert people["viewer"].send("GET", f"/v1/cases/{objected.record_id}").json()["objection"]["text"] == "the clasp"
    assert people["viewer"].send("GET", f"/v1/cases/{confident.record_id}").status_code == 404
    # A station that comes online later finds everything there.
    assert stick.station.put_record(case).status_code == 200
    assert stick.station.send("HEAD", f"/v1/photos/{case.views[0].photo}").status_code == 200


def test_what_the_station_sent_before_is_known(stick: Stick, take) -> None:
    stick.station.put_photo(stick.photos[0])
    stick.station.put_record(stick.records[1])
    done = take(stick.write().folder)
    assert "records: 2 new, 1 known" in done.out
    assert "photos: 2 new, 1 known" in done.out


def test_a_file_that_was_changed_or_is_lost_is_refused_by_name_and_holds_up_no_other(stick: Stick, take) -> None:
    stick.write()
    case, confident, objected = stick.records
    first = sorted({view.photo for view in case.views})[0]
    (stick.folder / "photos" / first).unlink()
    path = stick.folder / "records" / f"{confident.record_id}.json"
    path.write_bytes(canonical_json(replace(confident, verdict="suspect")))
    (stick.folder / "records" / "stranger.json").write_bytes(b"{}")
    done = take(stick.folder)
    assert done.code == 1
    assert "records: 1 new" in done.out
    assert "3 refused" in done.out
    lines = done.err.splitlines()
    assert lines[0].startswith(f"  photo {first[:12]}: ") and "cannot be read" in lines[0]
    assert any(f"record {confident.record_id[:12]}: the file is not the one that" in line for line in lines)
    assert any(f"record {case.record_id[:12]}: record: 1 of its photos are not here yet" in line for line in lines)
    stick.write()
    assert (take(stick.folder).code, objected.record_id) == (0, objected.record_id)


def test_a_photo_whose_bytes_changed_on_the_way_is_not_kept(stick: Stick, take) -> None:
    stick.write()
    name = sha256_hex(stick.photos[2])
    (stick.folder / "photos" / name).write_bytes(stick.photos[2] + b"!")
    done = take(stick.folder)
    assert (done.code, f"photo {name[:12]}: file {name[:12]}: expected bytes of this SHA-256" in done.err) == (1, True)
    assert stick.station.send("HEAD", f"/v1/photos/{name}").status_code == 404


def test_nothing_is_taken_that_the_station_did_not_sign(stick: Stick, take, home, client, station_class) -> None:
    other = station_class(client)
    other.enrol(home.code())
    stick.write()
    listing = Listing(**{**stick.listing(), "photos": tuple(stick.listing()["photos"])})
    request = request_claims(stick.station.station_id, "PUT", "/v1/records/x", "0" * 64, 1_795_000_000)
    for wrong in (
        {"claims": {"lsh": "0" * 64}},
        {"claims": {"iss": other.station_id}, "key": other.key},
        {"claims": {"iss": "st-unknown"}},
        {"claims": {"aud": "touchstone-sync"}},
        {"claims": {"exp": 2_000_000_000}},
        {"claims": request},
        {"key": other.key},
    ):
        stick.sign(listing, **wrong)
        done = take(stick.folder)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), wrong
    changed = replace(listing, records={})
    signature = json.loads((stick.write().folder / "export.json").read_bytes())["signature"]
    (stick.folder / "export.json").write_bytes(canonical_json(Export(listing=changed, signature=signature)))
    assert "not the one that the station signed" in take(stick.folder).err
    assert stick.station.send("HEAD", f"/v1/photos/{listing.photos[0]}").status_code == 404


def test_a_station_cannot_bring_anothers_records_or_files_from_elsewhere(
    stick: Stick, take, home, client, station_class, tmp_path: Path
) -> None:
    other = station_class(client)
    other.enrol(home.code())
    foreign = replace(stick.records[1], station_id=other.station_id)
    secret = tmp_path / "secret.json"
    secret.write_bytes(canonical_json(stick.records[1]))
    done = take(
        replace(stick, records=(foreign,), objections={}, photos=())
        .write(photos=("../../secret",), objections={"../../secret": "0" * 64})
        .folder
    )
    assert (done.code, "records: 0 new" in done.out) == (1, True)
    assert f"but {stick.station.station_id} sent it" in done.err
    assert done.err.count("expected 64 lower-case hex digits") == 2


def test_a_folder_that_is_no_export_says_which_one_to_name(take, tmp_path: Path) -> None:
    done = take(tmp_path)
    assert (done.code, "name the folder that 'touchstone-agent outbox export' wrote" in done.err) == (2, True)
    (tmp_path / "export.json").write_bytes(b'{"listing": 5}')
    done = take(tmp_path)
    assert (done.code, done.err.count("\n")) == (2, 1)
