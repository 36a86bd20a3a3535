"""The whole story, played by the product's own commands: data, model, release, scans, experts, release 2.

Every step really happens. Items of the ``field`` split are scanned before anybody trains on them; ``evaluate`` is never
labelled or trained on, and reports both releases. The story decides nothing and measures from outside.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.experts import Experts
from benchmarks.footprint import installed_mb
from benchmarks.programs import Programs, free_port, resident_mb, wait_for
from benchmarks.showing import link_or_copy, show, show_as_another
from benchmarks.station_latency import Latency, measure
from calibration_data.dataset import Dataset, Item, load
from optimize.evidence import Evidence
from optimize.risk import Budget, items_needed, upper_bound
from runtime.bundle_store import open_bundle
from runtime.contracts.codec import decode, parse_json
from runtime.contracts.errors import Unsupported

MARKER = ".touchstone-demo"
VARIANTS = 3  # float, and INT8 for CPUs with VNNI and without
MAX_MISSED, CONFIDENCE = 0.02, 0.95
LATENCY_SCANS = 120
DIFFICULTY = 0.75  # hard enough that release 2 has something to learn
CERTIFY_SHARE = 0.47  # half of it for each release: with 300 counterfeits each, one miss does not break the proof
SHARES = ("train=0.26", "calibrate=0.10", f"certify={CERTIFY_SHARE}", "evaluate=0.08", "field=0.09")
SMALL_SHARES = ("evaluate=0.8", "field=0.2")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryOptions:
    """What the user chose; ``data`` is ``None`` for generated leather goods."""

    work: Path
    data: Path | None
    items: int
    keep: bool
    seed: int = 7


@dataclass(slots=True, kw_only=True)
class Figures:
    """What the story measured, for the ending and the report."""

    steps: list[tuple[str, float]] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    bundles: list[Path] = field(default_factory=list)
    outbox: list[tuple[float, int, str]] = field(default_factory=list)
    scanned: int = 0
    scanned_offline: int = 0
    cases: int = 0
    labelled: int = 0
    small: bool = False
    generated: bool = False
    max_missed: float = MAX_MISSED
    ready_ms: float = math.nan
    resident_mb: float = math.nan
    installed_mb: float = math.nan
    packages: int = 0
    swap_scans: int = 0
    latency: Latency | None = None


class Story:
    """The state that the steps share. Call ``play``."""

    def __init__(self, options: StoryOptions, programs: Programs) -> None:
        self._options = options
        self._programs = programs
        self._work = options.work
        self._tracking = f"sqlite:///{options.work / 'mlflow.db'}"
        self._started_s = time.monotonic()
        self._server = self._page = ""
        self._tokens: list[str] = []
        self.figures = Figures()

    @property
    def server(self) -> str:
        """The server's address."""
        return self._server

    @property
    def page(self) -> str:
        """The address of the operator's page."""
        return self._page

    @property
    def tokens(self) -> list[str]:
        """Tokens of the two reviewers."""
        return self._tokens

    def play(self) -> Figures:
        """Play all steps in order."""
        with self._step("data"):
            data = self._data()
        with self._step("finetune 1"):
            self._finetune(1, [data.root])
        with self._step("build 1"):
            self._build(1, [data.root])
        with self._step("server, release 1"):
            self._found_server()
            self._release(1)
        with self._step("enrol, first model"):
            self._enrol()
        field_items = [item for item in data.items if item.split == "field"]
        middle = len(field_items) // 2
        with self._step("scan with a server"):
            self._scan(field_items[:middle], "online")
        with self._step("scan without a server"):
            self._programs.stop("server")
            self._scan(field_items[middle:], "offline")
            self.figures.scanned_offline = len(field_items) - middle
        with self._step("server back, outbox drains"):
            self._serve()
            self._drain()
        with self._step("experts label"):
            self._label(data)
        with self._step("finetune 2"):
            snapshot = self._work / "snapshot"
            self._programs.run("touchstone-server", "snapshot", "--home", self._work / "server", "--out", snapshot)
            self._finetune(2, [data.root, snapshot])
        with self._step("build 2"):
            self._build(2, [data.root, snapshot])
        with self._step("release 2, swap while scanning"):
            self._release(2)
            self._swap(field_items)
        with self._step("measure the station"):
            self._measure()
        return self.figures

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        say(f"[{time.monotonic() - self._started_s:5.0f} s] {name} ...")
        started = time.monotonic()
        yield
        self.figures.steps.append((name, time.monotonic() - started))

    def _data(self) -> Dataset:
        folder = self._work / "data"
        self.figures.generated = self._options.data is None
        if self._options.data is None:
            self._programs.run(
                "touchstone-data",
                *("generate", "--out", folder, "--items", self._options.items),
                *("--difficulty", DIFFICULTY, "--counterfeit-share", 0.5, "--seed", self._options.seed),
                quiet=False,
            )
        else:
            shutil.copytree(self._options.data, folder, copy_function=link_or_copy)
        counterfeits = sum(item.label == "counterfeit" for item in load(folder).items)
        per_release = counterfeits * CERTIFY_SHARE / 2
        self.figures.small = per_release < items_needed(self._budget(MAX_MISSED))
        shares = SMALL_SHARES if self.figures.small else SHARES
        share_flags = [part for share in shares for part in ("--share", share)]
        self._programs.run("touchstone-data", "split", folder, "--seed", self._options.seed, *share_flags)
        data = load(folder)
        if self.figures.small:
            self._explain_small(data)
        return data

    def _explain_small(self, data: Dataset) -> None:
        """Choose the budget that so few counterfeits can prove with one miss, and say so."""
        judged = sum(item.label == "counterfeit" and item.split != "field" for item in data.items)
        every = sum(item.label == "counterfeit" for item in data.items)
        self.figures.max_missed = math.ceil(200 * upper_bound(1, judged, self._budget(1).alpha)) / 200
        say(
            f"  a small set: its {every} counterfeits could prove {upper_bound(0, every, 1 - CONFIDENCE):.1%} at best; "
            f"{every - judged} of them are kept for the field, and {judged} judge up to three variants by "
            f"cross-fitting, so the budget here is {self.figures.max_missed:.1%} (one miss allowed)"
        )

    @staticmethod
    def _budget(max_missed: float) -> Budget:
        return Budget(max_missed=max_missed, alpha=(1 - CONFIDENCE) / VARIANTS)

    def _finetune(self, release: int, data: Sequence[Path]) -> None:
        folds = ("--cross-fit", 5) if self.figures.small else ()
        self._programs.run(
            "touchstone-optimize",
            "finetune",
            *_data_flags(data),
            *("--out", self._work / f"model-{release}", "--name", "demo", "--track", self._tracking),
            *folds,
            quiet=False,
        )

    def _build(self, release: int, data: Sequence[Path]) -> None:
        bundle = self._work / f"bundle-{release}"
        fresh: tuple[object, ...] = () if self.figures.small else ("--certify-share", 0.5)
        if release > 1 and not self.figures.small:
            fresh = (*fresh, "--after", self.figures.bundles[-1])
        self._programs.run(
            "touchstone-optimize",
            "build",
            self._work / f"model-{release}",
            *_data_flags(data),
            *("--out", bundle, "--max-missed", self.figures.max_missed, "--confidence", CONFIDENCE),
            *("--track", self._tracking),
            *fresh,
            quiet=False,
        )
        say(indented(self._programs.run("touchstone-optimize", "inspect", bundle)))
        opened = open_bundle(bundle)
        raw = opened.path(opened.manifest.evidence).read_bytes()
        self.figures.evidence.append(decode(Evidence, parse_json(raw, "evidence"), "evidence"))
        self.figures.bundles.append(bundle)

    def _found_server(self) -> None:
        home = self._work / "server"
        keys = self._work / "offline-keys"
        self._programs.run("touchstone-server", "init", "--home", home, "--offline-keys", keys, secret=True)
        for name in ("Ada", "Grace"):
            arguments = ("person", name, "--role", "reviewer", "--home", home)
            self._tokens.append(self._programs.run("touchstone-server", *arguments, secret=True).strip())
        self._serve()

    def _serve(self) -> None:
        port = self._server.rpartition(":")[2] or "0"
        line = self._programs.start(
            "server", "touchstone-server", "serve", "--home", self._work / "server", "--port", port
        )
        self._server = line.rpartition(" ")[2]

    def _release(self, release: int) -> None:
        bundle, keys = self.figures.bundles[release - 1], self._work / "offline-keys"
        self._programs.run("touchstone-server", "sign", bundle, "--offline-keys", keys)
        self._programs.run("touchstone-server", "publish", bundle, "--home", self._work / "server")

    def _enrol(self) -> None:
        issue = ("enrolment-code", "--home", self._work / "server")
        code = self._programs.run("touchstone-server", *issue, secret=True).strip()
        home = self._work / "station"
        home.mkdir()
        port = free_port()  # 8377 may be a real station's
        self._page = f"http://127.0.0.1:{port}"
        (home / "agent.toml").write_text(
            f"update_every_s = 2.0\nuplink_every_s = 1.0\nwatch_every_s = 0.1\ndesk_port = {port}\n"
        )
        enrol = ("enrol", "--server", self._server, "--code", code, "--home", home)
        self._programs.run("touchstone-agent", *enrol, secret=True)
        self._programs.start("agent", "touchstone-agent", "run", "--home", home)
        wait_for("release 1 on the station", lambda: self._status()["release"] == 1, timeout_s=60)
        self._programs.stop("agent")  # started again with its model, to see how long a start takes
        line = self._programs.start("agent", "touchstone-agent", "run", "--home", home)
        self.figures.ready_ms = float(line.split()[2])

    def _status(self) -> dict[str, Any]:
        printed = self._programs.run("touchstone-agent", "status", "--json", "--home", self._work / "station")
        status: dict[str, Any] = json.loads(printed)
        return status

    def _scan(self, items: Sequence[Item], phase: str) -> None:
        for item in items:
            show(item, self._work / "station" / "inbox")
        self.figures.scanned += len(items)
        wait_for(
            "all items to be scanned", lambda: self._sample(phase)["recorded"] == self.figures.scanned, timeout_s=300
        )

    def _sample(self, phase: str) -> dict[str, Any]:
        outbox: dict[str, Any] = self._status()["outbox"]
        self.figures.outbox.append((time.monotonic() - self._started_s, outbox["pending"], phase))
        return outbox

    def _drain(self) -> None:
        wait_for("the outbox to drain", lambda: self._sample("drain")["pending"] == 0, timeout_s=120)
        outbox = self._sample("drain")
        self.figures.cases = outbox["cases"]
        say(
            f"  recorded {outbox['recorded']} = acked {outbox['acked']} + pending {outbox['pending']}; "
            f"{outbox['cases']} cases"
        )

    def _label(self, data: Dataset) -> None:
        experts = Experts(self._server, self._tokens)
        try:
            self.figures.labelled = experts.label_all({item.item_id: item.label for item in data.items})
        finally:
            experts.close()
        if self.figures.labelled != self.figures.cases:
            raise Unsupported(f"the server has {self.figures.labelled} cases, the station {self.figures.cases}")
        wait_for(
            "the answers at the station",
            lambda: self._status()["answers_received"] == self.figures.labelled,
            timeout_s=60,
        )
        say(f"  {self.figures.labelled} cases labelled by two experts each; every answer is back at the station")

    def _swap(self, items: Sequence[Item]) -> None:
        """Go on scanning while the agent fetches, tries and swaps in release 2; nothing may be dropped.

        The field's items are shown again as others: these scans tell that none is lost, not how good a model is.
        """
        inbox, before = self._work / "station" / "inbox", self.figures.scanned
        deadline = time.monotonic() + 120
        while self._status()["release"] != 2 and time.monotonic() < deadline:
            show_as_another(items[self.figures.swap_scans % len(items)], inbox, self.figures.swap_scans)
            self.figures.swap_scans += 1
        expected = before + self.figures.swap_scans
        wait_for("the scans during the swap", lambda: self._status()["outbox"]["recorded"] == expected, timeout_s=60)
        if self._status()["release"] != 2:
            raise Unsupported(f"the station did not swap to release 2: {self._status()['refused']}")
        self.figures.scanned = expected
        wait_for("the outbox to drain", lambda: self._status()["outbox"]["pending"] == 0, timeout_s=60)
        say(f"  the running agent swapped to release 2; {self.figures.swap_scans} scans meanwhile, none dropped")

    def _measure(self) -> None:
        self.figures.resident_mb = resident_mb(self._programs.pid("agent"))
        if not self._options.keep:
            self._programs.stop("agent")
            self._programs.stop("server")
        self.figures.installed_mb, self.figures.packages = installed_mb("agent")
        self.figures.latency = measure(self.figures.bundles[-1], self._work, LATENCY_SCANS)


def prepare_folder(work: Path, data: Path | None) -> None:
    """Make the story's folder anew; only a folder that an earlier story made is ever deleted.

    Raises:
        Unsupported: something else lies there, or ``data`` lies inside, or is no dataset.
    """
    if data is not None:
        if data.resolve().is_relative_to(work):
            raise Unsupported(f"--data {data}: it lies in {work}, which the demo makes anew; name another --work")
        load(data)
    if work.exists():
        if not (work / MARKER).exists() and any(work.iterdir()):
            raise Unsupported(f"{work}: it exists and no demo made it; name another folder with --work")
        shutil.rmtree(work)
    work.mkdir(parents=True)
    (work / MARKER).touch()


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)


def indented(text: str) -> str:
    """Indent a block by two."""
    return "\n".join(f"  {line}" for line in text.rstrip().splitlines())


def _data_flags(folders: Sequence[Path]) -> list[object]:
    return [part for folder in folders for part in ("--data", folder)]
