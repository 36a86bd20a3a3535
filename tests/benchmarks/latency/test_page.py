"""The page of a run: complete, self-contained, honest about INVALID and absent, readable in a real Chromium."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, sync_playwright

from benchmarks.latency.page import page
from benchmarks.latency.page_drawings import MOST_POINTS, looks, tail, worst
from benchmarks.latency.page_scenarios import floor_of
from benchmarks.latency.results import Absent, NetworkWork, Run
from tests.benchmarks.latency.run_rigs import header, result, run, whole_run
from tests.optimize.test_page import CHROMIUM, FLAGS, contrast, structure


@pytest.fixture(scope="module")
def whole() -> str:
    return page(whole_run())


def section(html: str, name: str) -> str:
    found = re.search(rf'<section id="{name}".*?</section>', html, re.DOTALL)
    assert found is not None, name
    return found[0]


def test_it_is_well_formed_and_loads_nothing(whole: str) -> None:
    found = structure(whole)
    assert (found.wrong, found.opened) == ([], [])
    assert len(found.ids) == len(set(found.ids))
    assert all(link.startswith("#") for link in found.links)
    assert "url(http" not in whole
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'\"" in whole
    assert {"script", "link", "img", "iframe"} & set(found.tags) == set()
    assert set(re.findall(r'href="#([\w-]+)"', whole)) <= set(found.ids)


def test_headings_tables_and_drawings_can_be_read_aloud(whole: str) -> None:
    assert whole.count("<svg ") == whole.count('<svg role="img" aria-label="')
    assert re.findall(r"<th(?! scope=)[ >]", whole) == []
    assert structure(whole).tags.count("h1") == 1
    assert whole.count("<table>") == whole.count("<caption>")


def test_every_scenario_has_its_prose_figures_and_drawings(whole: str) -> None:
    for name, drawings in {"view_warm": 1, "item": 1, "steady": 2, "surge": 2, "soak": 2, "fraud_1": 1}.items():
        assert section(whole, name).count("<svg ") == drawings, name
    item = section(whole, "item")
    assert "One 12-megapixel photo of every view, all there at once" in item
    header_row, ours, naive, *_ = re.findall(r"<tr>(.*?)</tr>", item)
    assert re.findall(r">([^<]+)</th>", header_row)[:6] == [
        "system",
        "answer",
        "verdicts",
        "p50 ms",
        "p90 ms",
        "p99 ms",
    ]
    assert re.findall(r">([^<]+)</", ours)[:3] == ["touchstone", "VALID", "700"]
    assert re.search(r"5\.\d\d \[[45]\.\d\d, 5\.\d\d\]", naive)
    assert "% (1.1" in ours  # share of the limit
    assert re.search(r"recovered_s</th>(<td>12.5</td>){5}", section(whole, "surge"))
    assert re.search(r"surge_slowest_ms</th>(<td>59,070</td>){5}", section(whole, "surge"))
    assert "rss_mb_at_" not in section(whole, "soak")  # these are drawn


def test_a_complaint_that_several_systems_share_is_told_once() -> None:
    slowed = {"valid": False, "why": "the machine slowed by 31 %; run again"}
    part = section(page(run(result(**slowed), result(system="naive", **slowed))), "item")
    assert part.count("slowed by 31 %") == 1
    assert ": touchstone, naive: the machine slowed" in part


def test_a_slow_systems_median_is_drawn_in_plain_numbers() -> None:
    drawn = section(page(run(result(), result(system="naive", median_ms=1045.0))), "floors")
    assert re.search(r"1,0[345]\d ms, [67]\.\d\d x", drawn)
    assert "e+03" not in drawn


def test_percentiles_stand_only_where_there_are_enough_verdicts() -> None:
    assert "p90 ms" not in page(run(result(count=63)))
    assert "p90 ms" in page(run(result(count=64)))
    mixed = section(page(run(result(count=700), result(system="naive", count=63))), "item")
    naive = re.findall(r"<tr>(.*?)</tr>", mixed)[2]
    assert re.findall(r">([^<]+)</td>", naive)[2:4] == ["-", "-"]


def test_the_summary_says_our_time_its_share_of_the_limit_and_the_naive_stations(whole: str) -> None:
    summary = re.search(r'aria-label="Summary">(.*?)</div>', whole)
    assert summary is not None
    assert re.search(
        r"item: touchstone gives its durable verdict in 17\d ms \(p50\), 1\.1\d times what the machine allows; "
        r"the naive station takes 5\.\d\d \[",
        summary[1],
    )
    assert "34 of 35 results are VALID" in summary[1]


def test_what_is_invalid_is_told_with_its_sentence_and_neither_drawn_nor_compared(whole: str) -> None:
    part = section(whole, "fraud_1")
    assert '<span class="bad">INVALID</span>: olive: the machine slowed by 31 % in mid-run; run again' in part
    drawn = part[part.index("<svg") : part.index("</svg>")]
    assert ">olive<" not in drawn
    assert ">optimum<" in drawn
    assert re.findall(r">([^<]+)</", part.split(">olive</th>")[1])[5] == "-"
    side_by_side = section(whole, "peers").split(">fraud_1</th>")[1]
    assert side_by_side.count("INVALID") == 1


def test_an_invalid_result_of_ours_is_no_yardstick() -> None:
    ours = dataclasses.replace(result(), valid=False, why="too warm")
    html = page(run(ours, result(system="naive", median_ms=870.0)))
    assert "gives its durable verdict" not in html
    assert "times as long as touchstone" in html  # the table's caption stays
    assert section(html, "peers").count("<svg ") == 0
    assert "0 of 2" not in html
    assert "1 of 2 results are VALID" in html


def test_who_is_absent_is_told_with_the_reason(whole: str) -> None:
    part = section(whole, "systems")
    assert re.search(r"roboflow</th>.*absent.*its venv &#x27;roboflow&#x27; was not made", part)


def test_the_floor_is_the_limit_by_its_parts_and_stands_beside_every_median(whole: str) -> None:
    parts = floor_of(header(), result("item", limit_ms=150.0))
    assert parts == {"entropy decoding": 120.0, "the network": 28.0, "one fsync": 2.0}
    one = floor_of(header(), result("view_warm", limit_ms=48.0))
    assert one == {"entropy decoding": 40.0, "the network": 6.0, "one fsync": 2.0}
    assert floor_of(header(), result("soak", limit_ms=None)) is None
    drawn = section(whole, "floors")
    assert drawn.count(">the limit<") == 3  # view_warm, item, item_one_by_one
    assert ">150 ms<" in drawn


def test_the_machine_its_limits_the_command_and_the_versions_are_there(whole: str) -> None:
    part = section(whole, "machine")
    for said in ("invented CPU", "400 GOP/s", "not computed by this CPU", "2 ms", "touchstone-bench run", "1.32"):
        assert said in part


def test_nothing_of_a_run_becomes_markup(whole: str) -> None:
    assert "touchstone &lt;does&gt; what it does" in whole
    odd = run(result("<b>item</b>", "<i>x</i>"), absent=(Absent(system="<u>", why="<script>"),), command="<img>")
    assert not {"script", "b", "i", "u", "img"} & set(structure(page(odd)).tags)


def test_the_same_run_gives_the_same_bytes() -> None:
    one = run(result(), result(system="naive"))
    assert page(one) == page(one)


def test_an_empty_run_and_a_scenario_that_is_not_known_any_more_have_a_page() -> None:
    assert "0 of 0 results" in page(Run(header=header(), results=(), absent=()))
    assert "does not know this scenario any more" in page(run(result("of-old")))
    none = dataclasses.replace(result(latencies_ms=()), valid=False, why="a verdict is missing")
    assert "a verdict is missing" in page(run(none))


def test_every_system_can_be_told_apart_without_colour() -> None:
    styles = looks([f"system-{number}" for number in range(8)]).values()
    assert len({str(one.dashes) for one in styles}) == len({one.marker for one in styles}) == 8


def test_a_long_curve_keeps_its_tail_and_its_ends() -> None:
    latencies = np.random.default_rng(0).permutation(np.arange(1.0, 10_001.0))
    times, rarity = tail(latencies.tolist())
    assert times.size <= MOST_POINTS
    assert (times[0], times[-1]) == (1, 10_000)
    assert np.all(times[-5:] > 9_980)
    assert rarity[-1] == pytest.approx(-np.log10(0.5 / 10_000))
    assert np.all(np.diff(rarity) > 0)


def test_a_long_timeline_keeps_its_slowest_verdicts() -> None:
    at = np.arange(0, 1000, 0.5)
    latencies = np.full(at.size, 10.0)
    latencies[777] = 900.0
    shown_at, shown = worst(at.tolist(), latencies.tolist())
    assert shown.size == MOST_POINTS
    assert shown_at[shown.argmax()] == at[777]
    assert np.all(np.diff(shown_at) > 0)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (none of chromium, chromium-browser, google-chrome is on PATH)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1024), ("dark", 480)])
def test_a_real_browser_shows_it_whole(browser: Browser, whole: str, scheme, width, tmp_path: Path) -> None:
    (tmp_path / "bench.html").write_text(whole, encoding="utf-8")
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
    opened = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: requests.append(request.url))
    opened.goto((tmp_path / "bench.html").as_uri())
    widths = opened.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    paper, ink = opened.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    drawn = opened.evaluate("[...document.querySelectorAll('figure svg')].map(s => s.getBoundingClientRect().height)")
    context.close()
    assert complaints == []
    assert requests == [(tmp_path / "bench.html").as_uri()]
    assert widths[0] <= widths[1]
    assert contrast(paper, ink) > 7
    assert len(drawn) == 12
    assert min(drawn) > width / 12


def test_the_roofline_shows_where_the_network_lies_and_its_absence_is_said() -> None:
    work = NetworkWork(variant="ort-cpu-int8", operations=0.768e9, bytes=19e6, ms=8.0)
    shown = page(run(network=work))
    assert "Roofline: one photo takes ort-cpu-int8 0.77e9 operations, 19 MB" in shown
    assert "roofs by memory and cores" in shown
    assert "No roofline" in page(run())
