"""A small TUF repository in memory, made with ``tuf.api``, that can lie in every way an update must survive."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from runtime.contracts.bundle import read_manifest
from runtime.contracts.codec import encode
from runtime.contracts.durable import sha256_hex
from runtime.contracts.sync import SIGNED_AT, ReleaseInfo, target_path
from tests.edge_agent.rigs import Asked, Say, say_json, say_problem

ROLES = ("root", "targets", "snapshot", "timestamp")


class Repository:
    """Callable as a scripted server: metadata, files by hash, and the assignment of the newest release."""

    def __init__(self) -> None:
        self.keys = {role: CryptoSigner.generate_ed25519() for role in ROLES}
        self.lives = dict.fromkeys(ROLES, timedelta(days=30))
        self.files: dict[str, bytes] = {}
        self.patches: dict[str, bytes] = {}
        self.sent_bytes = 0
        self.metadata: dict[str, bytes] = {}
        self.listed: dict[str, TargetFile] = {}
        self.versions = dict.fromkeys(ROLES, 0)
        self.assigned: str | None = None
        self.asked: list[str] = []
        self.clock: Callable[[], float] = time.time
        self.sign_root()
        self.root = self.metadata["1.root.json"]

    def sign_root(self, signers: tuple[CryptoSigner, ...] = ()) -> None:
        self.versions["root"] += 1
        root = Root(version=self.versions["root"], expires=self._expiry("root"), consistent_snapshot=True)
        for role, signer in self.keys.items():
            root.add_key(signer.public_key, role)
        metadata: Metadata[Any] = Metadata(root)
        for signer in (*signers, self.keys["root"]):
            metadata.sign(signer, append=True)
        self.metadata[f"{self.versions['root']}.root.json"] = metadata.to_bytes()

    def publish(self, bundle: Path, *, release: int, floor: int = 0, assign: bool = True) -> ReleaseInfo:
        raw = (bundle / "manifest.json").read_bytes()
        manifest = read_manifest(raw)
        for entry in manifest.files:
            self.files[entry.sha256] = (bundle / entry.path).read_bytes()
        return self.publish_manifest(raw, name=manifest.name, release=release, floor=floor, assign=assign)

    def publish_manifest(
        self, raw: bytes, *, release: int, name: str = "tiny", floor: int = 0, assign: bool = True
    ) -> ReleaseInfo:
        info = ReleaseInfo(name=name, release=release, floor=floor)
        self.files[sha256_hex(raw)] = raw
        target = TargetFile(len(raw), {"sha256": sha256_hex(raw)}, target_path(info), {"custom": encode(info)})
        self.listed[target_path(info)] = target
        if assign:
            self.assigned = target_path(info)
        self.sign_all()
        return info

    def sign_all(self, *, delegate: bool = False) -> None:
        for role in ("targets", "snapshot", "timestamp"):
            self.versions[role] += 1
        versions = self.versions
        targets = Targets(version=versions["targets"], expires=self._expiry("targets"), targets=dict(self.listed))
        if delegate:
            targets = self._delegating(targets)
        self._put(targets)
        self._put(
            Snapshot(
                version=versions["snapshot"],
                expires=self._expiry("snapshot"),
                meta={name: MetaFile(version=versions["targets"]) for name in ("targets.json", "other.json")},
            )
        )
        self._put(
            Timestamp(
                version=versions["timestamp"],
                expires=self._expiry("timestamp"),
                snapshot_meta=MetaFile(version=versions["snapshot"]),
            )
        )

    def __call__(self, asked: Asked) -> Say:
        self.asked.append(asked.path)
        say = self._say(asked)
        if say.status == 200 and asked.path.startswith(("/v1/files/", "/v1/patches/")):
            self.sent_bytes += len(say.body)
        return say

    def _say(self, asked: Asked) -> Say:
        name = asked.path.rpartition("/")[2]
        if asked.path == "/v1/station/assignment":
            return say_json({"target": self.assigned})
        if asked.path.startswith("/v1/files/") and name in self.files:
            return Say(body=self.files[name], kind="application/octet-stream")
        if asked.path in self.patches:
            return Say(body=self.patches[asked.path], kind="application/zstd")
        if asked.path.startswith("/v1/tuf/") and name in self.metadata:
            return Say(body=self.metadata[name])
        return say_problem(404, "not-found")

    def files_asked(self) -> list[str]:
        return [path for path in self.asked if path.startswith("/v1/files/")]

    def patches_asked(self) -> list[str]:
        return [path for path in self.asked if path.startswith("/v1/patches/")]

    def _delegating(self, targets: Targets) -> Targets:
        """Move everything that is listed to a role that the top-level targets delegate to."""
        key = self.keys["snapshot"]
        role = DelegatedRole("other", [key.public_key.keyid], 1, False, paths=["*/*/*"])
        delegations = Delegations({key.public_key.keyid: key.public_key}, {"other": role})
        other: Metadata[Any] = Metadata(targets)
        other.sign(key)
        self.metadata[f"{targets.version}.other.json"] = other.to_bytes()
        return Targets(version=targets.version, expires=targets.expires, targets={}, delegations=delegations)

    def _put(self, signed: Any) -> None:
        at = datetime.fromtimestamp(self.clock(), UTC).replace(microsecond=0)
        signed.unrecognized_fields[SIGNED_AT] = at.isoformat()
        metadata: Metadata[Any] = Metadata(signed)
        metadata.sign(self.keys[signed.type])
        name = "timestamp.json" if signed.type == "timestamp" else f"{signed.version}.{signed.type}.json"
        self.metadata[name] = metadata.to_bytes()

    def _expiry(self, role: str) -> datetime:
        return (datetime.now(UTC) + self.lives[role]).replace(microsecond=0)
