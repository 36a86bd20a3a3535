"""The plots of a bundle's page: inline SVG in the page's own colours, the same bytes for the same evidence.

Decides nothing and reads no file. Colours are written as marks and become CSS variables, so that one drawing serves
light, dark and print.
"""

from __future__ import annotations

import io
import itertools
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optimize.evidence import LayerSensitivity
from optimize.risk import rate

Array = npt.NDArray[np.float64]

MOST_LAYERS = 25
MOST_POINTS = 240
BINS = 10
LEAST_PER_BIN = 8

_INK, _MUTED, _LINE = "#010101", "#020202", "#030303"
_SERIES = ("#0a0001", "#0a0002", "#0a0003", "#0a0004", "#0a0005", "#0a0006", "#0a0007", "#0a0008")
_VARIABLES = {_INK: "--ink", _MUTED: "--muted", _LINE: "--line"} | {
    colour: f"--s{place}" for place, colour in enumerate(_SERIES, 1)
}
_GENUINE, _COUNTERFEIT = _SERIES[0], _SERIES[1]
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "touchstone",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _MUTED,
    "axes.titlesize": 9,
    "axes.titlecolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "grid.color": _LINE,
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


def pareto(points: Sequence[Point], axis: str) -> str:
    """Draw latency against risk; a line joins the accepted variants that no other accepted one beats in both."""
    figure, axes = _figure(1, 1, width=7.4, height=3.6)
    best = sorted((p for p in points if p.accepted), key=lambda p: (p.latency_ms, p.risk))
    front = [p for place, p in enumerate(best) if all(p.risk < q.risk for q in best[:place])]
    (only,) = axes
    only.plot([p.latency_ms for p in front], [p.risk for p in front], color=_MUTED, lw=1, ls="--", zorder=1)
    marks = zip(points, itertools.cycle(_SERIES), itertools.cycle(_MARKERS), strict=False)
    for point, colour, marker in marks:
        words = "preferred" if point.preferred else "in the bundle" if point.accepted else "refused"
        only.scatter(
            [point.latency_ms],
            [point.risk],
            s=110 if point.preferred else 50,
            marker="*" if point.preferred else marker,
            facecolors=colour if point.accepted else "none",
            edgecolors=colour,
            label=f"{point.name} ({words})",
            zorder=2,
        )
    only.set_xlim(left=0, right=max(p.latency_ms for p in points) * 1.15)
    only.set_ylim(bottom=0, top=max(p.risk for p in points) * 1.25 or 1)
    only.set_xlabel("p50 in ms on the machine that built it")
    only.set_ylabel(axis)
    only.grid(visible=True, lw=0.6)
    only.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8)
    figure.subplots_adjust(left=0.09, right=0.66, top=0.97, bottom=0.14)
    return _svg(figure, f"{axis} against p50 latency, one point a variant", "pareto")


def risk_coverage(variants: Sequence[Scores], prevalence: float | None) -> str:
    """Draw the share of counterfeits among accepted items against the share of items accepted.

    Args:
        variants: with reported items of both classes, the preferred one first.
        prevalence: to weigh the classes to; ``None`` for the items' own.
    """
    figure, (axes,) = _figure(1, 1, width=7.4, height=3.4)
    for scores, colour, line in zip(variants, itertools.cycle(_SERIES), itertools.cycle(("-", "--", "-.", ":"))):
        coverage, risk, at = curve(scores, prevalence)
        axes.plot(coverage * 100, risk * 100, color=colour, ls=line, label=scores.name, drawstyle="steps-post")
        if at is not None:
            axes.plot([at[0] * 100], [at[1] * 100], marker="o", ms=7, mfc="none", mec=colour, ls="none")
    axes.plot([], [], marker="o", ms=7, mfc="none", mec=_MUTED, ls="none", label="at the threshold")
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("coverage: % of items called authentic")
    axes.set_ylabel("% counterfeit among them")
    axes.grid(visible=True, lw=0.6)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8)
    figure.subplots_adjust(left=0.09, right=0.72, top=0.96, bottom=0.15)
    return _svg(figure, "share of counterfeits among accepted items against coverage", "coverage")


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


