"""One scenario's part of the page: what was asked, every system's figures, and how its latencies lie.

Shows an INVALID result's figures with their complaint, and draws and compares none of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.latency import page_drawings
from benchmarks.latency.latency_stats import percentiles, ratio_of_medians
from benchmarks.latency.page_drawings import Floor, Look, ms_text
from benchmarks.latency.results import Header, Result, Run
from benchmarks.latency.scenarios import SCENARIOS
from benchmarks.latency.systems.table import OURS
from benchmarks.peer_rounds import Ratio
from optimize.page_markup import Markup, figure, join, marked, paragraph, table

_SEED = 505
_TAILS = ("p90", "p99", "p99.9")
_AT_SCAN = re.compile(r"rss_mb_at_(\d+)")


def scenario(run: Run, name: str, ratios: Mapping[str, Ratio], shown: Mapping[str, Look]) -> Markup:
    """Return everything about one scenario.

    Args:
        run: that it was played in.
        name: of the scenario.
        ratios: of its medians, see ``ratios_to_ours``.
        shown: how systems look.
    """
    results = [one for one in run.results if one.scenario == name]
    valid = usable(run, name)
    known = SCENARIOS.get(name)
    return join(
        paragraph(known.prose if known else "This version of the suite does not know this scenario any more."),
        _table(name, results, ratios),
        _complaints(results),
        _distributions(name, valid, shown),
        _timelines(name, valid, shown),
        _memory(name, valid, shown),
        _figures(results),
    )


def usable(run: Run, name: str) -> list[Result]:
    """Return the valid results of a scenario that have latencies."""
    return [one for one in run.results if one.scenario == name and one.valid and one.latencies_ms]


def ratios_to_ours(run: Run, name: str) -> dict[str, Ratio]:
    """Return the others' medians over our station's, by system; empty where ours may not be used."""
    valid = {one.system: one for one in usable(run, name)}
    ours = valid.pop(OURS, None)
    if ours is None:
        return {}
    return {system: ratio_of_medians(one.latencies_ms, ours.latencies_ms, seed=_SEED) for system, one in valid.items()}


def ratio_text(ratio: Ratio) -> str:
    """Say a ratio and its interval."""
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def floor_of(header: Header, one: Result) -> Mapping[str, float] | None:
    """Return the limit of a result by its parts; ``None`` where there is none, or the scenario is not known any more.

    What is left of the limit after entropy decoding and the fsync is the network's; see ``limits.floor_ms``.
    """
    known, limits = SCENARIOS.get(one.scenario), header.limits
    if one.limit_ms is None or known is None or known.views_left is None:
        return None
    views = header.views if known.views_left == "all" else 1
    decode_ms = limits.entropy_decode_ms * views / min(limits.cores, views)
    rest_ms = max(one.limit_ms - decode_ms - limits.fsync_ms, 0.0)
    return {"entropy decoding": decode_ms, "the network": rest_ms, "one fsync": limits.fsync_ms}


def floors(run: Run, names: Sequence[str]) -> list[Floor]:
    """Return what the plot of limits shows: scenarios with a limit, one order after the other."""
    found = []
    for name in names:
        known, valid = SCENARIOS.get(name), usable(run, name)
        parts = floor_of(run.header, valid[0]) if valid else None
        if parts is not None and known is not None and known.sending == "in turn":
            medians = {one.system: float(np.median(one.latencies_ms)) for one in valid}
            found.append(Floor(scenario=name, parts=parts, medians=medians))
    return found


def _table(name: str, results: Sequence[Result], ratios: Mapping[str, Ratio]) -> Markup:
    tails = [tail for tail in _TAILS if any(tail in percentiles(one.latencies_ms) for one in results)]
    limited = any(one.limit_ms for one in results)
    header = (
        *("system", "answer", "verdicts", "p50 ms", *(f"{tail} ms" for tail in tails), f"to {OURS}"),
        *(("of the limit",) if limited else ()),
        *("CPU ms", "peak MB", "written kB"),
    )
    return table(
        f"{name}: per verdict, by system; ratios are of medians, with 95 % intervals",
        header,
        [_row(one, tails, limited, ratios.get(one.system)) for one in results],
        ("figure",) * len(header),
    )


def _row(one: Result, tails: Sequence[str], limited: bool, ratio: Ratio | None) -> tuple[str, ...]:
    found = percentiles(one.latencies_ms)
    median = float(np.median(one.latencies_ms)) if one.latencies_ms else None
    share = f"{one.limit_ms / median:.0%} ({median / one.limit_ms:.2f} x)" if one.limit_ms and median else "-"
    return (
        one.system,
        marked("good", "VALID") if one.valid else marked("bad", "INVALID"),
        f"{len(one.latencies_ms):,}",
        "-" if median is None else ms_text(median),
        *(ms_text(found[tail]) if tail in found else "-" for tail in tails),
        ratio_text(ratio) if ratio else "1" if one.system == OURS and one.valid else "-",
        *((share,) if limited else ()),
        ms_text(one.cpu_ms),
        f"{one.peak_rss_mb:.0f}",
        f"{one.written_bytes / 1000:,.0f}",
    )


def _complaints(results: Sequence[Result]) -> Markup:
    told: dict[str, list[str]] = {}
    for one in results:
        if not one.valid:
            told.setdefault(one.why, []).append(one.system)
    return join(*(paragraph(join(marked("bad", "INVALID"), f": {', '.join(who)}: {why}")) for why, who in told.items()))


def _distributions(name: str, valid: Sequence[Result], shown: Mapping[str, Look]) -> Markup:
    if not valid:
        return Markup("")
    limit = valid[0].limit_ms
    caption = (
        f"{name}: how many of the verdicts took no longer than a time. The axis is drawn out at the top, where the "
        "slow ones are: each step is ten times rarer. A marker stands at the median."
    )
    samples = {one.system: one.latencies_ms for one in valid}
    return figure(page_drawings.distributions(name, samples, shown, limit), caption)


def _timelines(name: str, valid: Sequence[Result], shown: Mapping[str, Look]) -> Markup:
    known = SCENARIOS.get(name)
    if not valid or known is None or known.sending != "on schedule":
        return Markup("")
    played = {one.system: (one.at_s, one.latencies_ms) for one in valid}
    binned = any(len(one.at_s) > page_drawings.MOST_POINTS for one in valid)
    caption = f"{name}: latency from the scheduled arrival, against the arrival."
    caption += f" Of each of {page_drawings.MOST_POINTS} bins of time, the slowest verdict." if binned else ""
    return figure(page_drawings.timelines(name, played, shown), caption)


def _memory(name: str, valid: Sequence[Result], shown: Mapping[str, Look]) -> Markup:
    sizes = {one.system: points for one in valid if (points := _sizes(one))}
    if not sizes:
        return Markup("")
    return figure(page_drawings.memory(name, sizes, shown), f"{name}: resident memory of each system's process.")


def _sizes(one: Result) -> list[tuple[float, float]]:
    """Return (scans, MB) from the figures ``rss_mb_at_SCANS``; see ``figures.soak``."""
    return [(float(at[1]), size) for name, size in one.figures.items() if (at := _AT_SCAN.fullmatch(name))]


def _figure_text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _figures(results: Sequence[Result]) -> Markup:
    """Return what only this scenario has, a row a figure; the points of the plot of memory are left to it."""
    names = dict.fromkeys(name for one in results for name in one.figures if not _AT_SCAN.fullmatch(name))
    holders = [one for one in results if one.figures]
    rows = [(name, *(_figure_text(one.figures.get(name)) for one in holders)) for name in names]
    return table("What only this scenario has", ("figure", *(one.system for one in holders)), rows)
