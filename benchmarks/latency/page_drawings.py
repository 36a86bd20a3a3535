"""The plots of the suite's page: inline SVG in the page's own colours, the same bytes for the same run.

Decides nothing and reads no file. Every system has a line style and a marker of its own beside its colour, the same in
every plot, so that a print in grey can be read.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from benchmarks.latency.results import Limits, NetworkWork
from benchmarks.peer_rounds import Ratio
from optimize.page_plots import INK, LINE, MARKERS, SERIES, STYLE, svg

MOST_POINTS = 240
"""Points of one curve; a timeline shows the worst of each bin where there are more."""

_DASHES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (6, 2, 1, 2, 1, 2)), (0, (1, 3)), (0, (9, 3)), (0, (3, 1, 1, 1)))
_PERCENTS = (0.0, 50.0, 90.0, 99.0, 99.9)
_LINEAR_BELOW = 4.0
"""Ratio of the greatest to the least value from which an axis is logarithmic."""
_HATCHES = ("", "////", "xxxx")
_WIDTH = 9.4

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a system is drawn: a CSS colour's mark, a line style of matplotlib's, a marker."""

    colour: str
    dashes: Any
    marker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """One scenario's limit by parts, and the systems' medians; all milliseconds."""

    scenario: str
    parts: Mapping[str, float]
    medians: Mapping[str, float]


def looks(systems: Sequence[str]) -> dict[str, Look]:
    """Give every system of a run its look."""
    colours, dashes, markers = itertools.cycle(SERIES), itertools.cycle(_DASHES), itertools.cycle(MARKERS)
    return {
        name: Look(colour=colour, dashes=dash, marker=marker)
        for name, colour, dash, marker in zip(systems, colours, dashes, markers, strict=False)
    }


