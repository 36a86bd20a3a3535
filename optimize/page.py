"""A bundle's evidence as one HTML page that an auditor can read anywhere: no script, nothing loaded, plots inside.

Says what the evidence says and no more. The same evidence gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from optimize import page_decisions, page_variants
from optimize.evidence import Evidence
from optimize.page_markup import Markup, join, listing, paragraph, section, table
from optimize.summary import what_is_needed, what_it_is, what_was_proved

PAGE_FILE = "report.html"

_MOST_NOTES = 200
_CUT_AT = 400


def page(name: str, created_at: str, evidence: Evidence, bundle_id: str | None = None) -> str:
    """Return the page.

    Args:
        name: of the bundle.
        created_at: when it was built, as its manifest says.
        evidence: all of it.
        bundle_id: of the bundle; ``None`` while it is not yet hashed.
    """
    sections = _sections(evidence)
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    built = f"built {created_at}; {_judged_by(evidence)}" + (f"; bundle {bundle_id}" if bundle_id else "")
    summary = join(
        *(paragraph(one) for one in (what_it_is(name, evidence), what_was_proved(evidence), what_is_needed(evidence)))
    )
    links = "".join(f'<li><a href="#{key}">{title}</a></li>' for key, title, body in sections if body)
    body = join(*(section(key, title, inner) for key, title, inner in sections))
    title = join(f"{name}: evidence of a bundle")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title>\n<style>\n{style}</style></head>\n<body><header><h1>{title}</h1>"
        f'{paragraph(built, "meta")}<div class="summary" role="note" aria-label="Summary">{summary}</div></header>\n'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>\n{body}</main></body></html>\n'
    )


def _sections(evidence: Evidence) -> list[tuple[str, str, Markup]]:
    """Return key, title and body of every section; those with no body are left out of the page."""
    return [
        ("variants", "Variants", page_variants.variants_table(evidence)),
        ("plot", "Latency against risk", page_variants.latency_against_risk(evidence)),
        ("proofs", "What was proved", page_decisions.proofs(evidence)),
        ("gates", "Every gate's answer", page_variants.gates(evidence)),
        ("rates", "Reported items", page_decisions.rates(evidence)),
        ("curves", "Risk, coverage and calibration", page_decisions.curves(evidence)),
        ("scores", "Scores", page_decisions.scores(evidence)),
        ("beyond", "Missed by a variant and not by float", page_decisions.missed_beyond_float(evidence)),
        ("search", "The search", page_variants.candidates(evidence)),
        ("layers", "Layers that quantisation hurts", page_variants.layers(evidence)),
        ("baselines", "Baseline and listing", page_decisions.baselines(evidence)),
        ("data", "Source and data", _data(evidence)),
        ("provenance", "Provenance", _provenance(evidence)),
    ]


def _judged_by(evidence: Evidence) -> str:
    return "judged by its decisions" if evidence.judged_by == "risk" else "judged by its outputs alone"


def _data(evidence: Evidence) -> Markup:
    rows = [
        (side, f"{counts.get('genuine', 0):,}", f"{counts.get('counterfeit', 0):,}", _PURPOSE.get(side, ""))
        for side, counts in evidence.items.items()
    ]
    source, parity = evidence.source, evidence.source.parity
    text = f"The source is of the kind '{source.kind}'."
    if parity is not None:
        text += (
            f" The float ONNX that was made of it differs from it by at most {parity.max_abs_error:.2g} on "
            f"{parity.inputs} inputs ({parity.of}); the cosine of the outputs is {parity.cosine:.8f}."
        )
    text += " Items are cross-fitted: each is judged by a head that never saw it." if evidence.cross_fitted else ""
    notes = [*source.notes, *evidence.notes]
    return join(
        paragraph(text),
        table(
            "Items, by side and label", ("side", "genuine", "counterfeit", "what it is for"), rows, ("figure", "figure")
        ),
        listing(notes, _MOST_NOTES) if notes else Markup(""),
    )


_PURPOSE = {
    "calibrate": "ranges, calibration, fusion, the search and the ladder of thresholds",
    "certify": "tests the thresholds; chose nothing, and is spent by this release",
    "evaluate": "reported on, once",
}


def _provenance(evidence: Evidence) -> Markup:
    rows = [
        (key, value if len(value) <= _CUT_AT else f"{value[:_CUT_AT]}… (whole in evidence.json)")
        for key, value in sorted(evidence.provenance.items())
    ]
    return table("What it was made of, with what, on what", ("what", "value"), rows, ("hash",))
