"""Patches: made when a release is published, from what stations may hold, and only where they are worth it."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runtime.contracts.durable import sha256_hex
from runtime.contracts.sync import NOTHING, patch_path
from sync_server.patching import RELEASES_BACK, zstd
from sync_server.signing import sign_bundle


def weights(seed: int, head: int = 0) -> bytes:
    return random.Random(seed).randbytes(60_000) + random.Random(1000 + head).randbytes(2_000)


def apply(old: bytes, patch: bytes) -> bytes:
    prefix = zstd.ZstdDict(old, is_raw=True).as_prefix if old else None
    return bytes(zstd.decompress(patch, zstd_dict=prefix))


@pytest.fixture
def fresh(tmp_path: Path, found):
    return found(tmp_path)


def patches_of(home: Path) -> dict[str, set[str]]:
    return {folder.name: {file.name for file in folder.iterdir()} for folder in (home / "patches").glob("*")}


def test_a_station_gets_a_patch_from_each_of_the_last_releases_and_404_for_others(
    home, station, client, make_bundle, tmp_path
) -> None:
    datas = [weights(1), weights(2), weights(1, head=1)]
    for number, data in enumerate(datas):
        home.release(make_bundle(tmp_path / f"b{number}", weights=data))
    first, second, third = map(sha256_hex, datas)
    answer = station.send("GET", patch_path(first, third))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zstd"
    assert len(answer.content) < 3_000
    assert apply(datas[0], answer.content) == datas[2]
    for old, new in ((second, third), (first, second), (NOTHING, third), (third, first), ("0" * 64, third)):
        assert station.send("GET", patch_path(old, new)).status_code == 404
    assert client.get(patch_path(first, third)).status_code == 401
    assert station.send("GET", f"/v1/patches/{first}/..%2f..%2fserver.toml").status_code in (404, 422)


def test_publishing_says_how_many_patches_and_again_makes_none_anew(fresh, command, make_bundle, tmp_path) -> None:
    said = []
    for number, data in enumerate((weights(1), weights(1, head=1))):
        bundle = make_bundle(tmp_path / f"b{number}", weights=data)
        command("sign", bundle, "--offline-keys", fresh.offline)
        said.append(command("publish", bundle, "--home", fresh.home).out)
    assert [line.split("; ")[1].strip() for line in said] == ["0 patches", "1 patches"]
    made = patches_of(fresh.home)
    assert "nothing changed" in command("publish", bundle, "--home", fresh.home).out
    assert patches_of(fresh.home) == made


def test_patches_to_files_that_nobody_is_to_run_any_more_go(fresh, make_bundle, tmp_path) -> None:
    hashes = []
    for number in range(RELEASES_BACK + 3):
        data = weights(1, head=number)
        hashes.append(sha256_hex(data))
        fresh.release(make_bundle(tmp_path / f"b{number}", weights=data))
    kept = patches_of(fresh.home)
    assert set(kept) == set(hashes[-RELEASES_BACK:])
    assert kept[hashes[-1]] == set(hashes[-1 - RELEASES_BACK : -1])


def test_small_files_get_no_patch_and_text_is_compressed(fresh, make_bundle, tmp_path) -> None:
    text = json.dumps([{"item": number, "miss": number % 7} for number in range(3000)]).encode()
    fresh.release(make_bundle(tmp_path / "small", weights=b"few bytes"))
    assert patches_of(fresh.home) == {}
    fresh.release(make_bundle(tmp_path / "text", weights=text))
    assert patches_of(fresh.home) == {sha256_hex(text): {NOTHING}}
    assert apply(b"", (fresh.home / "patches" / sha256_hex(text) / NOTHING).read_bytes()) == text


@pytest.mark.parametrize("what", ["built", "signed"])
def test_what_was_made_in_the_future_is_not_published(fresh, command, make_bundle, tmp_path, what: str) -> None:
    """Stations take it to be no earlier than that; a wrong clock must not lock a fleet out of its updates."""
    bundle, now = make_bundle(tmp_path / "bundle"), datetime.now(UTC)
    if what == "built":
        manifest = json.loads((bundle / "manifest.json").read_text())
        manifest["created_at"] = (now + timedelta(days=2)).isoformat()
        (bundle / "manifest.json").write_text(json.dumps(manifest))
    at = now + timedelta(days=2) if what == "signed" else now
    sign_bundle(bundle, fresh.offline, floor=None, release=None, now=at)
    done = command("publish", bundle, "--home", fresh.home, check=False)
    assert (done.code, "lies ahead of this server's clock" in done.err) == (2, True), done.err
