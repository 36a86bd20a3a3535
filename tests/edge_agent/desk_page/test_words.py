"""The words of three languages, and colours that everybody can read: no browser needed."""

from __future__ import annotations

import json
import re
from typing import get_args

import pytest

from edge_agent.update_state import State
from runtime.contracts.records import SHOWN
from tests.edge_agent.desk_page.fake_desk import STATIC

LANGUAGES = ("en", "de", "fr")
TABLES = {name: json.loads((STATIC / "i18n" / f"{name}.json").read_text(encoding="utf-8")) for name in LANGUAGES}
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in STATIC.glob("*.js")}
CSS = (STATIC / "desk.css").read_text(encoding="utf-8")
BY_CODE = {
    "reason": (
        *("missing_view", "no_score", "photos_differ", "photos_unclear", "within_budget"),
        *("listing_missing", "listing_risky", "listing_stale"),
        *("rescan", "same_photo", "expert_said_counterfeit"),
    ),
    "quality": ("too_small", "blurred", "too_dark", "too_bright", "glare", "wrong_view"),
    "verdict": ("authentic", "suspect", "uncertain"),
    "update": get_args(State),
}
AA = 4.5
AA_LARGE = 3.0


def places(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_the_same_things_with_the_same_values(language: str) -> None:
    assert list(TABLES[language]) == list(TABLES["en"])
    different = [key for key, text in TABLES[language].items() if places(text) != places(TABLES["en"][key])]
    assert different == []
    assert [key for key, text in TABLES[language].items() if not text.strip()] == []


def test_languages_differ() -> None:
    same = {key for key, text in TABLES["en"].items() if text == TABLES["de"][key] == TABLES["fr"][key]}
    assert all(len(TABLES["en"][key]) < 12 for key in same), same


@pytest.mark.parametrize("language", LANGUAGES)
def test_everything_that_has_a_code_has_words(language: str) -> None:
    wanted = {f"{kind}.{code}" for kind, codes in BY_CODE.items() for code in codes}
    assert wanted <= set(TABLES[language])


def test_the_page_says_only_what_is_in_the_tables() -> None:
    used = {key for source in SOURCES.values() for key in re.findall(r'"([a-z]+(?:\.[a-z_]+)+)"', source)}
    used |= {key for source in SOURCES.values() for key in re.findall(r'words\.t\("([^"]+)"', source)}
    used -= {key for key in used if key.startswith("touchstone.")}
    counted = {key for source in SOURCES.values() for key in re.findall(r'words\.n\("([^"]+)"', source)}
    missing = [key for key in used - counted if key not in TABLES["en"] and f"{key}.one" not in TABLES["en"]]
    missing += [f"{key}.{form}" for key in counted for form in ("one", "other") if f"{key}.{form}" not in TABLES["en"]]
    assert missing == []
    assert len(used) > 100


def test_no_words_are_left_over() -> None:
    built = (
        "camera.",
        "discard.",
        "other.",
        "verdict.photo",
        "verdict.reference",
        "inbox.",
        "quality.",
        "reason.",
        "view.",
        "hint.",
        "scan.primary.",
        "update.",
    )
    everything = "".join(SOURCES.values())
    unused = [
        key
        for key in TABLES["en"]
        if not key.startswith(built) and f'"{key.removesuffix(".one").removesuffix(".other")}"' not in everything
    ]
    assert unused == []


def test_a_verdict_is_said_as_the_records_say_it_and_nothing_is_called_fake() -> None:
    assert {code: TABLES["en"][f"verdict.{code}"].lower() for code in SHOWN} == dict(SHOWN)
    said = " ".join(text for table in TABLES.values() for text in table.values()).lower()
    assert not re.search(r"\bfakes?\b|\bfaux\b", said)


def palette(scheme: str) -> dict[str, tuple[float, float, float]]:
    """The colours of a scheme; the dark one overrides the light one."""
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.S)
    assert len(blocks) == 2
    text = blocks[0] if scheme == "light" else blocks[0] + blocks[1]
    found = {}
    for name, colour in re.findall(r"--([\w-]+): #([0-9a-f]{6})", text):
        found[name] = tuple(int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return found


def luminance(colour: tuple[float, float, float]) -> float:
    """Relative luminance, WCAG 2.2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


TEXTS = [(text, ground) for text in ("ink", "soft") for ground in ("ground", "panel", "sunk")]
TEXTS += [(tone, f"{tone}-ground") for tone in ("good", "bad", "wait")]
TEXTS += [(tone, "panel") for tone in ("good", "bad", "wait")]
TEXTS += [("on-solid", "good-solid"), ("on-solid", "bad-solid"), ("on-wait", "wait-solid"), ("ground", "ink")]
SHAPES = [("edge", "panel"), ("focus", "panel"), ("focus", "ground"), ("ink", "panel")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_edges_stand_out_as_wcag_aa_asks(scheme: str) -> None:
    colours = palette(scheme)
    weak = [(pair, round(contrast(colours[pair[0]], colours[pair[1]]), 2)) for pair in TEXTS]
    assert [one for one in weak if one[1] < AA] == []
    edges = [(pair, round(contrast(colours[pair[0]], colours[pair[1]]), 2)) for pair in SHAPES]
    assert [one for one in edges if one[1] < AA_LARGE] == []


def test_the_three_verdicts_differ_in_lightness_or_in_pattern_too() -> None:
    colours = palette("light")
    assert contrast(colours["wait-solid"], colours["good-solid"]) > AA_LARGE
    assert contrast(colours["wait-solid"], colours["bad-solid"]) > AA_LARGE
    assert re.search(r"\.hero\.bad \{[^}]*repeating-linear-gradient", CSS)  # green and red: one is striped
    assert re.search(r"\.hero\.wait \{[^}]*dotted", CSS)


def test_nothing_comes_from_elsewhere_and_nothing_is_parsed_as_markup() -> None:
    everything = "".join(SOURCES.values()) + CSS + (STATIC / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"')]+", everything)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", everything)
    assert not re.search(r"<script(?! type=\"module\" src)|<style|\sstyle=|\son\w+=", everything)


def test_no_line_is_long() -> None:
    long = {(name, line) for name, source in SOURCES.items() for line in source.splitlines() if len(line) > 120}
    assert {name for name, _ in long} <= {"icons.js"}  # a drawing is one long word


def test_no_file_is_long() -> None:
    lengths = {name: len(source.splitlines()) for name, source in SOURCES.items()}
    assert {name: length for name, length in lengths.items() if length > 300} == {}
