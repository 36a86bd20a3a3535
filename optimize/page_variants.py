"""The page's parts about variants: their table, every gate's answer, latency against risk, the search, the layers."""

from __future__ import annotations

from collections.abc import Iterator

from optimize import page_plots
from optimize.evidence import CandidateEvidence, Evidence, VariantEvidence
from optimize.page_markup import Markup, figure, heading, join, marked, paragraph, table
from optimize.page_plots import MOST_LAYERS, Point
from optimize.wording import (
    budget_text,
    confidence_text,
    execution_mark,
    first_stage_text,
    kernels_text,
    megabytes,
    missed_text,
    ratio_text,
    review_text,
)


def variants_table(evidence: Evidence) -> Markup:
    """Return one row a variant."""
    header = ["variant", "state", "target, engine, precision", "size", "p50", "time of its baseline [95 %]", "kernels"]
    header += ["missed rate", "to an expert"] if evidence.claims else ["cosine with float", "relative error"]
    rows = [
        (
            one.name,
            _state(one, evidence.preferred),
            f"{one.target}, {one.engine}, {one.precision}",
            megabytes(one.size_bytes),
            "-"
            if one.latency is None
            else f"{one.latency.p50_us / 1000:.2f} ms{' (mean)' if one.latency.mean else ''}",
            ratio_text(one.latency, one.name),
            kernels_text(one),
            *_judgement(one, evidence),
        )
        for one in evidence.variants
    ]
    caption = (
        "Variants: times are medians of interleaved runs of one photo or feed on the machine that built the bundle"
    )
    if any(one.latency and one.latency.mean for one in evidence.variants):
        caption += "; a cascade's is the mean over items, as its second network looks at some of them only"
    if evidence.claims:
        caption += f"; bounds of missed rates hold with {confidence_text(evidence.claims)}"
    return table(caption, header, rows, ("", "", "figure", "figure", "", "", "", ""))


def gates(evidence: Evidence) -> Markup:
    """Return every gate's answer in words, a table a variant."""
    parts: list[Markup] = []
    for one in evidence.variants:
        rows = [
            (gate.gate, marked("good", "passed") if gate.passed else marked("bad", "refused"), gate.reason)
            for gate in one.gates
        ]
        title = join(f"{one.name}: ", _state(one, evidence.preferred))
        made = [f"ranges by {one.calibration}"] if one.calibration else []
        made += [f"needs {', '.join(one.isa)}"] if one.isa else []
        made += [first_stage_text(one.first)] if one.first else []
        made += [f"kept in float: {', '.join(one.excluded)}"] if one.excluded else []
        parts += [heading(title), paragraph("; ".join(made), "note") if made else Markup("")]
        parts.append(
            table(
                f"Gates of {one.name}, in their order",
                ("gate", "answer", "why"),
                rows,
                ("figure", "long"),
            )
        )
    return join(*parts)


def latency_against_risk(evidence: Evidence) -> Markup:
    """Return the Pareto plots, or a sentence where nothing was timed."""
    timed = [one for one in evidence.variants if one.latency is not None]
    panels = {axis: _points(evidence, timed, values) for values, axis, _ in _risks(evidence, timed) if values}
    if not panels:
        return paragraph("Nothing was both timed and judged on the machine that built the bundle, so there is no plot.")
    words = ". ".join(words for values, _, words in _risks(evidence, timed) if values)
    caption = (
        f"{words}. Filled marks are in the bundle, hollow ones were refused; the star is preferred, and the dashed "
    )
    caption += "line joins those that no other one beats in both."
    left_out = [one.name for one in evidence.variants if one.latency is None]
    note = paragraph(f"Not timed, so not drawn: {', '.join(left_out)}.", "note") if left_out else Markup("")
    return join(figure(page_plots.pareto(panels), caption), note)


