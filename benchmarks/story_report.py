"""The story as one self-contained HTML page: plots are SVG inside it, nothing is loaded from anywhere."""

from __future__ import annotations

import html
import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks.story import Figures
from benchmarks.story_ending import ending, preferred
from optimize.report import rate_text

_INK, _ACCENT, _OTHER, _PALE = "#1f2a37", "#0f766e", "#b45309", "#cbd5e1"
_STYLE = """
:root { color-scheme: light; font: 16px/1.5 system-ui, sans-serif; color: #1f2a37; background: #f8fafc }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1.25rem }
h1 { font-size: 1.7rem; margin-bottom: .25rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
p.lead { color: #475569; max-width: 46rem }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(27rem, 1fr)); gap: 1rem }
figure { margin: 0; background: #fff; border: 1px solid #e2e8f0; border-radius: .6rem; padding: .75rem }
figure svg { width: 100%; height: auto } figcaption { font-size: .85rem; color: #475569 }
table { border-collapse: collapse; width: 100%; background: #fff; font-size: .95rem }
th, td { text-align: left; padding: .45rem .7rem; border-bottom: 1px solid #e2e8f0 }
th { color: #475569; font-weight: 600 }
pre { background: #fff; border: 1px solid #e2e8f0; border-radius: .6rem; padding: 1rem; overflow-x: auto;
font-size: .8rem }
"""
_RATES = (
    ("Missed (FAR): counterfeits confirmed", "far"),
    ("False suspects (FRR): genuine not confirmed", "frr"),
    ("Genuine items sent to an expert", "genuine_review"),
    ("All items sent to an expert", "review"),
    ("Accuracy without abstention", "accuracy"),
)


def write_report(path: Path, figures: Figures) -> None:
    """Write the page to ``path``."""
    mpl.rcParams.update({"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10, "text.color": _INK})
    plots = (
        (_rates_plot(figures), "Both releases on the same items, with exact 95 % intervals."),
        (_outbox_plot(figures), "Records waiting at the station. The shaded time has no server; nothing is lost."),
        (_scan_plot(figures), "From the last photo's bytes to the record on disk, 12-megapixel JPEGs."),
        (_steps_plot(figures), "Seconds of each step of this run."),
    )
    shown = "".join(f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>" for svg, caption in plots)
    source = "generated leather goods (synthetic; no claim about real ones)" if figures.generated else "real photos"
    path.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Touchstone demo</title><style>{_STYLE}</style><h1>Touchstone, one whole round</h1>"
        f"<p class=lead>Photos, verdicts, experts and the next model, by the product's own commands on {source}. "
        f"{figures.scanned} scans, {figures.cases} cases, two releases, one outage.</p>"
        f"<h2>What changed</h2>{_table(figures)}<div class=plots style='margin-top:1rem'>{shown}</div>"
        f"<h2>The ending, as printed</h2><pre>{html.escape(ending(figures))}</pre></html>"
    )


def _table(figures: Figures) -> str:
    first, second = (preferred(evidence).evaluation for evidence in figures.evidence)
    rows = "".join(
        f"<tr><td>{html.escape(text)}<td>{rate_text(getattr(first, name))}<td>{rate_text(getattr(second, name))}"
        for text, name in _RATES
    )
    return f"<table><tr><th>Rate [95 % interval]<th>Release 1<th>Release 2{rows}</table>"


def _rates_plot(figures: Figures) -> str:
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    labels = ("missed", "false suspects", "genuine reviewed", "reviewed")
    for index, (evidence, colour) in enumerate(zip(figures.evidence, (_OTHER, _ACCENT), strict=True)):
        evaluation = preferred(evidence).evaluation
        rates = [evaluation.far, evaluation.frr, evaluation.genuine_review, evaluation.review]
        values = np.array([rate.value for rate in rates]) * 100
        spread = np.array([[rate.low for rate in rates], [rate.high for rate in rates]]) * 100
        at = np.arange(len(rates)) + (index - 0.5) * 0.36
        axes.bar(at, values, 0.34, color=colour, label=f"release {index + 1}")
        axes.errorbar(at, values, np.abs(spread - values), fmt="none", ecolor=_INK, capsize=3, lw=1)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylabel("percent")
    axes.legend(frameon=False)
    return _svg(figure)


def _outbox_plot(figures: Figures) -> str:
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    at, pending, phase = zip(*figures.outbox, strict=True)
    axes.plot(at, pending, color=_ACCENT, lw=2)
    outage = [t for t, kind in zip(at, phase, strict=True) if kind == "offline"]
    if outage:
        axes.axvspan(min(outage), max(outage), color=_PALE, alpha=0.5, lw=0, label="no server")
        axes.legend(frameon=False)
    axes.set_xlabel("seconds into the story")
    axes.set_ylabel("records pending")
    axes.set_ylim(bottom=0)
    return _svg(figure)


def _scan_plot(figures: Figures) -> str:
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    if figures.latency is not None:
        scans = figures.latency.scan_ms
        axes.hist(scans, bins=30, color=_ACCENT)
        for share, style in ((50, "-"), (99, "--")):
            value = float(np.percentile(scans, share))
            axes.axvline(value, color=_OTHER, ls=style, label=f"p{share} {value:.0f} ms")
        axes.legend(frameon=False)
        axes.set_xlabel(f"milliseconds an item of {figures.latency.views} photo(s)")
        axes.set_ylabel("scans")
    return _svg(figure)


def _steps_plot(figures: Figures) -> str:
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    names, taken = zip(*figures.steps, strict=True)
    axes.barh(range(len(names)), taken, color=_PALE)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    return _svg(figure)


def _svg(figure: Figure) -> str:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
