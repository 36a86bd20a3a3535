"""Updates: what may run is what the offline keys signed, at or above the floor, and only after it has proved itself."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from edge_agent.outbox import Outbox
from edge_agent.server_link import ServerLink
from runtime.bundle_store import open_bundle
from runtime.contracts.bundle import MANIFEST_VERSION
from runtime.contracts.durable import ContentFolder, sha256_hex
from runtime.contracts.errors import StationFault, TryLater, Unsupported, Untrusted
from tests.edge_agent.repository import Repository
from tests.edge_agent.rigs import Say, make_home, scripted_server
from tests.edge_agent.update_rig import Rig


def test_a_release_is_fetched_tried_swapped_in_and_runs_after_a_restart_without_a_server(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    repository.publish(bundle(0.0), release=1, floor=1)
    assert rig.updates.step()
    assert rig.running() == 1
    assert rig.slot.book.floor() == 1
    rig.link.close()
    rig.restart()
    assert rig.running() == 1


def test_nothing_published_is_nothing_to_do(rig: Rig) -> None:
    assert not rig.updates.step()
    assert rig.running() is None


def test_the_running_release_is_not_fetched_again(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    repository.publish(bundle(0.0), release=1)
    rig.updates.step()
    repository.asked.clear()
    assert not rig.updates.step()
    assert repository.asked == ["/v1/station/assignment"]


def test_only_files_that_are_not_here_already_travel(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    repository.publish(bundle(0.0), release=1)
    rig.updates.step()
    assert len(repository.files_asked()) == len(open_bundle(bundle_folder(rig)).manifest.files)
    repository.asked.clear()
    repository.publish(bundle(0.5), release=2)
    rig.updates.step()
    assert rig.running() == 2
    assert repository.files_asked() == [f"/v1/files/{bundle_folder(rig).name}"], "the manifest alone has changed"


def bundle_folder(rig: Rig) -> Path:
    assert rig.slot.current is not None
    return rig.slot.current.inspector.bundle.folder


def test_the_last_two_releases_are_kept_and_older_ones_go(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    for release in (1, 2, 3):
        repository.publish(bundle(release / 10), release=release)
        rig.updates.step()
    assert len(list(rig.home.bundles.iterdir())) == 2
    assert not list(rig.home.incoming.glob("??/*"))


def test_a_release_below_the_committed_floor_is_refused_though_it_is_signed(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    old = repository.publish(bundle(0.0), release=1)
    repository.publish(bundle(0.1), release=2, floor=2)
    rig.updates.step()
    repository.assigned = f"{old.name}/{old.release}/manifest.json"
    with pytest.raises(Untrusted, match="below the floor"):
        rig.updates.step()
    assert rig.running() == 2


def test_a_release_above_the_floor_may_go_back_without_a_new_signature(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    repository.publish(bundle(0.0), release=1)
    rig.updates.step()
    repository.publish(bundle(0.1), release=2)
    rig.updates.step()
    repository.assigned = "tiny/1/manifest.json"
    rig.updates.step()
    assert rig.running() == 1


def test_a_target_that_no_offline_key_signed_is_refused(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    repository.publish(bundle(0.0), release=1)
    repository.assigned = "tiny/9/manifest.json"
    with pytest.raises(Untrusted, match="no offline key signed"):
        rig.updates.step()


def test_targets_signed_with_another_key_are_refused(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    repository.keys["targets"] = CryptoSigner.generate_ed25519()
    repository.publish(bundle(0.0), release=1)
    with pytest.raises(Untrusted, match="targets was signed by 0/1 keys"):
        rig.updates.step()
    assert not repository.files_asked()


def test_a_root_that_the_old_root_did_not_sign_is_refused(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    repository.keys["root"] = CryptoSigner.generate_ed25519()
    repository.sign_root()
    repository.publish(bundle(0.0), release=1)
    with pytest.raises(Untrusted, match="root was signed by 0/1 keys"):
        rig.updates.step()


def test_a_rotated_targets_key_is_followed_and_admits_after_a_restart(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    repository.publish(bundle(0.0), release=1)
    rig.updates.step()
    repository.keys["targets"] = CryptoSigner.generate_ed25519()
    repository.sign_root()
    repository.publish(bundle(0.1), release=2)
    rig.updates.step()
    rig.restart()
    assert rig.running() == 2


@pytest.mark.parametrize("lost", ["timestamp.json", "snapshot.json", None])
def test_old_metadata_is_refused_even_when_a_power_cut_took_the_cache(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path], lost: str | None
) -> None:
    repository.publish(bundle(0.0), release=1)
    old = dict(repository.metadata)
    repository.publish(bundle(0.1), release=2)
    rig.updates.step()
    repository.metadata = old
    repository.assigned = "tiny/1/manifest.json"
    if lost is None:
        shutil.rmtree(rig.home.tuf_cache)
        rig.home.tuf_cache.mkdir()
    else:
        (rig.home.tuf_cache / lost).write_bytes(b"")
    with pytest.raises(Untrusted):
        rig.updates.step()
    assert rig.running() == 2


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_expired_metadata_stops_updates_and_never_scanning(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path], photo_of: Callable[..., bytes], role: str
) -> None:
    repository.publish(bundle(0.0), release=1)
    rig.updates.step()
    repository.lives[role] = timedelta(days=-1)
    repository.publish(bundle(0.1), release=2)
    with pytest.raises(TryLater, match="expired"):
        rig.updates.step()
    rig.restart()
    assert rig.running() == 1
    assert rig.slot.require().inspect({"logo": (photo_of(20),)}, None).verdict == "uncertain"


def test_expiry_is_judged_by_the_servers_time_as_a_stations_clock_may_be_dead(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    two_days_s = 2 * 86_400.0
    repository.clock = lambda: time.time() - two_days_s  # this machine's clock has run ahead
    repository.lives = dict.fromkeys(repository.lives, timedelta(days=-1))
    repository.sign_root()
    repository.publish(bundle(0.0), release=1)
    assert rig.updates.step()
    repository.clock = lambda: time.time() + two_days_s  # and now it lies behind
    repository.lives = dict.fromkeys(repository.lives, timedelta(days=1))
    repository.sign_root()
    repository.publish(bundle(0.1), release=2)
    with pytest.raises(TryLater, match="expired"):
        rig.updates.step()


def test_a_release_that_only_a_delegated_role_lists_is_refused(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    repository.publish(bundle(0.0), release=1)
    repository.sign_all(delegate=True)
    with pytest.raises(Untrusted, match="does not list it"):
        rig.updates.step()
    assert not repository.files_asked()


def test_a_changed_byte_in_a_file_never_gets_installed(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    folder = bundle(0.0)
    repository.publish(folder, release=1)
    sha256 = sha256_hex((folder / "model.onnx").read_bytes())
    good = repository.files[sha256]
    repository.files[sha256] = good[:-1] + bytes([good[-1] ^ 1])
    with pytest.raises(TryLater, match="other bytes than were signed"):
        rig.updates.step()
    assert not list(rig.home.bundles.iterdir())
    repository.files[sha256] = good
    repository.asked.clear()
    assert rig.updates.step()
    assert len(repository.files_asked()) < 5, "what was fetched whole before is not fetched again"


def test_bytes_that_rot_on_this_disk_are_fetched_again_and_no_reason_to_refuse_a_release(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    folder = bundle(0.0)
    repository.publish(folder, release=1)
    sha256 = sha256_hex((folder / "model.onnx").read_bytes())
    rotten = ContentFolder(rig.home.incoming).path(sha256)
    rotten.parent.mkdir()
    rotten.write_bytes(b"rotten")
    with pytest.raises(TryLater, match="will fetch it again"):
        rig.updates.step()
    assert rig.slot.book.refusals() == ()
    assert rig.updates.step()
    assert rig.running() == 1


def test_a_disk_that_gives_back_other_bytes_than_were_written_is_no_reason_to_refuse_a_release(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_badly(path: Path, data: bytes) -> None:
        path.write_bytes(data[:-1] if path.name == "model.onnx" else data)

    repository.publish(bundle(0.0), release=1)
    with monkeypatch.context() as patched:
        patched.setattr("edge_agent.downloads.write_durably", write_badly)
        with pytest.raises(TryLater, match="reads back otherwise"):
            rig.updates.step()
    assert rig.slot.book.refusals() == ()
    assert not list(rig.home.bundles.glob("[!.]*"))
    assert rig.updates.step()


def test_a_signed_manifest_that_gives_a_file_two_sizes_is_refused_and_remembered(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    folder = bundle(0.0)
    repository.publish(folder, release=1)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"].insert(0, {**manifest["files"][0], "path": "twin", "size": 1})
    repository.publish_manifest(json.dumps(manifest).encode(), release=2)
    with pytest.raises(Untrusted, match="as was signed"):
        rig.updates.step()
    assert not rig.updates.step()


@pytest.mark.parametrize(
    ("change", "says"),
    [(lambda data: data + b"x", "sent more than"), (lambda data: data[:-1], "bytes from the server")],
)
def test_a_file_of_another_size_is_cut_off(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path], change: Callable[[bytes], bytes], says: str
) -> None:
    folder = bundle(0.0)
    repository.publish(folder, release=1)
    sha256 = sha256_hex((folder / "model.onnx").read_bytes())
    repository.files[sha256] = change(repository.files[sha256])
    with pytest.raises(TryLater, match=says):
        rig.updates.step()
    assert rig.running() is None


def test_a_changed_manifest_is_not_taken(rig: Rig, repository: Repository, bundle: Callable[[float], Path]) -> None:
    folder = bundle(0.0)
    repository.publish(folder, release=1)
    raw = (folder / "manifest.json").read_bytes()
    repository.files[sha256_hex(raw)] = raw.replace(b'"tiny"', b'"evil"')
    with pytest.raises(TryLater, match="another manifest"):
        rig.updates.step()


@pytest.mark.parametrize(
    ("raw", "family"),
    [
        (f'{{"manifest": {MANIFEST_VERSION + 1}}}'.encode(), Unsupported),
        (b'{"manifest": 1}', Untrusted),
        (b"no json", Untrusted),
    ],
)
def test_a_signed_manifest_that_is_none_is_refused_once_and_remembered(
    rig: Rig, repository: Repository, raw: bytes, family: type[Exception]
) -> None:
    repository.publish_manifest(raw, release=1)
    with pytest.raises(family):
        rig.updates.step()
    repository.asked.clear()
    assert not rig.updates.step()
    assert not repository.files_asked()


def test_a_model_that_disagrees_with_its_builder_is_refused_until_a_newer_release_brings_it_again(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path], tmp_path: Path
) -> None:
    repository.publish(bundle(0.0), release=1)
    rig.updates.step()
    wrong = tmp_path / "wrong"
    shutil.copytree(bundle(0.1), wrong)
    manifest = json.loads((wrong / "manifest.json").read_text())
    manifest["golden"][0]["p_counterfeit"]["ort-cpu-float32"] = 0.999
    (wrong / "manifest.json").write_text(json.dumps(manifest))
    repository.publish(wrong, release=2)
    with pytest.raises(Unsupported, match="golden sample 1"):
        rig.updates.step()
    assert rig.running() == 1
    assert [(r.release, r.bundle_id) for r in rig.slot.book.refusals()] == [
        (2, sha256_hex((wrong / "manifest.json").read_bytes()))
    ]
    assert len(list(rig.home.bundles.iterdir())) == 1
    repository.asked.clear()
    rig.restart()
    assert not rig.updates.step()
    assert not repository.files_asked()
    repository.publish(wrong, release=3)
    with pytest.raises(Unsupported):
        rig.updates.step()


def test_a_changed_byte_on_disk_is_refused_at_start_and_the_release_before_it_serves_until_it_is_fetched_again(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    repository.publish(bundle(0.0), release=1)
    rig.updates.step()
    repository.publish(bundle(0.1), release=2)
    rig.updates.step()
    broken = bundle_folder(rig) / "model.onnx"
    data = bytearray(broken.read_bytes())
    data[len(data) // 2] ^= 1
    broken.write_bytes(data)
    rig.restart()
    assert rig.running() == 1
    assert rig.updates.step()
    assert rig.running() == 2
    assert open_bundle(bundle_folder(rig)).bundle_id == bundle_folder(rig).name


def test_a_bundle_without_the_metadata_that_admitted_it_does_not_run(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    repository.publish(bundle(0.0), release=1)
    rig.updates.step()
    shutil.rmtree(bundle_folder(rig) / "admitted")
    rig.restart()
    assert rig.running() is None
    assert rig.updates.step()
    assert rig.running() == 1


def test_a_bundle_admitted_by_somebody_elses_keys_does_not_run(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    repository.publish(bundle(0.0), release=1)
    rig.updates.step()
    rig.root = Repository().root
    rig.restart()
    assert rig.running() is None


def test_garbage_instead_of_metadata_is_try_later(
    tmp_path: Path, outbox: Outbox, repository: Repository, link_to: Callable[..., ServerLink]
) -> None:
    repository.publish_manifest(b"{}", release=1)

    def answer(asked: object) -> Say:
        path = asked.path  # type: ignore[attr-defined]
        return repository(asked) if "assignment" in path else Say(body=b"<html>", kind="text/html")  # type: ignore[arg-type]

    with scripted_server(answer) as (url, _):
        rig = Rig(make_home(tmp_path / "station"), outbox, link_to(url), repository.root)
        with pytest.raises(TryLater):
            rig.updates.step()


def test_a_bundle_that_does_not_fit_on_the_disk_is_not_begun(
    rig: Rig, repository: Repository, bundle: Callable[[float], Path]
) -> None:
    repository.publish(bundle(0.0), release=1)
    rig.min_free_bytes = 2**60
    rig.restart()
    with pytest.raises(StationFault, match="free some space"):
        rig.updates.step()
    assert len(repository.files_asked()) == 1, "the manifest, which says how large the rest is"
