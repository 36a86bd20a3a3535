"""Applies a patch: zstd, with the old file's bytes as its prefix. What comes out is not believed: the caller hashes it.

Never gives more bytes than asked for, however much a patch claims to hold, and never takes more memory for its window
than the signed size of the new file needs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from runtime.contracts.errors import TryLater

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_PIECE_BYTES = 1 << 20


def patched(old: bytes, patch: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yield the new file's bytes as the patch comes in.

    Args:
        old: the older file; none: the patch is plain compression.
        patch: its bytes.
        size: of the new file, as signed, bytes.

    Raises:
        TryLater: the patch does not fit, or would give more than ``size`` bytes.
    """
    prefix = zstd.ZstdDict(old, is_raw=True).as_prefix if old else None
    window_log = max(10, (size - 1).bit_length())
    decompressor = zstd.ZstdDecompressor(
        zstd_dict=prefix, options={zstd.DecompressionParameter.window_log_max: window_log}
    )
    left = size
    try:
        for chunk in patch:
            fed = chunk
            while not decompressor.eof:
                piece = decompressor.decompress(fed, max_length=min(_PIECE_BYTES, left + 1))
                fed = b""
                left -= len(piece)
                if left < 0:
                    raise TryLater(f"patch: it gives more than the {size} bytes that were signed")
                if piece:
                    yield piece
                if decompressor.needs_input:
                    break
            if decompressor.eof:
                return
    except zstd.ZstdError as error:
        raise TryLater(f"patch: it does not fit what is here ({error})") from error
    raise TryLater("patch: it ends too soon")
