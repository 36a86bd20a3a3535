"""Signing, publishing and the TUF repository, read by the real client."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tuf.api.exceptions import BadVersionNumberError, DownloadHTTPError, RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from sync_server import releases
from sync_server.settings import read_settings
from sync_server.signing import sign_bundle
from sync_server.store import Store


class StationFetcher(FetcherInterface):
    """Downloads as the agent does: signed by the station."""

    def __init__(self, station) -> None:
        self.station = station
        self.instead: dict[str, bytes] = {}

    def _fetch(self, url: str):
        path = urlsplit(url).path
        if path in self.instead:
            yield self.instead[path]
            return
        answer = self.station.send("GET", path)
        if answer.status_code != 200:
            raise DownloadHTTPError(answer.reason_phrase, answer.status_code)
        yield answer.content


@pytest.fixture
def updater(station, client, tmp_path: Path):
    def make(folder: str = "metadata", instead: dict[str, bytes] | None = None) -> Updater:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / "targets").mkdir(exist_ok=True)
        root = client.get("/v1/tuf/1.root.json").content
        fetcher = StationFetcher(station)
        fetcher.instead = instead or {}
        base = str(client.base_url).rstrip("/") + "/"
        return Updater(
            str(tmp_path / folder),
            f"{base}v1/tuf/",
            str(tmp_path / "targets"),
            f"{base}v1/tuf/targets/",
            fetcher=fetcher,
            bootstrap=root,
        )

    return make


@pytest.fixture
def fresh(tmp_path: Path, found):
    """A founded server of its own, for what must not touch the module's."""
    return found(tmp_path)