def reliability(variants: Sequence[Scores]) -> str:
    """Draw observed against stated P(counterfeit), in bins of equally many items, with exact 95 % intervals."""
    figure, cells = _grid(len(variants), height=2.3)
    for axes, scores in zip(cells, variants, strict=True):
        axes.plot([0, 1], [0, 1], color=_MUTED, lw=0.8, ls="--")
        bins = np.array_split(
            np.argsort(scores.p, kind="stable"), max(min(BINS, scores.p.size // LEAST_PER_BIN), 1)
        )
        found = [rate(int(scores.counterfeit[chosen].sum()), chosen.size) for chosen in bins]
        stated = [float(scores.p[chosen].mean()) for chosen in bins]
        values = np.array([one.value for one in found])
        spread = np.abs(np.array([[one.low for one in found], [one.high for one in found]]) - values)
        axes.errorbar(stated, values, spread, fmt="o", ms=3.5, color=_SERIES[0], elinewidth=1, capsize=2)
        axes.set_title(_shortened(scores.name, 30), loc="left")
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        axes.grid(visible=True, lw=0.6)
    figure.supxlabel("stated P(counterfeit)", fontsize=9)
    figure.supylabel("observed share", fontsize=9)
    return _svg(figure, "observed share of counterfeits against stated probability, a panel a variant", "reliability")


def histograms(panels: Sequence[Scores], what: str) -> str:
    """Draw scores by class, a panel a variant or a group; lines stand at the thresholds."""
    figure, cells = _grid(len(panels), height=1.9)
    edges = np.linspace(0, 1, 31)
    for axes, scores in zip(cells, panels, strict=True):
        for chosen, colour, hatch, label in (
            (~scores.counterfeit, _GENUINE, "", "genuine"),
            (scores.counterfeit, _COUNTERFEIT, "////", "counterfeit"),
        ):
            counts, _ = np.histogram(scores.p[chosen], edges)
            axes.stairs(
                counts, edges, fill=not hatch, color=colour, hatch=hatch, lw=1, label=f"{label} ({chosen.sum()})"
            )
        for place, line in ((scores.authentic_below, "-"), (scores.suspect_from, ":")):
            axes.axvline(place, color=_INK, lw=1, ls=line)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_title(_shortened(scores.name, 30), loc="left")
        axes.set_xlim(0, 1)
        axes.legend(loc="upper center", fontsize=7)
    figure.supxlabel("P(counterfeit)", fontsize=9)
    figure.supylabel("items", fontsize=9)
    return _svg(figure, f"histograms of P(counterfeit) by class, a panel a {what}", f"scores-{what}")


def sensitivity(layers: Sequence[LayerSensitivity]) -> str:
    """Draw what the most harmful layers add, and their signal to quantisation noise."""
    shown = list(layers[:MOST_LAYERS])
    figure, (left, right) = _figure(1, 2, width=9.2, height=0.9 + 0.2 * len(shown))
    at = np.arange(len(shown))
    left.barh(at, [layer.added_noise for layer in shown], color=_SERIES[1], height=0.7)
    left.set_yticks(at, [_shortened(layer.node, 44) for layer in shown], fontsize=7.5)
    left.set_xlabel("noise over signal that it adds")
    right.barh(at, [layer.sqnr_db for layer in shown], color=_SERIES[0], height=0.7)
    right.set_yticks([])
    right.set_xlabel("SQNR of its output in dB")
    for axes in (left, right):
        axes.invert_yaxis()
        axes.grid(visible=True, axis="x", lw=0.6)
    figure.subplots_adjust(left=0.36, right=0.985, top=0.985, bottom=0.5 / (0.9 + 0.2 * len(shown)), wspace=0.08)
    return _svg(figure, "noise that each layer adds and its signal to quantisation noise", "sensitivity")


def _figure(rows: int, columns: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height))
        return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def _grid(count: int, *, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure with so many panels, three a row."""
    rows, columns = -(-count // 3), min(count, 3)
    whole = rows * height + 0.45
    figure, cells = _figure(rows, columns, width=3.1 * columns + 0.4, height=whole)
    for spare in cells[count:]:
        spare.remove()
    figure.subplots_adjust(
        left=0.62 / (3.1 * columns + 0.4), right=0.985, top=1 - 0.25 / whole, bottom=0.55 / whole, hspace=0.42, wspace=0.22
    )
    return figure, cells[:count]


def _shortened(text: str, most: int) -> str:
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def _svg(figure: Figure, label: str, prefix: str) -> str:
    """Return a figure as an ``<svg>`` element whose ids are its own, whose colours are the page's."""
    out = io.StringIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+", UserWarning)  # the reader's fonts draw it, not ours
        figure.savefig(out, format="svg", transparent=True, metadata=_NO_METADATA)
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'(?<= id=")|(?<=href="#)|(?<=url\(#)', f"{prefix}-", text)
    for mark, variable in _VARIABLES.items():
        text = text.replace(mark, f"var({variable})")
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert size is not None
    width = f'style="max-width: {float(size[1]) * 1.33:.0f}px"'
    text = re.sub(r'<svg [^>]*>', f'<svg role="img" aria-label="{label}" {width} {size[0]}>', text, count=1)
    return re.sub(r"\n\s*", "\n", text)


_NO_METADATA: Mapping[str, None] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
