from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.contracts.durable import ContentFolder, check_hash, make_folder, sha256_hex, write_durably
from runtime.contracts.errors import Unsupported, Untrusted


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("no small disk: there is no mount command here")
    if mounted.returncode:
        pytest.skip(f"no small disk: mounting one was refused ({mounted.stderr.strip()}); run as root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(small_disk: Path) -> None:
    write_durably(small_disk / "state", b"old")
    with pytest.raises(OSError) as full:
        write_durably(small_disk / "state", bytes(1_000_000))
    assert full.value.errno == errno.ENOSPC
    assert [path.name for path in small_disk.iterdir()] == ["state"]
    assert (small_disk / "state").read_bytes() == b"old"


def test_a_full_disk_leaves_no_half_photo_and_the_next_one_that_fits_is_taken(small_disk: Path) -> None:
    folder = ContentFolder(small_disk / "photos")
    with pytest.raises(OSError, match="No space left"):
        folder.put(bytes(1_000_000))
    assert list(folder) == []
    assert folder.read(folder.put(b"small")) == b"small"


def test_a_folder_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_durably(tmp_path / "no" / "state", b"x")
    assert list(tmp_path.iterdir()) == []


def test_writing_replaces_the_whole_file(tmp_path: Path) -> None:
    write_durably(tmp_path / "state", b"a long old text")
    write_durably(tmp_path / "state", b"new")
    assert (tmp_path / "state").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_folders_are_made_with_their_parents_and_twice(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_file_is_found_by_the_hash_of_its_bytes(tmp_path: Path) -> None:
    folder = ContentFolder(tmp_path / "photos")
    sha256 = folder.put(b"photo")
    assert sha256 == sha256_hex(b"photo")
    assert folder.path(sha256) == tmp_path / "photos" / sha256[:2] / sha256
    assert folder.read(sha256) == b"photo"
    assert sha256 in folder
    assert sha256_hex(b"other") not in folder


def test_putting_twice_writes_once(tmp_path: Path) -> None:
    folder = ContentFolder(tmp_path)
    first = folder.path(folder.put(b"photo")).stat()
    second = folder.path(folder.put(b"photo")).stat()
    assert (first.st_ino, first.st_mtime_ns) == (second.st_ino, second.st_mtime_ns)


def test_the_folder_lists_its_hashes_and_no_leftovers(tmp_path: Path) -> None:
    folder = ContentFolder(tmp_path)
    put = {folder.put(bytes([number])) for number in range(20)}
    (folder.path(next(iter(put))).parent / ".half.tmp").write_bytes(b"x")
    assert set(folder) == put


def test_a_changed_byte_is_refused(tmp_path: Path) -> None:
    folder = ContentFolder(tmp_path)
    sha256 = folder.put(b"photo")
    folder.path(sha256).write_bytes(b"phot0")
    with pytest.raises(Untrusted, match="no longer match the hash; restore"):
        folder.read(sha256)


def test_a_hash_that_is_not_there_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ContentFolder(tmp_path).read(sha256_hex(b"never put"))


@settings(deadline=None)
@given(st.text(max_size=80) | st.sampled_from(["../" * 21 + "a", "A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n"]))
def test_what_is_no_hash_never_becomes_a_path(text: str) -> None:
    try:
        assert check_hash(text) == text
    except Unsupported as error:
        assert "expected 64 lower-case hex digits" in str(error)
    else:
        assert len(text) == 64
        assert set(text) <= set("0123456789abcdef")


def test_a_sweep_takes_what_a_crash_left_and_nothing_else(tmp_path: Path) -> None:
    folder = ContentFolder(tmp_path)
    kept = folder.put(b"a photo")
    left = folder.path(kept).with_name(f".{kept}.0123.tmp")
    left.write_bytes(b"half a")
    assert folder.sweep(left.stat().st_mtime) == 0
    assert folder.sweep(left.stat().st_mtime + 1) == 1
    assert list(folder) == [kept]
    assert not left.exists()


def test_a_secret_is_its_owners_from_the_first_byte(tmp_path: Path) -> None:
    write_durably(tmp_path / "key", b"secret", mode=0o600)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
