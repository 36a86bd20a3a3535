"""``python -m benchmarks.faults FAULT``: do one kind of harm to the real programs, and write what came out.

Exit code 1 where an invariant broke, 3 where this machine does not allow the harm; ``report`` makes a table.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.faults.cases import Broken, Settings
from benchmarks.faults.disk_model import RULES
from benchmarks.faults.results import Failure, Line, NotPermitted, Outcome, exit_code, read_lines, table, write_line
from benchmarks.fingerprint import fingerprint
from runtime.contracts.command import run_command
from runtime.cores import core_count

FAULTS: Mapping[str, str] = {
    "kills": "benchmarks.faults.kills",
    "power-cut": "benchmarks.faults.power_cut",
    "disk-full": "benchmarks.faults.disk_full",
    "network": "benchmarks.faults.network",
    "clock": "benchmarks.faults.clock",
    "endurance": "benchmarks.faults.endurance",
    "images": "benchmarks.faults.images",
}
"""Fault to the module that does it; each has ``run(settings)``, which yields outcomes."""
_PACKAGES = ("onnxruntime", "httpx", "tuf", "numpy", "opencv-python-headless", "pillow")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; see ``run_command`` for what it returns beside 1 and 3."""
    return run_command(parser(), argv)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(prog="python -m benchmarks.faults", description="Harm the real programs.")
    commands = top.add_subparsers(required=True, metavar="FAULT")
    for name, module in FAULTS.items():
        command = commands.add_parser(name, help=f"see {module}")
        command.add_argument("--quick", action="store_true", help="sizes for a CI of a few minutes")
        command.add_argument(
            "--out", type=Path, default=Path("faults.jsonl"), metavar="FILE", help="added to (%(default)s)"
        )
        command.add_argument("--work", type=Path, metavar="DIR", help="folder to make on the disk to use")
        command.add_argument("--seed", type=int, default=7, help="of all that is drawn (default: %(default)s)")
        command.add_argument("--rule", choices=RULES, default="strict", help="what a power cut leaves (%(default)s)")
        command.add_argument("--only", default="", metavar="CASE", help="one act, or one case as a failure names it")
        command.add_argument("--kills", type=int, metavar="N", help="random kills, in all")
        command.add_argument("--decodes", type=int, metavar="N", help="photos to hand to the decoder, at least")
        command.add_argument("--first", type=int, default=0, metavar="N", help="number of the first photo")
        command.add_argument("--photos", type=Path, metavar="DIR", help="real photos to begin with, beside those made")
        command.add_argument(
            "--part", type=_part, default=(1, 1), metavar="I/N", help="every Nth case, from the Ith on"
        )
        command.add_argument(
            "--workers", type=int, default=2 * core_count(), metavar="N", help="cases at once (default: %(default)s)"
        )
        command.set_defaults(command=_run, fault=name)
    report = commands.add_parser("report", help="print results as a table")
    report.add_argument("results", type=Path, metavar="FILE")
    report.set_defaults(command=_report)
    return top


def _part(text: str) -> tuple[int, int]:
    number, _, parts = text.partition("/")
    if not (number.isdigit() and parts.isdigit() and 1 <= int(number) <= int(parts)):
        raise argparse.ArgumentTypeError(f"expected I/N with I from 1 to N, got {text!r}")
    return int(number), int(parts)


def _run(options: argparse.Namespace) -> int:
    if options.work is not None:
        options.work.mkdir(parents=True)
        return _run_in(options.work.resolve(), options)
    with tempfile.TemporaryDirectory(prefix="faults-") as work:
        return _run_in(Path(work).resolve(), options)


def _run_in(work: Path, options: argparse.Namespace) -> int:
    settings = Settings(
        work=work,
        quick=options.quick,
        seed=options.seed,
        rule=options.rule,
        only=options.only,
        kills=options.kills,
        decodes=options.decodes,
        first=options.first,
        photos=options.photos,
        workers=options.workers,
        part=options.part,
    )
    device = fingerprint(datetime.now(UTC), _PACKAGES)
    command = shlex.join(["python", "-m", "benchmarks.faults", *sys.argv[1:]])
    outcomes: list[Outcome] = []

    def keep(outcome: Outcome) -> None:
        line = Line(outcome=outcome, seed=options.seed, command=command, device=device)
        write_line(options.out, line)
        print(table([line]), flush=True)
        outcomes.append(outcome)

    try:
        for outcome in importlib.import_module(FAULTS[options.fault]).run(settings):
            keep(outcome)
    except NotPermitted as error:
        keep(Outcome(fault=options.fault, what="all of it", not_run=str(error)))
    except Broken as error:
        failure = Failure(case="undisturbed", why=str(error))
        keep(
            Outcome(fault=options.fault, what="nothing: it broke where nobody harmed it", cases=1, failures=(failure,))
        )
    return exit_code(outcomes)


def _report(options: argparse.Namespace) -> None:
    print(table(read_lines(options.results)))


if __name__ == "__main__":
    sys.exit(main())
