"""``./scripts/demo``: plays the story, prints what changed, and leaves a report. Needs no network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.programs import Programs
from benchmarks.story import Story, StoryOptions, indented, prepare_folder, say
from benchmarks.story_ending import ending, figures_json
from benchmarks.story_report import write_report
from runtime.contracts.command import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Play the demo; see ``run_command`` for what it returns."""
    parser = argparse.ArgumentParser(prog="demo", description="Plays the whole product on this machine.")
    parser.add_argument("--data", metavar="DIR", type=Path, help="real photos instead of generated leather goods")
    parser.add_argument("--items", metavar="N", type=int, default=2600, help="generated items (default: %(default)s)")
    parser.add_argument("--work", metavar="DIR", type=Path, default=Path("demo-out"), help="folder to work in")
    parser.add_argument("--keep", action="store_true", help="leave server and station running, and say where")
    parser.set_defaults(command=_demo)
    return run_command(parser, argv)


def _demo(options: argparse.Namespace) -> None:
    work = options.work.resolve()
    prepare_folder(work, options.data)
    with Programs(work / "logs") as programs:
        story = Story(StoryOptions(work=work, data=options.data, items=options.items, keep=options.keep), programs)
        figures = story.play()
        (work / "figures.json").write_text(figures_json(figures))
        write_report(work / "report.html", figures)
        say("\n" + ending(figures))
        say(f"\nreport: {work / 'report.html'}")
        if options.keep:
            pids = " ".join(str(programs.forget(name)) for name in ("agent", "server"))
            say(f"server: {story.server}  (sign in with the reviewer token {story.tokens[0]})")
            say(f"operator's page: {story.page}")
            say(indented(f"API: {story.server}/docs\nstation: touchstone-agent status --home {work / 'station'}"))
            say(f"stop them with: kill {pids}")


if __name__ == "__main__":
    sys.exit(main())
