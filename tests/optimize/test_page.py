"""The page of a bundle: complete, self-contained, the same bytes each time, and readable in a real Chromium."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, sync_playwright

from optimize.evidence import Evidence, ReportedItem
from optimize.page import page
from optimize.page_plots import MOST_POINTS, Scores, curve
from tests.optimize.evidence_rigs import CREATED_AT, fidelity_evidence, risk_evidence, unproved_evidence

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
VOID = {"meta", "br", "img", "link", "hr", "input"}


class Structure(HTMLParser):
    """Which elements a page has, whether they close in order, and its ids."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.wrong: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.opened.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.opened.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.opened or self.opened.pop() != tag:
            self.wrong.append(tag)


def structure(html: str) -> Structure:
    found = Structure()
    found.feed(html)
    found.close()
    return found


@pytest.fixture(scope="module")
def whole() -> str:
    return page("goods", CREATED_AT, risk_evidence(), "ab" * 32)


@pytest.fixture(scope="module")
def fidelity() -> str:
    return page("detector", CREATED_AT, fidelity_evidence())


def test_the_page_is_well_formed_and_its_links_lead_somewhere(whole: str, fidelity: str) -> None:
    for html in (whole, fidelity):
        found = structure(html)
        assert (found.wrong, found.opened) == ([], [])
        assert len(set(found.ids)) == len(found.ids)
        assert {link.removeprefix("#") for link in found.links} <= set(found.ids)


def test_the_page_loads_nothing_and_runs_nothing(whole: str) -> None:
    found = structure(whole)
    assert all(link.startswith("#") for link in found.links)
    assert not {"script", "iframe", "object", "link", "img"} & set(found.tags)
    assert "default-src 'none'" in whole
    assert not re.findall(r"url\((?!#)", whole)
    assert "http" not in whole.replace("http-equiv", "")


def test_the_same_evidence_gives_the_same_bytes(whole: str) -> None:
    assert page("goods", CREATED_AT, risk_evidence(), "ab" * 32) == whole
    assert len(whole.encode()) < 1_500_000


def test_every_part_of_the_evidence_is_there(whole: str) -> None:
    for title in (
        *("Variants", "Latency against risk", "What was proved", "Every gate's answer", "Reported items"),
        *("Risk, coverage and calibration", "Scores", "Missed by a variant and not by float", "The search"),
        *("Layers that quantisation hurts", "Baseline and listing", "Source and data", "Provenance"),
    ):
        assert f">{title.replace(chr(39), '&#x27;')}</h2>" in whole
    assert whole.count("<svg ") == whole.count('<svg role="img" aria-label="') == 6
    for text in (
        "refused: the compiler",
        "dropped after 32 inputs",
        "t-aurelia-0965",
        "0.874",
        "avx512_vnni",
        "9f9f9f",
    ):
        assert text in whole.replace("</span>", "")


def test_names_from_outside_stay_text() -> None:
    bad = "<script>alert(1)</script>"
    evidence = risk_evidence()
    candidates = (dataclasses.replace(evidence.candidates[0], outcome=f"refused: {bad}"),)
    layers = (dataclasses.replace(evidence.sensitivity[0], node=bad), *evidence.sensitivity[1:])
    items = tuple(dataclasses.replace(one, group=f"{bad} $x_1$ 名") for one in evidence.reported)
    changed = dataclasses.replace(
        evidence, candidates=candidates, sensitivity=layers, reported=items, notes=(bad,), provenance={bad: bad}
    )
    html = page(bad, bad, changed, bad)
    assert "<script" not in html
    assert structure(html).wrong == []
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def without_reported(evidence: Evidence, keep: Callable[[ReportedItem], bool]) -> Evidence:
    kept = [number for number, item in enumerate(evidence.reported) if keep(item)]
    variants = tuple(
        dataclasses.replace(one, decision=dataclasses.replace(one.decision, p=tuple(one.decision.p[n] for n in kept)))
        if one.decision
        else one
        for one in evidence.variants
    )
    return dataclasses.replace(evidence, variants=variants, reported=tuple(evidence.reported[n] for n in kept))


