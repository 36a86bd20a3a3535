"""``touchstone-bench``: measure stations on this machine, and compare, report and price what was measured."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.latency.results import read_run
from benchmarks.latency.scenarios import SCENARIOS, chosen
from benchmarks.latency.summary import summary
from runtime.backends.telemetry import keep_home
from runtime.contracts.codec import canonical_json
from runtime.contracts.command import StepProgress, run_command
from runtime.contracts.durable import write_durably

DEFAULT_TOLERANCE = 0.05


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; see ``run_command`` for what it returns, but for ``compare``: 1 after a regression."""
    keep_home()
    return run_command(parser(), argv)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(prog="touchstone-bench", description="Measure how fast stations decide here.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="play the scenarios with every system"))
    compare = commands.add_parser("compare", help="say what became slower between two runs; exit code 1 if any did")
    compare.add_argument("before", metavar="RUN", type=Path, help="the earlier run's file")
    compare.add_argument("after", metavar="RUN", type=Path, help="the later run's file")
    compare.add_argument(
        "--tolerance", type=_share, default=DEFAULT_TOLERANCE, metavar="X", help="share that may be lost (%(default)s)"
    )
    compare.add_argument("--json", action="store_true", help="print the comparison as JSON")
    compare.set_defaults(command=_compare)
    report = commands.add_parser("report", help="write a run as one page")
    report.add_argument("run", metavar="RUN", type=Path, help="the run's file")
    report.add_argument(
        "--out", metavar="PAGE", type=_file_to_make, default=Path("bench.html"), help="default: %(default)s"
    )
    report.set_defaults(command=_report)
    doctor = commands.add_parser("doctor", help="say what on this machine would spoil a run, and what to do")
    _add_work(doctor)
    doctor.set_defaults(command=_doctor)
    tco = commands.add_parser("tco", help="turn a run into cost per 1,000 verdicts")
    tco.add_argument("run", metavar="RUN", type=Path, help="the run's file")
    tco.add_argument("--prices", metavar="FILE", type=Path, required=True, help="TOML file that you filled in")
    tco.set_defaults(command=_tco)
    return top


def _add_run(parser: argparse.ArgumentParser) -> None:
    groups = ", ".join(dict.fromkeys(one.group for one in SCENARIOS.values()))
    parser.add_argument("--suite", choices=("quick", "full"), default="quick", help="default: %(default)s")
    parser.add_argument("--bundle", metavar="DIR", type=Path, help="to measure (default: a small one, made once)")
    parser.add_argument(
        "--scenario", metavar="S", action="append", default=[], help=f"of {groups}; may be repeated (default: all)"
    )
    parser.add_argument(
        "--system",
        metavar="S",
        action="append",
        default=[],
        help="may be repeated (default: ours and the naive station; in the full suite all)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=_file_to_make,
        default=Path("bench.jsonl"),
        help="file to make (default: %(default)s)",
    )
    parser.add_argument("--page", metavar="FILE", type=_file_to_make, help="also write the run as one page")
    parser.add_argument(
        "--photos", metavar="DIR", type=Path, help="VIEW.jpg to show, instead of enlarged golden photos"
    )
    _add_work(parser)
    parser.set_defaults(command=_run)


def _add_work(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--work", metavar="DIR", type=Path, help="folder on the disk to measure (default: the user's cache folder)"
    )


def _file_to_make(text: str) -> Path:
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file, got the folder {text}")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}; make it first")
    return path


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected 0 or more, got {text}")
    return value


def _run(options: argparse.Namespace) -> None:
    scenarios = chosen(options.scenario)
    from benchmarks.latency.run import RunOptions, run  # OpenCV and ONNX Runtime take a second to load

    settings = RunOptions(
        suite=options.suite,
        bundle=options.bundle,
        scenarios=scenarios,
        systems=options.system,
        out=options.out,
        work=options.work,
        photos=options.photos,
        command=shlex.join(["touchstone-bench", *sys.argv[1:]]),
    )
    run(settings, datetime.now(UTC), StepProgress())
    print(summary(read_run(options.out)))
    print(f"{options.out}: the run")
    if options.page:
        _write_page(options.out, options.page)


def _report(options: argparse.Namespace) -> None:
    _write_page(options.run, options.out)


def _write_page(run: Path, out: Path) -> None:
    from benchmarks.latency.page import page  # matplotlib takes a second to load

    write_durably(out, page(read_run(run)).encode())
    print(f"{out}: what was measured")


def _compare(options: argparse.Namespace) -> int:
    from benchmarks.latency.compare import compare

    found = compare(read_run(options.before), read_run(options.after), options.tolerance)
    if options.json:
        sys.stdout.write(canonical_json(found.as_data()).decode() + "\n")
    else:
        sys.stdout.write(found.as_text())
    return int(found.has_regression)


def _doctor(options: argparse.Namespace) -> int:
    from benchmarks.latency.doctor import doctor
    from benchmarks.latency.model_folder import cache_folder

    found = doctor(options.work or cache_folder(), os.environ)
    sys.stdout.write(found.as_text())
    return int(not found.is_fit)


def _tco(options: argparse.Namespace) -> None:
    from benchmarks.latency.tco import read_prices, tco

    sys.stdout.write(tco(read_run(options.run), read_prices(options.prices)).as_text())


if __name__ == "__main__":
    sys.exit(main())
