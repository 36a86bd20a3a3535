"""What travels: files that changed, as patches where they are smaller, and whole where anything is wrong with one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.bundle_store import open_bundle
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import TryLater
from runtime.contracts.sync import NOTHING, patch_path
from sync_server.patching import make_patch
from tests.edge_agent.heavy_bundle import HEAD_BYTES, WEIGHTS_BYTES, make_heavy
from tests.edge_agent.repository import Repository
from tests.edge_agent.update_rig import Rig

Heavy = Callable[..., Path]


@pytest.fixture
def heavy(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> Heavy:
    """``heavy(backbone=0, head=0, authentic_below=None)`` makes a bundle of a megabyte."""
    made = iter(range(100))
    return lambda **seeds: make_heavy(tiny_bundle(tmp_path / f"heavy {next(made)}"), **seeds)


def model_of(folder: Path) -> bytes:
    return (folder / "model.onnx").read_bytes()


def sha(folder: Path) -> str:
    return sha256_hex(model_of(folder))


def offer_patch(repository: Repository, old: Path | None, new: Path) -> str:
    patch = make_patch(model_of(old) if old else b"", model_of(new))
    assert patch is not None
    path = patch_path(sha(old) if old else NOTHING, sha(new))
    repository.patches[path] = patch
    return path


def installed(rig: Rig) -> bytes:
    assert rig.slot.current is not None
    return model_of(open_bundle(rig.slot.current.inspector.bundle.folder).folder)


def update(rig: Rig, repository: Repository, folder: Path, release: int, *, cut_short: bool = False) -> int:
    """Publish and update; return how many bytes of files and patches travelled."""
    repository.publish(folder, release=release)
    repository.asked.clear()
    before, counted = repository.sent_bytes, rig.downloads.received_bytes
    assert rig.updates.step()
    assert rig.running() == release
    assert installed(rig) == model_of(folder)
    sent, received = repository.sent_bytes - before, rig.downloads.received_bytes - counted
    assert received <= sent if cut_short else received == sent
    return sent


def test_the_same_bundle_signed_again_sends_nothing(rig: Rig, repository: Repository, heavy: Heavy) -> None:
    folder = heavy()
    assert update(rig, repository, folder, 1) > WEIGHTS_BYTES
    assert update(rig, repository, folder, 2) == 0
    assert repository.files_asked() == repository.patches_asked() == []


def test_new_thresholds_send_no_weights(rig: Rig, repository: Repository, heavy: Heavy) -> None:
    update(rig, repository, heavy(), 1)
    sent = update(rig, repository, heavy(authentic_below=0.1), 2)
    assert len(repository.files_asked()) == 1, "the manifest alone"
    assert repository.patches_asked() == []
    assert sent < 4096


def test_a_fine_tuned_head_sends_little_more_than_the_head(rig: Rig, repository: Repository, heavy: Heavy) -> None:
    old, new = heavy(), heavy(head=1)
    update(rig, repository, old, 1)
    path = offer_patch(repository, old, new)
    sent = update(rig, repository, new, 2)
    assert repository.patches_asked() == [path]
    assert HEAD_BYTES // 2 < sent < 0.03 * WEIGHTS_BYTES


def test_without_a_patch_the_whole_file_comes(rig: Rig, repository: Repository, heavy: Heavy) -> None:
    update(rig, repository, heavy(), 1)
    assert update(rig, repository, heavy(backbone=1), 2) > WEIGHTS_BYTES
    assert len(repository.patches_asked()) == 1


def test_a_file_that_is_new_may_come_compressed(rig: Rig, repository: Repository, heavy: Heavy) -> None:
    folder = heavy()
    data = bytes(200_000)
    (folder / "evidence.json").write_bytes(data)
    manifest = (folder / "manifest.json").read_text()
    manifest = manifest.replace(
        f'"sha256":"{sha256_hex(b"{}")}","size":2', f'"sha256":"{sha256_hex(data)}","size":200000'
    )
    (folder / "manifest.json").write_text(manifest)
    patch = make_patch(b"", data)
    assert patch is not None
    repository.patches[patch_path(NOTHING, sha256_hex(data))] = patch
    sent = update(rig, repository, folder, 1)
    assert f"/v1/files/{sha256_hex(data)}" not in repository.asked
    assert sent < len(model_of(folder)) + 10_000


def test_the_release_before_the_running_one_will_do_for_a_patch(rig: Rig, repository: Repository, heavy: Heavy) -> None:
    first, second, third = heavy(), heavy(backbone=1), heavy(head=1)
    update(rig, repository, first, 1)
    update(rig, repository, second, 2)
    path = offer_patch(repository, first, third)
    assert update(rig, repository, third, 3) < 0.03 * WEIGHTS_BYTES
    assert repository.patches_asked()[-1] == path


@pytest.mark.parametrize("wrong", ["gives another file", "torn", "too long", "no zstd", "the old file has rotted"])
def test_whatever_is_wrong_with_a_patch_the_whole_file_comes(
    rig: Rig, repository: Repository, heavy: Heavy, wrong: str
) -> None:
    old, new = heavy(), heavy(head=1)
    update(rig, repository, old, 1)
    path = offer_patch(repository, old, new)
    if wrong == "gives another file":
        other = make_patch(model_of(old), model_of(heavy(head=2)))
        assert other is not None
        repository.patches[path] = other
    elif wrong == "torn":
        repository.patches[path] = repository.patches[path][:-5]
    elif wrong == "too long":
        repository.patches[path] = bytes(len(model_of(new)) + 1)
    elif wrong == "no zstd":
        repository.patches[path] = b"<html>login</html>"
    else:
        assert rig.slot.current is not None
        rotten = rig.slot.current.inspector.bundle.folder / "model.onnx"
        rotten.write_bytes(bytes(len(model_of(old))))
    assert update(rig, repository, new, 2, cut_short=True) > WEIGHTS_BYTES
    assert rig.slot.book.refusals() == ()
    assert not list(rig.home.incoming.glob("??/*"))


def test_a_patch_that_unpacks_to_more_than_was_signed_fills_no_disk(
    rig: Rig, repository: Repository, heavy: Heavy, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = heavy(), heavy(head=1)
    update(rig, repository, old, 1)
    bomb = make_patch(b"", bytes(300 << 20))
    assert bomb is not None
    repository.patches[patch_path(sha(old), sha(new))] = bomb
    update(rig, repository, new, 2)
    assert '"event": "patch_unused"' in capsys.readouterr().err


def test_a_download_goes_on_where_the_server_left_it_though_patches_fail_too(
    rig: Rig, repository: Repository, heavy: Heavy
) -> None:
    old, new = heavy(), heavy(head=1)
    update(rig, repository, old, 1)
    repository.publish(new, release=2)
    whole = repository.files.pop(sha(new))
    with pytest.raises(Exception, match="not-found"):
        rig.updates.step()
    repository.files[sha(new)] = whole[:-1]
    with pytest.raises(TryLater):
        rig.updates.step()
    repository.files[sha(new)] = whole
    assert rig.updates.step()
    assert installed(rig) == whole


def test_a_bundle_that_is_gone_from_the_disk_leaves_nothing_to_patch_from(
    rig: Rig, repository: Repository, heavy: Heavy
) -> None:
    old, new = heavy(), heavy(head=1)
    update(rig, repository, old, 1)
    offer_patch(repository, old, new)
    assert rig.slot.current is not None
    shutil.rmtree(rig.slot.current.inspector.bundle.folder)
    assert update(rig, repository, new, 2) > WEIGHTS_BYTES
