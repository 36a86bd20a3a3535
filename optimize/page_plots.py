"""The plots of a bundle's page: inline SVG in the page's own colours, the same bytes for the same evidence.

Decides nothing and reads no file. Colours are written as marks and become CSS variables, so that one drawing serves
light, dark and print.
"""

from __future__ import annotations

import html
import io
import itertools
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator

from optimize.evidence import LayerSensitivity
from optimize.risk import rate

Array = npt.NDArray[np.float64]

MOST_LAYERS = 25
MOST_POINTS = 240
BINS = 10
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
LEAST_PER_BIN = 8

INK, _MUTED, LINE = "#010101", "#020202", "#030303"
SERIES = ("#0a0001", "#0a0002", "#0a0003", "#0a0004", "#0a0005", "#0a0006", "#0a0007", "#0a0008")
_VARIABLES = {INK: "--ink", _MUTED: "--muted", LINE: "--line"} | {
    colour: f"--s{place}" for place, colour in enumerate(SERIES, 1)
}
_GENUINE, _COUNTERFEIT = SERIES[0], SERIES[1]
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "touchstone",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": _MUTED,
    "axes.titlesize": 9,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "grid.color": LINE,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One variant in the plane of latency and risk; ``risk`` in percent, or as its axis says."""

    name: str
    latency_ms: float
    risk: float
    accepted: bool
    preferred: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """P(counterfeit) of the reported items by one variant, ``float64 (n,)``, what they are, and the thresholds."""

    name: str
    p: Array
    counterfeit: npt.NDArray[np.bool_]
    authentic_below: float
    suspect_from: float


@mpl.rc_context(STYLE)
def pareto(panels: Mapping[str, Sequence[Point]]) -> str:
    """Draw latency against risk; a line joins the accepted variants that no other accepted one beats in both.

    Args:
        panels: by what its axis says, the same variants' points in every panel.
    """
    width = 4.1 * len(panels) + 2.6
    figure, cells = _figure(1, len(panels), width=width, height=3.3)
    for axes, (axis, points) in zip(cells, panels.items(), strict=True):
        best = sorted((p for p in points if p.accepted), key=lambda p: (p.latency_ms, p.risk))
        front = [p for place, p in enumerate(best) if all(p.risk < q.risk for q in best[:place])]
        axes.plot([p.latency_ms for p in front], [p.risk for p in front], color=_MUTED, lw=1, ls="--", zorder=1)
        for point, (colour, marker) in zip(points, _marks(), strict=False):
            words = "preferred" if point.preferred else "in the bundle" if point.accepted else "refused"
            axes.scatter(
                [point.latency_ms],
                [point.risk],
                s=120 if point.preferred else 50,
                marker="*" if point.preferred else marker,
                facecolors=colour if point.accepted else "none",
                edgecolors=colour,
                label=f"{_shortened(point.name, 28)}\n({words})",
                zorder=2,
            )
        axes.set_xlim(left=0, right=max(p.latency_ms for p in points) * 1.15)
        axes.set_ylim(bottom=0, top=max(p.risk for p in points) * 1.25 or 1)
        axes.set_xlabel("ms a photo on the machine that built it")
        axes.set_ylabel(axis)
        axes.grid(visible=True, lw=0.6)
    cells[-1].legend(loc="upper left", bbox_to_anchor=(1.03, 1.02), fontsize=8, labelspacing=0.7)
    figure.subplots_adjust(left=0.65 / width, right=1 - 2.2 / width, top=0.96, bottom=0.15, wspace=0.24)
    return svg(figure, f"{' and '.join(panels)} against latency, one point a variant", "pareto")


def _marks() -> Iterator[tuple[str, str]]:
    return zip(itertools.cycle(SERIES), itertools.cycle(MARKERS), strict=False)


@mpl.rc_context(STYLE)
def risk_coverage(variants: Sequence[Scores], prevalence: float | None) -> str:
    """Draw the share of counterfeits among accepted items against the share of items accepted.

    Args:
        variants: with reported items of both classes, the preferred one first.
        prevalence: to weigh the classes to; ``None`` for the items' own.
    """
    figure, (axes,) = _figure(1, 1, width=7.4, height=3.4)
    at_thresholds: list[float] = []
    for scores, colour, line in zip(
        variants, itertools.cycle(SERIES), itertools.cycle(("-", "--", "-.", ":")), strict=False
    ):
        coverage, risk, at = curve(scores, prevalence)
        axes.plot(
            coverage * 100, risk * 100, color=colour, ls=line, label=_shortened(scores.name, 28), drawstyle="steps-post"
        )
        if at is not None:
            at_thresholds.append(at[1] * 100)
            axes.plot([at[0] * 100], [at[1] * 100], marker="o", ms=7, mfc="none", mec=colour, ls="none")
    axes.plot([], [], marker="o", ms=7, mfc="none", mec=_MUTED, ls="none", label="at the threshold")
    axes.set_xlim(0, 100)
    axes.set_ylim(
        0, max(4 * max(at_thresholds, default=25.0), 1.0)
    )  # the steep end, where all is accepted, says little
    axes.set_xlabel("coverage: % of items called authentic")
    axes.set_ylabel("% counterfeit among them")
    axes.grid(visible=True, lw=0.6)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8)
    figure.subplots_adjust(left=0.09, right=0.72, top=0.96, bottom=0.15)
    return svg(figure, "share of counterfeits among accepted items against coverage", "coverage")


def curve(scores: Scores, prevalence: float | None) -> tuple[Array, Array, tuple[float, float] | None]:
    """Return coverage and selective risk as the threshold rises, and where the chosen one stands (``None``: at none).

    Long curves are thinned to ``MOST_POINTS``.
    """
    n = scores.p.size
    fakes = max(int(scores.counterfeit.sum()), 1)
    share = fakes / n if prevalence is None else prevalence
    weight = np.where(scores.counterfeit, share / fakes, (1 - share) / max(n - fakes, 1))
    order = np.argsort(scores.p, kind="stable")
    ordered = scores.p[order]
    last = np.append(ordered[1:] > ordered[:-1], True)  # equal scores are accepted together
    coverage = weight[order].cumsum()[last]
    risk = (weight * scores.counterfeit)[order].cumsum()[last] / coverage
    accepted = int((ordered[last] < scores.authentic_below).sum())
    at = (float(coverage[accepted - 1]), float(risk[accepted - 1])) if accepted else None
    kept = np.unique(np.linspace(0, coverage.size - 1, min(coverage.size, MOST_POINTS)).astype(int))
    return coverage[kept], risk[kept], at


@mpl.rc_context(STYLE)
def reliability(variants: Sequence[Scores]) -> str:
    """Draw observed against stated P(counterfeit), in bins of equally many items, with exact 95 % intervals."""
    figure, cells = _grid(len(variants), height=2.3)
    for axes, scores in zip(cells, variants, strict=True):
        axes.plot([0, 1], [0, 1], color=_MUTED, lw=0.8, ls="--")
        bins = np.array_split(np.argsort(scores.p, kind="stable"), max(min(BINS, scores.p.size // LEAST_PER_BIN), 1))
        found = [rate(int(scores.counterfeit[chosen].sum()), chosen.size) for chosen in bins]
        stated = [float(scores.p[chosen].mean()) for chosen in bins]
        values = np.array([one.value for one in found])
        spread = np.abs(np.array([[one.low for one in found], [one.high for one in found]]) - values)
        axes.errorbar(stated, values, spread, fmt="o", ms=3.5, color=SERIES[0], elinewidth=1, capsize=2)
        axes.set_title(_shortened(scores.name, 30), loc="left")
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xticks(_TICKS)
        axes.set_yticks(_TICKS)
        axes.grid(visible=True, lw=0.6)
    figure.supxlabel("stated P(counterfeit)", fontsize=9)
    figure.supylabel("observed share", fontsize=9, x=0.005, ha="left")
    return svg(figure, "observed share of counterfeits against stated probability, a panel a variant", "reliability")


@mpl.rc_context(STYLE)
def histograms(panels: Sequence[Scores], what: str) -> str:
    """Draw scores by class, a panel a variant or a group; lines stand at the thresholds."""
    figure, cells = _grid(len(panels), height=1.9)
    edges = np.linspace(0, 1, 31)
    top = 10 ** math.ceil(math.log10(max(2, *(scores.p.size for scores in panels))))
    for axes, scores in zip(cells, panels, strict=True):
        for chosen, colour, hatch in ((~scores.counterfeit, _GENUINE, ""), (scores.counterfeit, _COUNTERFEIT, "////")):
            counts, _ = np.histogram(scores.p[chosen], edges)
            axes.stairs(counts, edges, fill=not hatch, color=colour, hatch=hatch, lw=1)
        for place, line in ((scores.authentic_below, "-"), (scores.suspect_from, ":")):
            axes.axvline(place, color=INK, lw=1, ls=line)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(0, top)
        axes.set_yticks([0, *(10**power for power in range(round(math.log10(top)) + 1))], minor=False)
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        genuine = int((~scores.counterfeit).sum())
        axes.set_title(f"{_shortened(scores.name, 28)} ({genuine} + {scores.p.size - genuine})", loc="left")
        axes.set_xlim(0, 1)
        axes.set_xticks(_TICKS)
    kinds = [Patch(color=_GENUINE), Patch(edgecolor=_COUNTERFEIT, fill=False, hatch="////")]
    lines = [Line2D([], [], color=INK, lw=1, ls=line) for line in ("-", ":")]
    words = ("genuine", "counterfeit", "authentic below", "suspect from")
    figure.legend([*kinds, *lines], words, loc="lower left", ncols=4, fontsize=8, bbox_to_anchor=(0.0, 0.0))
    figure.supxlabel("P(counterfeit)", fontsize=9, x=0.8)
    figure.supylabel("items", fontsize=9, x=0.005, ha="left")
    return svg(figure, f"histograms of P(counterfeit) by class, a panel a {what}", f"scores-{what}")


@mpl.rc_context(STYLE)
def sensitivity(layers: Sequence[LayerSensitivity]) -> str:
    """Draw what the most harmful layers add, and their signal to quantisation noise."""
    shown = list(layers[:MOST_LAYERS])
    figure, (left, right) = _figure(1, 2, width=9.2, height=0.9 + 0.2 * len(shown))
    at = np.arange(len(shown))
    left.barh(at, [layer.added_noise for layer in shown], color=SERIES[1], height=0.7)
    left.set_yticks(at, [_shortened(layer.node, 44) for layer in shown], fontsize=7.5)
    left.set_xlabel("noise over signal that it adds")
    right.barh(at, [layer.sqnr_db for layer in shown], color=SERIES[0], height=0.7)
    right.set_yticks([])
    right.set_xlabel("SQNR of its output in dB")
    for axes in (left, right):
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid(visible=True, axis="x", lw=0.6)
    figure.subplots_adjust(left=0.36, right=0.985, top=0.985, bottom=0.5 / (0.9 + 0.2 * len(shown)), wspace=0.08)
    return svg(figure, "noise that each layer adds and its signal to quantisation noise", "sensitivity")


def _figure(rows: int, columns: int, *, width: float, height: float, share: bool = False) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height))
    return figure, list(figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share).ravel())


def _grid(count: int, *, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure with so many panels, three a row."""
    rows, columns = -(-count // 3), min(count, 3)
    whole, width = rows * height + 0.45, max(3.1 * columns + 0.4, 6.6)  # a legend needs the room
    figure, cells = _figure(rows, columns, width=width, height=whole, share=True)
    for spare in cells[count:]:
        spare.remove()
    for lowest in cells[max(count - columns, 0) : count]:
        lowest.tick_params(labelbottom=True)
    figure.subplots_adjust(
        left=0.85 / width,
        right=1 - 0.18 / width,
        top=1 - 0.25 / whole,
        bottom=0.55 / whole,
        hspace=0.42,
        wspace=0.22,
    )
    return figure, cells[:count]


def _shortened(text: str, most: int) -> str:
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def svg(figure: Figure, label: str, prefix: str) -> str:
    """Return a figure as an ``<svg>`` element whose ids are its own, whose colours are the page's."""
    out = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+", UserWarning)  # the reader's fonts draw it, not ours
        figure.savefig(out, format="svg", transparent=True, metadata=_NO_METADATA)
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*<style.*?</defs>\s*", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'(?<= id=")|(?<=href="#)|(?<=url\(#)', f"{prefix}-", text)
    for mark, variable in _VARIABLES.items():
        text = text.replace(mark, f"var({variable})")
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert size is not None
    width = f'style="max-width: {float(size[1]) * 1.33:.0f}px"'
    text = re.sub(
        r"<svg [^>]*>", f'<svg role="img" aria-label="{html.escape(label)}" {width} {size[0]}>', text, count=1
    )
    return re.sub(r"\n\s*", "\n", text)


_NO_METADATA: Mapping[str, None] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