def tamper(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def custom_of(targets: Path) -> dict:
    signed = json.loads(targets.read_bytes())["signed"]
    return {path: entry["custom"] for path, entry in signed["targets"].items()}


def test_a_published_release_reaches_the_real_tuf_client_and_every_file_by_its_hash(
    home, station, updater, make_bundle, tmp_path
) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    home.release(bundle)
    target = station.send("GET", "/v1/station/assignment").json()["target"]
    assert target == "bags/1/manifest.json"
    client = updater()
    info = client.get_targetinfo(target)
    assert info.custom == {"name": "bags", "release": 1, "floor": 0}
    assert Path(client.download_target(info)).read_bytes() == (bundle / "manifest.json").read_bytes()
    for path in ("model.onnx", "evidence/report.json"):
        data = (bundle / path).read_bytes()
        file = f"/v1/files/{hashlib.sha256(data).hexdigest()}"
        assert station.send("GET", file).content == data
        part = station.send("GET", file, Range="bytes=1-1")
        assert (part.status_code, part.content) == (206, data[1:2])


def test_a_running_server_picks_up_the_next_release_and_keeps_the_last_one(
    home, station, people, updater, make_bundle, tmp_path
) -> None:
    before = updater()
    before.refresh()
    home.release(make_bundle(tmp_path / "bundle", weights=b"better"), "--floor", 1)
    target = station.send("GET", "/v1/station/assignment").json()["target"]
    assert target == "bags/2/manifest.json"
    after = updater()
    assert after.get_targetinfo(target).custom["floor"] == 1
    assert Path(after.download_target(after.get_targetinfo("bags/1/manifest.json"))).exists()
    shown = people["viewer"].send("GET", "/v1/releases").json()
    assert [release["release"] for release in shown] == [2, 1]


def test_a_photo_or_an_unknown_hash_is_no_bundle_file(station, png) -> None:
    station.put_photo(png(1))
    for sha256 in (hashlib.sha256(png(1)).hexdigest(), "0" * 64):
        assert station.send("GET", f"/v1/files/{sha256}").status_code == 404
        assert station.send("GET", f"/v1/tuf/targets/bags/1/{sha256}.manifest.json").status_code == 404
    assert station.send("GET", "/v1/tuf/targets/bags/1/manifest.json").status_code == 404


def test_the_real_client_refuses_a_rolled_back_timestamp_and_a_changed_snapshot(
    home, client, updater, make_bundle, tmp_path
) -> None:
    old = client.get("/v1/tuf/timestamp.json").content
    home.release(make_bundle(tmp_path / "bundle", weights=b"newest"))
    updater().refresh()
    with pytest.raises(BadVersionNumberError):
        updater(instead={"/v1/tuf/timestamp.json": old}).refresh()
    version = Metadata.from_bytes(client.get("/v1/tuf/timestamp.json").content).signed.snapshot_meta.version
    path = f"/v1/tuf/{version}.snapshot.json"
    forged = Metadata.from_bytes(client.get(path).content)
    forged.signed.meta["targets.json"].version = 1
    with pytest.raises(RepositoryError) as refused:
        updater("elsewhere", instead={path: forged.to_bytes()}).refresh()
    assert isinstance(refused.value, UnsignedMetadataError)


def test_metadata_is_public_and_bundle_files_are_not(client, station) -> None:
    assert client.get("/v1/tuf/1.root.json").status_code == 200
    assert client.get("/v1/tuf/timestamp.json").status_code == 200
    assert client.get(f"/v1/files/{'0' * 64}").status_code == 401


def test_signing_and_publishing_again_change_nothing_and_say_so(fresh, command, make_bundle, tmp_path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    first = command("sign", bundle, "--offline-keys", fresh.offline)
    signed = (bundle / "release" / "targets.json").read_bytes()
    again = command("sign", bundle, "--offline-keys", fresh.offline)
    assert (first.out.split(":")[0], again.out.split(":")[0]) == ("signed", "already signed")
    assert (bundle / "release" / "targets.json").read_bytes() == signed
    assert command("publish", bundle, "--home", fresh.home).out.startswith("published: bags/1/manifest.json, 3 files")
    assert "nothing changed" in command("publish", bundle, "--home", fresh.home).out


def test_a_bundle_that_decides_nothing_is_not_signed(fresh, command, make_bundle, tmp_path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    manifest = json.loads((bundle / "manifest.json").read_text())
    tensors = [{"name": "audio", "dtype": "float32", "shape": [None, 16000]}]
    manifest |= {"manifest": 2, "judged_by": "fidelity", "input": None, "tensors": tensors}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    done = command("sign", bundle, "--offline-keys", fresh.offline, check=False)
    assert done.code == 2
    assert "only the fidelity of its outputs was judged, so it decides nothing" in done.err
    assert not (bundle / "release").exists()


def test_a_signature_lost_after_a_crash_is_written_again(fresh, command, make_bundle, tmp_path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    command("sign", bundle, "--offline-keys", fresh.offline)
    shutil.rmtree(bundle / "release")
    assert "already signed" in command("sign", bundle, "--offline-keys", fresh.offline).out
    assert "published" in command("publish", bundle, "--home", fresh.home).out


@pytest.mark.parametrize("file", ["model.onnx", "evidence/report.json", "manifest.json", "release/targets.json"])
def test_a_bundle_with_one_changed_byte_is_refused_in_one_line(
    fresh, command, make_bundle, tmp_path, file: str
) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    command("sign", bundle, "--offline-keys", fresh.offline)
    tamper(bundle / file)
    done = command("publish", bundle, "--home", fresh.home, check=False)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert done.err.startswith("touchstone-server: ")
    if not file.startswith("release"):
        assert command("sign", bundle, "--offline-keys", fresh.offline, check=False).code == 2


def test_a_signature_of_other_keys_or_of_another_bundle_is_refused(
    fresh, found, command, make_bundle, tmp_path
) -> None:
    stranger = found(tmp_path / "stranger")
    bundle = make_bundle(tmp_path / "bundle")
    command("sign", bundle, "--offline-keys", stranger.offline)
    assert "not signed by the targets key" in command("publish", bundle, "--home", fresh.home, check=False).err
    other = make_bundle(tmp_path / "other", weights=b"other")
    command("sign", other, "--offline-keys", fresh.offline)
    shutil.copytree(other / "release", bundle / "release", dirs_exist_ok=True)
    assert "not this bundle" in command("publish", bundle, "--home", fresh.home, check=False).err


def test_the_targets_key_of_another_server_signs_nothing(fresh, found, command, make_bundle, tmp_path) -> None:
    stranger = found(tmp_path / "stranger")
    shutil.copy(stranger.offline / "targets.pem", fresh.offline / "targets.pem")
    done = command("sign", make_bundle(tmp_path / "bundle"), "--offline-keys", fresh.offline, check=False)
    assert (done.code, custom_of(fresh.offline / "targets.json")) == (2, {})


def test_an_older_signature_cannot_be_published_after_a_newer_one(fresh, command, make_bundle, tmp_path) -> None:
    bundles = [make_bundle(tmp_path / name, weights=name.encode()) for name in ("one", "two")]
    for bundle in bundles:
        command("sign", bundle, "--offline-keys", fresh.offline)
    command("publish", bundles[1], "--home", fresh.home)
    done = command("publish", bundles[0], "--home", fresh.home, check=False)
    assert (done.code, "sign the bundle again" in done.err) == (2, True)


def test_counters_only_rise_and_a_floor_takes_older_releases_out(fresh, command, make_bundle, tmp_path) -> None:
    bundles = [make_bundle(tmp_path / name, weights=name.encode()) for name in ("one", "two", "three")]
    keys = ("--offline-keys", fresh.offline)
    command("sign", bundles[0], *keys)
    command("sign", bundles[1], *keys, "--release", 7, "--floor", 1)
    assert list(custom_of(fresh.offline / "targets.json")) == ["bags/1/manifest.json", "bags/7/manifest.json"]
    for options, word in (
        (("--release", 7), "above 7"),
        (("--floor", 0), "never falls"),
        (("--floor", 9), "never falls"),
    ):
        done = command("sign", bundles[2], *keys, *options, check=False)
        assert (done.code, word in done.err) == (2, True), done.err
    command("sign", bundles[2], *keys, "--floor", 8)
    assert custom_of(bundles[2] / "release" / "targets.json") == {
        "bags/8/manifest.json": {"name": "bags", "release": 8, "floor": 8}
    }
    command("sign", bundles[2], *keys, "--floor", 9)
    assert list(custom_of(fresh.offline / "targets.json")) == ["bags/9/manifest.json"]


def test_unchanged_files_are_not_stored_twice(fresh, command, make_bundle, tmp_path) -> None:
    for name in ("one", "two"):
        bundle = make_bundle(tmp_path / name, weights=name.encode())
        command("sign", bundle, "--offline-keys", fresh.offline)
        done = command("publish", bundle, "--home", fresh.home)
    assert "2 files stored, 1 were here already" in done.out


def test_a_bundle_name_that_cannot_be_a_target_path_is_refused(fresh, command, make_bundle, tmp_path) -> None:
    bundle = make_bundle(tmp_path / "bundle", name="all bags")
    assert "bundle name" in command("sign", bundle, "--offline-keys", fresh.offline, check=False).err


def test_a_signature_that_has_expired_is_not_published(fresh, command, make_bundle, tmp_path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    long_ago = datetime.now(UTC) - timedelta(days=400)
    sign_bundle(bundle, fresh.offline, floor=None, release=None, now=long_ago)
    assert "expired" in command("publish", bundle, "--home", fresh.home, check=False).err


def test_a_timestamp_is_signed_anew_once_half_of_its_life_has_passed(fresh) -> None:
    settings = read_settings(fresh.home)
    store = Store(settings.database)
    now = datetime.now(UTC)
    first = releases.fresh_timestamp(store, settings.online_keys, now)
    assert releases.fresh_timestamp(store, settings.online_keys, now + timedelta(hours=11)) == first
    later = releases.fresh_timestamp(store, settings.online_keys, now + timedelta(hours=13))
    signed = Metadata.from_bytes(later).signed
    assert (signed.version, signed.snapshot_meta.version) == (2, 1)
    assert signed.expires > now + timedelta(hours=36)
    store.close()
