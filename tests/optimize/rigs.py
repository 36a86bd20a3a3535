"""What the tests of the toolchain share besides fixtures: its command line, and what it built."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from pathlib import Path

from optimize.cli import main
from optimize.evidence import EVIDENCE_FILE, Evidence
from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.codec import decode, parse_json

REPOSITORY = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What a command did at a terminal."""

    code: int
    out: str
    err: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    """A bundle that the command line built, opened, and what it printed."""

    bundle: Bundle
    evidence: Evidence
    text: str


def touchstone_optimize(*arguments: object) -> Run:
    """Run ``touchstone-optimize`` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stopped:  # argparse
            code = int(stopped.code or 0)
    return Run(code=code, out=out.getvalue(), err=err.getvalue())


def built(folder: Path, text: str) -> Built:
    """Open what a build left."""
    bundle = open_bundle(folder)
    raw = bundle.path(bundle.manifest.evidence).read_bytes()
    return Built(bundle=bundle, evidence=decode(Evidence, parse_json(raw, EVIDENCE_FILE), EVIDENCE_FILE), text=text)


def build(model: Path, data: Path, folder: Path, *options: object) -> Built:
    """Build a bundle at ``folder``/bundle and see that nothing else is left there."""
    run = touchstone_optimize("build", model, "--data", data, "--out", folder / "bundle", *options)
    assert run.code == 0, run.err
    assert [path.name for path in folder.iterdir()] == ["bundle"]
    return built(folder / "bundle", run.out)