@pytest.mark.parametrize("few", ["none", "one class", "three", "no groups"])
def test_few_reported_items_draw_what_they_can(few: str) -> None:
    evidence = risk_evidence()
    some = {evidence.reported[0].item_id, evidence.reported[1].item_id, evidence.reported[2].item_id}
    changed = {
        "none": lambda: without_reported(evidence, lambda item: False),
        "one class": lambda: without_reported(evidence, lambda item: item.counterfeit),
        "three": lambda: without_reported(evidence, lambda item: item.item_id in some),
        "no groups": lambda: dataclasses.replace(
            evidence, reported=tuple(dataclasses.replace(item, group=None) for item in evidence.reported)
        ),
    }[few]()
    html = page("goods", CREATED_AT, changed)
    assert structure(html).wrong == []
    drawn = "observed share of counterfeits" in html
    assert drawn == (few in ("three", "no groups"))
    assert ("a panel a group" in html) == (few == "three")
    if not drawn:
        assert "no reported items of both classes" in html


def test_a_fidelity_page_claims_nothing_about_counterfeits(fidelity: str) -> None:
    assert "Nothing was proved about decisions" in fidelity
    assert "1 - cosine with float" in fidelity
    assert "What was proved" not in fidelity
    assert "The search" not in fidelity
    assert "missed" not in fidelity.split("</style>")[1]


def test_without_a_proof_the_page_says_so_first_and_draws_no_bound() -> None:
    html = page("goods", CREATED_AT, unproved_evidence())
    assert "Nothing was proved: 1,720 counterfeits" in html
    assert "missed rate: upper bound in %" not in html
    assert "which claims nothing" in html
    assert "Nothing is said of the share of counterfeits among accepted items" in html


def test_selective_risk_is_the_share_of_counterfeits_among_those_accepted() -> None:
    scores = Scores(
        name="x",
        p=np.array([0.1, 0.2, 0.2, 0.9]),
        counterfeit=np.array([False, True, False, True]),
        authentic_below=0.5,
        suspect_from=0.9,
    )
    coverage, risk, at = curve(scores, None)
    assert coverage == pytest.approx([0.25, 0.75, 1.0])  # equal scores are accepted together
    assert risk == pytest.approx([0.0, 1 / 3, 0.5])
    assert at == pytest.approx((0.75, 1 / 3))
    weighed, rarer, _ = curve(scores, 0.1)
    assert weighed == pytest.approx([0.45, 0.95, 1.0])
    assert rarer == pytest.approx([0.0, 0.05 / 0.95, 0.1])
    assert curve(dataclasses.replace(scores, authentic_below=0.0), None)[2] is None


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    p = np.linspace(0, 1, 20_000)
    scores = Scores(name="x", p=p, counterfeit=p > 0.5, authentic_below=0.3, suspect_from=0.9)
    coverage, risk, _ = curve(scores, None)
    assert coverage.size <= MOST_POINTS
    assert (coverage[-1], risk[-1]) == (pytest.approx(1.0), pytest.approx(0.5))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (none of chromium, chromium-browser, google-chrome is on PATH)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1024), ("dark", 1024), ("light", 480)])
def test_a_real_browser_shows_it_whole(browser: Browser, whole: str, scheme, width, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(whole, encoding="utf-8")
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
    opened = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: requests.append(request.url))
    opened.goto((tmp_path / "report.html").as_uri())
    widths = opened.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    paper, ink = opened.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    drawn = opened.evaluate("[...document.querySelectorAll('figure svg')].map(s => s.getBoundingClientRect().height)")
    context.close()
    assert complaints == []
    assert requests == [(tmp_path / "report.html").as_uri()]
    assert widths[0] <= widths[1]
    assert contrast(paper, ink) > 7
    assert len(drawn) == 6
    assert min(drawn) > width / 12


def contrast(one: str, other: str) -> float:
    """Return the contrast of two CSS colours (WCAG 2.1)."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
