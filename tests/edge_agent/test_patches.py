"""Patches: what the server makes the station applies, and whatever is wrong with one, nothing more comes out of it."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.patches import patched
from runtime.contracts.errors import TryLater
from sync_server.patching import WORTH_IT, make_patch, zstd

MIB = 1 << 20


def weights(mib: float, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).standard_normal(round(mib * MIB / 4), dtype=np.float32).tobytes()


def pieces(data: bytes, size: int = 1000) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def apply(old: bytes, patch: bytes, size: int) -> bytes:
    return b"".join(patched(old, pieces(patch), size))


@pytest.mark.parametrize("mib", [0.1, 1, 40])
def test_a_fine_tuned_head_is_a_small_part_of_the_file(mib: float) -> None:
    old = weights(mib)
    new = old[:-4000] + weights(4000 / MIB, seed=1)
    patch = make_patch(old, new)
    assert patch is not None
    assert len(patch) < 0.1 * len(new) if mib < 1 else len(patch) < 0.02 * len(new)
    assert apply(old, patch, len(new)) == new


def test_other_weights_are_not_worth_a_patch_and_text_is_compressed_from_nothing() -> None:
    assert make_patch(weights(1), weights(1, seed=1)) is None
    assert make_patch(b"", weights(1)) is None
    text = b"".join(b'{"item": %d, "score": 0.%d}\n' % (n, n * 7919 % 1000) for n in range(5000))
    patch = make_patch(b"", text)
    assert patch is not None
    assert len(patch) < WORTH_IT * len(text)
    assert apply(b"", patch, len(text)) == text


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_a_patch_gives_the_new_file_whatever_moved(data: st.DataObject) -> None:
    old = weights(0.1, seed=data.draw(st.integers(0, 5)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(old)), min_size=2, max_size=4)))
    moved = b"".join([old[cuts[-1] :], data.draw(st.binary(max_size=200)), old[: cuts[0]], old[cuts[0] : cuts[1]]])
    patch = make_patch(old, moved)
    assert patch is None or apply(old, patch, len(moved)) == moved


def test_a_patch_that_unpacks_to_more_than_was_signed_stops_there() -> None:
    bomb = zstd.compress(bytes(512 * MIB), options={zstd.CompressionParameter.window_log: 20})
    assert len(bomb) < MIB
    tracemalloc.start()
    taken = 0
    with pytest.raises(TryLater, match="more than the 3145728 bytes that were signed"):
        for piece in patched(b"", pieces(bomb), 3 * MIB):
            taken += len(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken <= 3 * MIB
    assert peak < 16 * MIB


def test_a_window_larger_than_the_file_needs_is_refused() -> None:
    greedy = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    patch = greedy.compress(b"x" * 100_000) + greedy.flush()
    with pytest.raises(TryLater, match="does not fit"):
        apply(b"", patch, 100_000)


@pytest.mark.parametrize("change", ["torn", "empty", "garbage", "other old file", "a byte"])
def test_a_patch_that_is_not_right_is_told_or_gives_other_bytes(change: str) -> None:
    old = weights(0.2)
    new = old[:-4000] + weights(4000 / MIB, seed=1)
    patch = make_patch(old, new)
    assert patch is not None
    broken = {
        "torn": patch[:-1],
        "empty": b"",
        "garbage": b"<html>" * 100,
        "other old file": patch,
        "a byte": patch[: len(patch) // 2] + bytes([patch[len(patch) // 2] ^ 1]) + patch[len(patch) // 2 + 1 :],
    }[change]
    try:
        got = apply(weights(0.2, seed=9) if change == "other old file" else old, broken, len(new))
    except TryLater as error:
        assert str(error).startswith("patch: ")
    else:
        assert got != new, "the caller's hash finds it"
        assert change in ("other old file", "a byte")


def test_what_follows_a_patch_is_not_read() -> None:
    text = b"a" * 50_000
    patch = make_patch(b"", text)
    assert patch is not None
    endless = itertools.chain([patch], itertools.repeat(b"x"))
    assert b"".join(patched(b"", endless, len(text))) == text