def candidates(evidence: Evidence) -> Markup:
    """Return what the search tried, and what became of each candidate."""
    harm = "1 - correlation of the logits" if evidence.judged_by == "risk" else "1 - cosine of the outputs"
    rows = [_candidate(one) for one in evidence.candidates]
    return table(
        f"Candidates of the search; harm is {harm} with the float model",
        ("variant", "target", "calibration", "nodes kept in float", "inputs compared", "harm", "outcome"),
        rows,
        ("", "", "figure", "figure", "figure", "long"),
    )


def layers(evidence: Evidence) -> Markup:
    """Return the layers that quantisation hurts most."""
    if not evidence.sensitivity:
        return Markup("")
    shown, all_of_them = min(len(evidence.sensitivity), MOST_LAYERS), len(evidence.sensitivity)
    return figure(
        page_plots.sensitivity(evidence.sensitivity),
        f"The {shown} of {all_of_them} quantised layers that add most noise, most harmful first: noise over signal "
        "(powers) at the layer's output less that at its input, and signal to quantisation noise (SQNR) of its output; "
        "less is worse there.",
    )


def _state(one: VariantEvidence, preferred: str) -> Markup:
    if one.name == preferred:
        found = marked("good", "preferred")
    elif one.accepted:
        found = marked("good", "in the bundle")
    else:
        found = marked("bad", "refused")
    mark = execution_mark(one)
    return join(found, ", ", marked("mark", mark)) if mark else found


def _judgement(one: VariantEvidence, evidence: Evidence) -> tuple[str, str]:
    if evidence.claims is not None:
        return missed_text(one, evidence.claims), review_text(one)
    if one.fidelity is None:
        return "not compared", "-"
    return f"{one.fidelity.cosine:.5f} (n = {one.fidelity.inputs})", f"{one.fidelity.relative_error:.2%}"


def _candidate(one: CandidateEvidence) -> tuple[str, ...]:
    outcome = one.outcome
    if outcome == "frozen":
        outcome = marked("good", "frozen")
    elif outcome.startswith("refused"):
        outcome = join(marked("bad", "refused"), outcome.removeprefix("refused"))
    return (
        one.slot,
        one.target,
        one.calibration or "-",
        str(one.excluded),
        str(one.inputs),
        "-" if one.harm is None else f"{one.harm:.2g}",
        outcome,
    )


def _risks(evidence: Evidence, timed: list[VariantEvidence]) -> Iterator[tuple[dict[str, float], str, str]]:
    """Yield by variant what is drawn against latency, with the axis and the words for it."""
    claims = evidence.claims
    if claims is None:
        off = {one.name: 1 - one.fidelity.cosine for one in timed if one.fidelity}
        yield off, "1 - cosine with float", "How far the outputs are from the float model's"
        return
    decided = {one.name: one.decision for one in timed if one.decision}
    proved = {name: found for name, found in decided.items() if found.certificate.certified}
    yield (
        {name: found.certificate.upper_bound * 100 for name, found in proved.items()},
        "missed rate: upper bound in %",
        f"Upper bound of the missed rate, {confidence_text(claims)}; the budget is {budget_text(claims.max_missed)}",
    )
    yield (
        {name: found.genuine_review * 100 for name, found in proved.items()},
        "genuine items to an expert in %",
        "Share of genuine certify items that go to an expert at each variant's own threshold",
    )
    if not proved:
        yield (
            {n: 1 - auc for n, found in decided.items() if (auc := found.evaluation.auc) is not None},
            "1 - AUC",
            "No bound was proved, so 1 - AUC on the reported items is drawn, which claims nothing",
        )


def _points(evidence: Evidence, timed: list[VariantEvidence], values: dict[str, float]) -> list[Point]:
    return [
        Point(
            name=one.name,
            latency_ms=one.latency.p50_us / 1000,
            risk=values[one.name],
            accepted=one.accepted,
            preferred=one.name == evidence.preferred,
        )
        for one in timed
        if one.latency is not None and one.name in values
    ]
