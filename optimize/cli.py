"""``touchstone-optimize``: finetune a model, build a bundle, inspect one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from calibration_data.dataset import Dataset, load, merge, require_both_classes
from optimize.evidence import Evidence
from optimize.report import describe, headline
from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.command import Progress, StepProgress, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; see ``run_command`` for what it returns."""
    return run_command(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="touchstone-optimize", description="Compile models for stations under a risk budget."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_finetune(commands.add_parser("finetune", help="train a model on labelled items"))
    _add_build(commands.add_parser("build", help="compile, certify and pack a model into a bundle"))
    inspect = commands.add_parser("inspect", help="say what a bundle is and what was proved of it")
    inspect.add_argument("bundle", metavar="BUNDLE", type=Path, help="the bundle's folder")
    inspect.add_argument("--json", action="store_true", help="print the evidence as JSON")
    inspect.set_defaults(command=_inspect)
    return parser


def _add_finetune(parser: argparse.ArgumentParser) -> None:
    _add_data(parser)
    parser.add_argument("--out", metavar="MODEL", type=Path, required=True, help="folder to make")
    parser.add_argument("--name", default="touchstone", help="name of the model (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="of split and training (default: %(default)s)")
    parser.add_argument("--unfreeze", type=int, default=0, metavar="N", help="train the last N of 16 blocks, too")
    parser.add_argument("--epochs", type=int, default=4, help="over the unfrozen blocks (default: %(default)s)")
    parser.add_argument(
        "--cross-fit", type=int, default=0, metavar="K", help="for a small set: train on all of it, judge by K folds"
    )
    parser.add_argument("--by-time", action="store_true", help="oldest items train, newest evaluate")
    _add_track(parser)
    parser.set_defaults(command=_finetune)


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", type=Path, help="folder that finetune made")
    _add_data(parser)
    parser.add_argument("--out", metavar="BUNDLE", type=Path, required=True, help="folder to make")
    for flag, kind, default, text in (
        ("--max-missed", _share, 0.02, "share of counterfeits that may pass as authentic"),
        ("--max-missed-fraud", _share, 0.5, "share of frauds that the listing score may miss; 1 for no such budget"),
        ("--confidence", _confidence, 0.95, "of all the bundle's claims together"),
        ("--certify-share", _share, 1.0, "share of the certify split to spend on this release"),
    ):
        parser.add_argument(flag, type=kind, default=default, metavar="X", help=f"{text} (default: {default})")
    parser.add_argument(
        "--after", metavar="BUNDLE", type=Path, action="append", default=[], help="certify on nothing this one spent"
    )
    parser.add_argument("--json", action="store_true", help="print the evidence as JSON")
    _add_track(parser)
    parser.set_defaults(command=_build)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", metavar="DIR", type=Path, action="append", required=True, help="dataset; give several to unite them"
    )


def _add_track(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--track", metavar="URI", help="log the run to this MLflow tracking URI")


def _track(uri: str | None, run_name: str, params: Mapping[str, object], metrics: Mapping[str, float]) -> None:
    if uri is None:
        return
    from optimize.tracking import track  # MLflow takes seconds to load

    track(uri, run_name, params, metrics)


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f"expected more than 0 and at most 1, got {text}")
    return value


def _confidence(text: str) -> float:
    value = _share(text)
    if value == 1.0:
        raise argparse.ArgumentTypeError("expected less than 1: no number of items proves anything for certain")
    return value


def _dataset(options: argparse.Namespace) -> Dataset:
    dataset = merge([load(folder, both_classes=False) for folder in options.data])
    require_both_classes(dataset.items, where=" with ".join(f"dataset '{folder}'" for folder in options.data))
    return dataset


def _finetune(options: argparse.Namespace) -> None:
    from optimize.finetune import FinetuneOptions, finetune  # torch takes seconds to load; inspect needs none of it

    chosen = FinetuneOptions(
        name=options.name,
        seed=options.seed,
        unfreeze=options.unfreeze,
        epochs=options.epochs,
        cross_fit=options.cross_fit,
        by_time=options.by_time,
    )
    spec = finetune(_dataset(options), options.out, chosen, Progress("train"))
    params = {"seed": chosen.seed, "cross_fit": chosen.cross_fit, **spec.provenance}
    print(f"{options.out}: trained on {len(spec.trained_on)} items, views {', '.join(spec.views)}")
    _track(options.track, f"{spec.name}: finetune", params, {"items": len(spec.trained_on)})


def _build(options: argparse.Namespace) -> None:
    from optimize.pipeline import BuildOptions, build  # scikit-learn and ONNX Runtime's quantiser, likewise

    spent = [item for folder in options.after for item in _evidence(open_bundle(folder)).certified_on]
    chosen = BuildOptions(
        max_missed=options.max_missed,
        max_missed_fraud=options.max_missed_fraud,
        confidence=options.confidence,
        certify_share=options.certify_share,
        spent=frozenset(spent),
    )
    bundle, evidence = build(
        options.model,
        _dataset(options),
        options.out,
        chosen,
        now=datetime.now(UTC),
        progress=StepProgress(),
    )
    params = {"bundle_id": bundle.bundle_id, "preferred": evidence.preferred, "max_missed": chosen.max_missed}
    _print(bundle, evidence, as_json=options.json)
    _track(options.track, f"{bundle.manifest.name}: build", params, headline(evidence))


def _inspect(options: argparse.Namespace) -> None:
    bundle = open_bundle(options.bundle)
    _print(bundle, _evidence(bundle), as_json=options.json)


def _evidence(bundle: Bundle) -> Evidence:
    path = bundle.path(bundle.manifest.evidence)
    return decode(Evidence, parse_json(path.read_bytes(), path.name), path.name)


def _print(bundle: Bundle, evidence: Evidence, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(canonical_json(evidence).decode() + "\n")
    else:
        print(describe(bundle.manifest, bundle.bundle_id, evidence))


if __name__ == "__main__":
    raise SystemExit(main())