def ms_text(value: float) -> str:
    """Say milliseconds with three digits that count, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@mpl.rc_context(STYLE)
def distributions(
    name: str, samples: Mapping[str, Sequence[float]], shown: Mapping[str, Look], limit: float | None
) -> str:
    """Draw the share of verdicts within a time, its tail drawn out: every step up the axis is ten times rarer.

    Args:
        name: of the scenario.
        samples: by system, milliseconds.
        shown: how systems look.
        limit: of the machine, milliseconds; a line where there is one.
    """
    figure, (axes,) = _figure(1, height=3.3)
    for system, latencies in samples.items():
        times, rarity = tail(latencies)
        look = shown[system]
        axes.plot(times, rarity, color=look.colour, ls=look.dashes, label=system)
        axes.plot([np.median(latencies)], [_rarity(50.0)], color=look.colour, marker=look.marker, ms=5, ls="none")
    if limit is not None:
        axes.axvline(limit, color=LINE, lw=4, zorder=0, label="the machine's limit")
    _time_axis(axes.xaxis, axes.set_xscale, [*itertools.chain(*samples.values()), *([limit] if limit else [])])
    most = max(len(latencies) for latencies in samples.values())
    ticks = [percent for percent in _PERCENTS if (100 - percent) * most >= 50 or percent <= 90]
    axes.set_yticks([_rarity(percent) for percent in ticks], [f"{percent:g} %" for percent in ticks])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("latency in ms")
    axes.set_ylabel("verdicts that took no longer")
    axes.grid(visible=True, lw=0.6)
    _legend(axes)
    figure.subplots_adjust(left=0.085, right=0.76, top=0.97, bottom=0.15)
    return svg(figure, f"{name}: share of verdicts within a latency, a line a system", f"distribution-{name}")


def tail(latencies_ms: Sequence[float]) -> tuple[Array, Array]:
    """Return sorted latencies and -log10 of the share that is slower, thinned to about ``MOST_POINTS``."""
    times = np.sort(np.asarray(latencies_ms, np.float64))
    slower = 1 - (np.arange(times.size) + 0.5) / times.size
    even = np.linspace(0, times.size - 1, MOST_POINTS // 2)
    rare = times.size - np.geomspace(times.size, 1, MOST_POINTS // 2)
    kept = np.unique(np.concatenate((even, rare)).astype(np.int64))
    return times[kept], -np.log10(slower[kept])


@mpl.rc_context(STYLE)
def timelines(
    name: str, played: Mapping[str, tuple[Sequence[float], Sequence[float]]], shown: Mapping[str, Look]
) -> str:
    """Draw latency against arrival, a panel a system on the same axes.

    Args:
        name: of the scenario.
        played: by system, arrivals in seconds and latencies in milliseconds.
        shown: how systems look.
    """
    columns = min(len(played), 2)
    figure, cells = _figure(len(played), height=1.75, columns=columns)
    everything = list(itertools.chain(*(latencies for _, latencies in played.values())))
    for axes, (system, (at_s, latencies)) in zip(cells, played.items(), strict=True):
        axes.plot(*worst(at_s, latencies), color=shown[system].colour, lw=1)
        axes.set_title(system, loc="left")
        _time_axis(axes.yaxis, axes.set_yscale, everything)
        axes.grid(visible=True, lw=0.6)
    for axes in cells[-columns:]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("arrival in s since the first")
    figure.supylabel("latency in ms", fontsize=9, x=0.004, ha="left")
    return svg(figure, f"{name}: latency against arrival, a panel a system", f"timeline-{name}")


def worst(at_s: Sequence[float], latencies_ms: Sequence[float]) -> tuple[Array, Array]:
    """Return the slowest verdict of each of ``MOST_POINTS`` bins of time, or every one where there are no more."""
    at, latencies = np.asarray(at_s, np.float64), np.asarray(latencies_ms, np.float64)
    if at.size <= MOST_POINTS:
        return at, latencies
    bins = np.minimum((at / at.max() * MOST_POINTS).astype(np.int64), MOST_POINTS - 1)
    order = np.lexsort((latencies, bins))
    last = order[np.append(bins[order][1:] != bins[order][:-1], True)]
    return at[last], latencies[last]


@mpl.rc_context(STYLE)
def memory(name: str, sizes: Mapping[str, Sequence[tuple[float, float]]], shown: Mapping[str, Look]) -> str:
    """Draw resident memory over scans, from (scans, MB) by system."""
    figure, (axes,) = _figure(1, height=2.8)
    for system, points in sizes.items():
        look = shown[system]
        scans, megabytes = zip(*sorted(points), strict=True)
        axes.plot(scans, megabytes, color=look.colour, ls=look.dashes, marker=look.marker, ms=4, label=system)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.15 * max(megabytes for points in sizes.values() for _, megabytes in points))
    axes.set_xlabel("scans")
    axes.set_ylabel("resident MB")
    axes.grid(visible=True, lw=0.6)
    _legend(axes)
    figure.subplots_adjust(left=0.085, right=0.76, top=0.96, bottom=0.18)
    return svg(figure, f"{name}: resident memory over scans, a line a system", f"memory-{name}")


@mpl.rc_context(STYLE)
def floors(panels: Sequence[Floor], shown: Mapping[str, Look]) -> str:
    """Draw each scenario's limit as a stacked bar, and every system's median under it."""
    rows = [len(panel.medians) + 1 for panel in panels]
    height = 0.26 * sum(rows) + 0.72 * len(panels) + 0.35
    figure = Figure(figsize=(_WIDTH, height))
    cells = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[count + 1 for count in rows])[:, 0]
    for axes, panel in zip(cells, panels, strict=True):
        _bars(axes, panel, shown)
    names = list(panels[0].parts)
    handles = [mpl.patches.Patch(fc=LINE, ec=INK, hatch=hatch) for hatch in _HATCHES[: len(names)]]
    figure.legend(handles, names, loc="upper left", ncols=3, fontsize=8, bbox_to_anchor=(0.13, 1.0))
    figure.subplots_adjust(left=0.15, right=0.93, top=1 - 0.55 / height, bottom=0.5 / height, hspace=0.62)
    return svg(figure, "the machine's limit by parts, and the systems' medians, a panel a scenario", "floors")


def _bars(axes: Axes, panel: Floor, shown: Mapping[str, Look]) -> None:
    left, limit = 0.0, sum(panel.parts.values())
    for width, hatch in zip(panel.parts.values(), _HATCHES, strict=False):
        axes.barh([0], [width], left=left, height=0.72, facecolor=LINE, edgecolor=INK, hatch=hatch, lw=0.8)
        left += width
    _beside(axes, limit, 0, f"{ms_text(limit)} ms")
    for place, (system, median) in enumerate(panel.medians.items(), 1):
        axes.barh([place], [median], height=0.72, color=shown[system].colour)
        _beside(axes, median, place, f"{ms_text(median)} ms, {median / limit:.2f} x")
    axes.axvline(limit, color=INK, lw=1, ls="--")
    axes.set_yticks(range(len(panel.medians) + 1), ["the limit", *panel.medians])
    axes.set_ylim(len(panel.medians) + 0.6, -0.6)
    axes.set_xlim(0, max(limit, *panel.medians.values()) * 1.12)
    axes.set_title(panel.scenario, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel("ms", loc="right", labelpad=-8)


def _beside(axes: Axes, x: float, y: float, words: str) -> None:
    axes.annotate(words, (x, y), (5, 0), textcoords="offset points", va="center", fontsize=8)


@mpl.rc_context(STYLE)
def roofline(work: NetworkWork, limits: Limits) -> str:
    """Draw what the machine's memory and cores allow at each intensity, and where the network lies."""
    roofs = {"INT8": limits.int8_gops, "bfloat16": limits.bf16_gflops, "float32": limits.float32_gflops}
    known = {name: roof for name, roof in roofs.items() if roof}
    at, reached = work.operations / work.bytes, work.operations / work.ms / 1e6
    ridge = max(known.values()) / limits.copy_gb_per_s
    x = np.geomspace(min(at, 1.0) / 4, 4 * max(ridge, at), 200)
    figure, (axes,) = _figure(1, height=3.4)
    for (name, roof), dash in zip(known.items(), _DASHES, strict=False):
        axes.plot(x, np.minimum(roof, x * limits.copy_gb_per_s), color=INK, ls=dash, lw=1, label=name)
    axes.plot([at], [reached], marker=MARKERS[0], ms=8, ls="", color=SERIES[0], label=work.variant)
    axes.annotate(f"{reached:,.0f}", (at, reached), (8, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.set_xlabel("operations a byte")
    axes.set_ylabel("1e9 operations a second")
    axes.grid(visible=True, lw=0.6)
    _legend(axes)
    figure.subplots_adjust(left=0.085, right=0.76, top=0.96, bottom=0.16)
    return svg(figure, "the machine's roofs by memory and cores, and the network's point", "roofline")


@mpl.rc_context(STYLE)
def peers(ratios: Mapping[str, Mapping[str, Ratio]], shown: Mapping[str, Look], ours: str) -> str:
    """Draw how many times as long as ours each system takes, with intervals, a row a scenario."""
    systems = list(dict.fromkeys(itertools.chain(*ratios.values())))
    height = 0.46 * len(ratios) + 0.75
    figure, (axes,) = _figure(1, height=height)
    axes.axvline(1, color=INK, lw=1, ls="--", label=ours)
    for place, system in enumerate(systems):
        found = [(row, mine[system]) for row, mine in enumerate(ratios.values()) if system in mine]
        at = [row + 0.6 * ((place + 0.5) / len(systems) - 0.5) for row, _ in found]
        values = np.array([ratio.value for _, ratio in found])
        spread = np.abs(np.array([[r.low for _, r in found], [r.high for _, r in found]]) - values)
        look = shown[system]
        axes.errorbar(
            values, at, xerr=spread, fmt=look.marker, ms=5, color=look.colour, elinewidth=1, capsize=2, label=system
        )
    _time_axis(axes.xaxis, axes.set_xscale, [1.0, *(r.value for mine in ratios.values() for r in mine.values())])
    axes.set_yticks(range(len(ratios)), list(ratios))
    axes.set_ylim(len(ratios) - 0.5, -0.5)
    axes.set_xlabel(f"median over {ours}'s median; further right is slower")
    axes.grid(visible=True, axis="x", lw=0.6)
    _legend(axes)
    figure.subplots_adjust(left=0.15, right=0.76, top=1 - 0.1 / height, bottom=0.55 / height)
    return svg(figure, f"medians of every system over {ours}'s, a row a scenario", "peers")


def _time_axis(axis: Any, set_scale: Any, values: Sequence[float]) -> None:
    """Make an axis logarithmic where values spread, with plain numbers."""
    least, most = min(values), max(values)
    if least <= 0 or most / least < _LINEAR_BELOW:
        axis.set_major_locator(MaxNLocator(6))
    else:
        set_scale("log")
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if most / least < 500 else (1.0,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def _rarity(percent: float) -> float:
    return float(-np.log10(1 - percent / 100))


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), fontsize=8, handlelength=3.2)


def _figure(count: int, *, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Make a figure of so many panels of a height, which share their axes."""
    rows = -(-count // columns)
    whole = rows * height + (0.5 if count > 1 else 0.0)
    figure = Figure(figsize=(_WIDTH, whole))
    cells = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel())
    for spare in cells[count:]:
        spare.remove()
    figure.subplots_adjust(left=0.085, right=0.985, top=1 - 0.3 / whole, bottom=0.5 / whole, hspace=0.3, wspace=0.08)
    return figure, cells[:count]
