"""``touchstone-optimize``: finetune a model, build a bundle, show, report and compare bundles."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from optimize.build_flags import add_build_flags, recipe_of
from optimize.bundle_evidence import read_evidence
from optimize.comparison import compare, comparison_json
from optimize.evidence import Evidence
from optimize.labelled_data import open_data
from optimize.regions import read_regions
from optimize.report import describe, headline
from runtime.backends.telemetry import keep_home
from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.codec import canonical_json
from runtime.contracts.command import Progress, StepProgress, run_command
from runtime.contracts.durable import write_durably


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; see ``run_command`` for what it returns."""
    keep_home()
    return run_command(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="touchstone-optimize", description="Compile models for stations under a risk budget."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_finetune(commands.add_parser("finetune", help="train a model on labelled items"))
    build = commands.add_parser("build", help="compile, certify and pack a model into a bundle")
    add_build_flags(build)
    build.add_argument("--json", action="store_true", help="print the evidence as JSON")
    _add_track(build)
    build.set_defaults(command=_build)
    inspect = commands.add_parser("inspect", help="say what a bundle is and what was proved of it")
    inspect.add_argument("bundle", metavar="BUNDLE", type=Path, help="the bundle's folder")
    inspect.add_argument("--json", action="store_true", help="print the evidence as JSON")
    inspect.set_defaults(command=_inspect)
    report = commands.add_parser("report", help="write a bundle's evidence as one page")
    report.add_argument("bundle", metavar="BUNDLE", type=Path, help="the bundle's folder")
    report.add_argument("--out", metavar="PAGE", type=Path, default=Path("report.html"), help="default: %(default)s")
    report.set_defaults(command=_report)
    compare = commands.add_parser("compare", help="say what differs between two bundles")
    compare.add_argument("bundle", metavar="BUNDLE", type=Path, nargs=2, help="the earlier one first")
    compare.add_argument("--json", action="store_true", help="print the differences as JSON")
    compare.set_defaults(command=_compare)
    return parser


def _add_finetune(parser: argparse.ArgumentParser) -> None:
    _add_data(parser)
    parser.add_argument("--out", metavar="MODEL", type=Path, required=True, help="folder to make")
    parser.add_argument("--name", default="touchstone", help="name of the model (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="of split and training (default: %(default)s)")
    parser.add_argument(
        "--backbone",
        default="lite0",
        metavar="B",
        help="EfficientNet-Lite: lite0, or lite1 or lite2 where their weights are installed (default: %(default)s)",
    )
    parser.add_argument("--px", type=int, default=0, metavar="N", help="side of the photos (default: the backbone's)")
    parser.add_argument(
        "--region",
        metavar="VIEW=LEFT,TOP,WIDTH,HEIGHT",
        action="append",
        default=[],
        help="look at this part of a view's photos only, in fractions; '*' for exchangeable views; repeatable",
    )
    parser.add_argument("--unfreeze", type=int, default=0, metavar="N", help="train the last N blocks, too")
    parser.add_argument("--epochs", type=int, default=4, help="over the unfrozen blocks (default: %(default)s)")
    parser.add_argument(
        "--cross-fit", type=int, default=0, metavar="K", help="for a small set: train on all of it, judge by K folds"
    )
    parser.add_argument("--by-time", action="store_true", help="oldest items train, newest evaluate")
    _add_track(parser)
    parser.set_defaults(command=_finetune)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", metavar="DIR", action="append", required=True, help="dataset; give several to unite them"
    )


def _add_track(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--track", metavar="URI", help="log the run to this MLflow tracking URI")


def _track(uri: str | None, run_name: str, params: Mapping[str, object], metrics: Mapping[str, float]) -> None:
    if uri is None:
        return
    from optimize.tracking import track  # MLflow takes seconds to load

    track(uri, run_name, params, metrics)


def _finetune(options: argparse.Namespace) -> None:
    from optimize.finetune import FinetuneOptions, finetune  # torch takes seconds to load; inspect needs none of it

    chosen = FinetuneOptions(
        name=options.name,
        seed=options.seed,
        unfreeze=options.unfreeze,
        epochs=options.epochs,
        cross_fit=options.cross_fit,
        by_time=options.by_time,
        backbone=options.backbone,
        px=options.px,
        regions=read_regions(options.region),
    )
    spec = finetune(open_data(options.data), options.out, chosen, Progress("train"))
    params = {"seed": chosen.seed, "cross_fit": chosen.cross_fit, **spec.provenance}
    print(f"{options.out}: trained on {len(spec.trained_on)} items, views {', '.join(spec.views)}")
    _track(options.track, f"{spec.name}: finetune", params, {"items": len(spec.trained_on)})


def _build(options: argparse.Namespace) -> None:
    recipe = recipe_of(options)

    from optimize.pipeline import build  # scikit-learn and ONNX Runtime's quantiser take seconds to load

    bundle, evidence = build(recipe, now=datetime.now(UTC), progress=StepProgress())
    params = {"bundle_id": bundle.bundle_id, "preferred": evidence.preferred, "max_missed": recipe.budget.max_missed}
    _print(bundle, evidence, as_json=options.json)
    _track(options.track, f"{bundle.manifest.name}: build", params, headline(evidence))


def _inspect(options: argparse.Namespace) -> None:
    bundle = open_bundle(options.bundle)
    _print(bundle, read_evidence(bundle), as_json=options.json)


def _report(options: argparse.Namespace) -> None:
    from optimize.page import page  # matplotlib takes a second to load

    bundle = open_bundle(options.bundle)
    manifest = bundle.manifest
    text = page(manifest.name, manifest.created_at, read_evidence(bundle), bundle.bundle_id)
    write_durably(options.out, text.encode())
    print(f"{options.out}: what was measured and proved of {manifest.name}")


def _compare(options: argparse.Namespace) -> None:
    one, other = ((bundle.manifest, read_evidence(bundle)) for bundle in map(open_bundle, options.bundle))
    if options.json:
        sys.stdout.write(canonical_json(comparison_json(one, other)).decode() + "\n")
    else:
        print(compare(one, other))


def _print(bundle: Bundle, evidence: Evidence, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(canonical_json(evidence).decode() + "\n")
    else:
        print(describe(bundle.manifest, bundle.bundle_id, evidence))


if __name__ == "__main__":
    raise SystemExit(main())
