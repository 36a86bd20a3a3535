"""ONNX to bytes, the same from run to run."""

from __future__ import annotations

from pathlib import Path

import onnx

from runtime.contracts.durable import sha256_hex


def save_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Write a model with its weights inside."""
    path.write_bytes(onnx_bytes(model))


def onnx_bytes(model: onnx.ModelProto) -> bytes:
    """Serialise in the one order that protobuf promises for a version."""
    return bytes(model.SerializeToString(deterministic=True))


def onnx_digest(model: onnx.ModelProto) -> str:
    """Return the SHA-256 of ``onnx_bytes``."""
    return sha256_hex(onnx_bytes(model))
