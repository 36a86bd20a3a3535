"""A run of the suite as one HTML page that can be read anywhere: no script, nothing loaded, plots inside.

Says what the run says and no more. The same run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.latency import page_drawings, page_scenarios
from benchmarks.latency.page_drawings import Look, ms_text
from benchmarks.latency.page_scenarios import ratio_text, ratios_to_ours
from benchmarks.latency.results import Result, Run, names
from benchmarks.latency.systems.table import BASELINE, OURS
from benchmarks.peer_rounds import Ratio
from optimize import page_markup
from optimize.page_markup import Markup, figure, join, marked, paragraph, section, table

_TITLE = "Latency of a station"
_FIRST = ("item", "view_warm")
"""Scenarios that the summary tells of."""

Ratios = Mapping[str, Mapping[str, Ratio]]
"""Medians over ours, by scenario and system; see ``ratios_to_ours``."""


def page(run: Run) -> str:
    """Return the page."""
    played, systems = names(run)
    shown = page_drawings.looks(systems)
    ratios = {name: ratios_to_ours(run, name) for name in played}
    sections = [
        ("peers", "Systems side by side", _peers(run, systems, ratios, shown)),
        ("floors", "Where a verdict's time goes", _floors(run, played, shown)),
        *((name, f"Scenario: {name}", page_scenarios.scenario(run, name, ratios[name], shown)) for name in played),
        ("systems", "Who took part, and who could not", _systems(run, systems)),
        ("machine", "The machine and its limits", _machine(run)),
    ]
    style = Path(page_markup.__file__).with_name("page.css").read_text(encoding="utf-8")
    links = "".join(f'<li><a href="#{key}">{join(title)}</a></li>' for key, title, body in sections if body)
    body = join(*(section(key, title, inner) for key, title, inner in sections))
    summary = _summary(run, ratios)
    meta = f"{run.header.device.line()}; {run.header.suite} suite; {run.header.command}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{_TITLE}</title>\n<style>\n{style}</style></head>\n<body><header><h1>{_TITLE}</h1>"
        f'{paragraph(meta, "meta")}<div class="summary" role="note" aria-label="Summary">{summary}</div></header>\n'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>\n{body}</main></body></html>\n'
    )


def _summary(run: Run, ratios: Ratios) -> Markup:
    invalid = sum(not one.valid for one in run.results)
    counted = f"{len(run.results) - invalid} of {len(run.results)} results are VALID"
    counted += "; what is INVALID is shown with its reason, and neither drawn nor compared." if invalid else "."
    return join(*(paragraph(text) for name in _FIRST if (text := _told(run, name, ratios))), paragraph(counted))


def _told(run: Run, name: str, ratios: Ratios) -> str:
    """Say the most important of a scenario in a sentence; empty where our own result may not be used."""
    ours = run.find(name, OURS)
    if ours is None or not ours.valid or not ours.latencies_ms:
        return ""
    median = float(np.median(ours.latencies_ms))
    text = f"{name}: {OURS} gives its durable verdict in {ms_text(median)} ms (p50)"
    text += f", {median / ours.limit_ms:.2f} times what the machine allows" if ours.limit_ms else ""
    ratio = ratios[name].get(BASELINE)
    text += f"; the {BASELINE} station takes {ratio_text(ratio)} times as long" if ratio else ""
    return f"{text}."


def _peers(run: Run, systems: Sequence[str], ratios: Ratios, shown: Mapping[str, Look]) -> Markup:
    rows = [
        (name, *(_peer_cell(run.find(name, system), mine.get(system)) for system in systems))
        for name, mine in ratios.items()
    ]
    caption = f"Median latency in ms, and how many times as long as {OURS} takes; a dash: not played"
    parts = [table(caption, ("scenario", *systems), rows, ("figure",) * len(systems))]
    compared = {name: mine for name, mine in ratios.items() if mine}
    if compared:
        drawn = page_drawings.peers(compared, shown, OURS)
        parts.insert(
            0, figure(drawn, f"Medians over {OURS}'s, with 95 % bootstrap intervals; the dashed line is {OURS}.")
        )
    return join(*parts)


def _peer_cell(one: Result | None, ratio: Ratio | None) -> str:
    if one is None:
        return "-"
    if not one.valid or not one.latencies_ms:
        return marked("bad", "INVALID")
    median = ms_text(float(np.median(one.latencies_ms)))
    return f"{median} ({ratio.value:.2f} x)" if ratio else median


def _floors(run: Run, played: Sequence[str], shown: Mapping[str, Look]) -> Markup:
    panels = page_scenarios.floors(run, played)
    if not panels:
        return Markup("")
    return join(
        paragraph(
            "The machine's limit is the sum of what no station can do without: entropy decoding of every view that is "
            "left to decode, on all cores; the network by itself; and one fsync. Each system's median stands under it."
        ),
        figure(
            page_drawings.floors(panels, shown),
            "The limit by its parts, and every system's median, with how many times the limit it takes.",
        ),
    )


def _systems(run: Run, systems: Sequence[str]) -> Markup:
    said = {one.system: one.does for one in run.results}
    rows: list[tuple[str, ...]] = [(name, "took part", said[name]) for name in systems]
    rows += [(one.system, marked("mark", "absent"), one.why) for one in run.absent]
    return table(
        "Systems, and what each does", ("system", "state", "what it does, or why it is absent"), rows, ("", "long")
    )


def _machine(run: Run) -> Markup:
    device, limits = run.header.device, run.header.limits
    bf16 = "not computed by this CPU" if limits.bf16_gflops is None else f"{limits.bf16_gflops:,.0f} GFLOP/s"
    can = [
        ("entropy decoding of one photo, one core", f"{ms_text(limits.entropy_decode_ms)} ms"),
        ("full decoding of one photo, one core", f"{ms_text(limits.full_decode_ms)} ms"),
        ("memory copy", f"{limits.copy_gb_per_s:.1f} GB/s"),
        ("INT8 matrix product, all cores", f"{limits.int8_gops:,.0f} GOP/s"),
        ("float32 matrix product, all cores", f"{limits.float32_gflops:,.0f} GFLOP/s"),
        ("bfloat16 matrix product, all cores", bf16),
        ("fsync of a small write", f"{limits.fsync_ms:.3g} ms"),
        ("large write and fsync", f"{limits.write_mb_per_s:,.0f} MB/s"),
        ("cores that may be used", str(limits.cores)),
    ]
    is_what = [
        ("measured at", device.date),
        ("CPU", f"{device.cores} cores of {device.cpu}"),
        ("flags that matter", " ".join(device.flags) or "none"),
        ("memory", f"{device.memory_gb:.1f} GB"),
        ("system", f"{device.system}, Python {device.python}"),
        ("governor", device.governor or "the system does not say"),
        ("load before", f"{device.load_1min:.1f}"),
        ("photos", f"{run.header.views} views of an item, {run.header.photo_mb:.2f} MB each"),
        ("command", run.header.command),
        *device.versions.items(),
    ]
    return join(
        _roofline(run),
        table("What this machine can do at all, medians", ("limit", "measured"), can),
        table("What it is", ("what", "value"), is_what, ("long",)),
    )


def _roofline(run: Run) -> Markup:
    work = run.header.network
    if work is None:
        return paragraph("No roofline: this run does not say how many operations its network needs.")
    share = work.operations / work.ms / 1e6 / max(run.header.limits.int8_gops, run.header.limits.float32_gflops)
    return figure(
        page_drawings.roofline(work, run.header.limits),
        f"Roofline: one photo takes {work.variant} {work.operations / 1e9:.2f}e9 operations, {work.bytes / 1e6:.0f} MB "
        f"and {ms_text(work.ms)} ms: {share:.0%} of the fastest matrix product here. Slopes: memory; flat: cores.",
    )
