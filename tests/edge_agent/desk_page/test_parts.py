"""The page's decisions, each by itself: run in a real Chromium, without the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page


@pytest.fixture
def js(page: Page) -> Callable[..., Any]:
    """``js(module, body, argument)`` runs ``body`` with the module as ``m`` and the argument as ``a``."""
    page.goto("/static/mark.svg")

    def run(module: str, body: str, argument: Any = None) -> Any:
        return page.evaluate(f"async (a) => {{ const m = await import('/static/{module}'); {body} }}", argument)

    return run


TYPE = """
  const wedge = new m.Wedge();
  let at = 0;
  const heard = a.keys.map((key) => { at += a.gap; return wedge.key(key, at, a.typing); });
  return heard.map((one) => one.code ?? one.kind);
"""


@pytest.mark.parametrize(
    ("keys", "gap", "typing", "heard"),
    [
        ([*"N12", "Enter"], 5, False, ["hold", "hold", "hold", "N12"]),
        ([*"A B", "Enter"], 79, False, ["hold", "hold", "hold", "A B"]),
        (["Shift", "A", "b", "1", "Enter"], 10, False, ["pass", "hold", "hold", "hold", "Ab1"]),
        ([*"N12", "Enter"], 120, False, ["hold", "hold", "hold", "pass"]),
        ([*"N", *"12", "Enter"], 401, False, ["hold", "hold", "hold", "pass"]),
        (["Enter"], 5, False, ["pass"]),
        ([" "], 5, False, ["pass"]),
        (["n", "Enter"], 5, False, ["hold", "pass"]),
        ([*"12345", "Enter"], 5, True, ["pass"] * 5 + ["12345"]),
        ([*"12345", "Enter"], 60, True, ["pass"] * 6),
        ([*"well", "Enter"], 5, True, ["pass"] * 5),
    ],
)
def test_a_scanner_is_told_from_a_person(js, keys: list[str], gap: int, typing: bool, heard: list[str]) -> None:
    assert js("wedge.js", TYPE, {"keys": keys, "gap": gap, "typing": typing}) == heard


@pytest.mark.parametrize("typing", [False, True])
def test_a_hiccup_does_not_cut_a_code_in_two(js, typing: bool) -> None:
    body = """
      const wedge = new m.Wedge();
      [..."LG"].forEach((key, at) => wedge.key(key, at, a));
      [..."-000004"].forEach((key, at) => wedge.key(key, 350 + at, a));
      return wedge.key("Enter", 360, a).code;
    """
    assert js("wedge.js", body, typing) == "LG-000004"


@pytest.mark.parametrize(
    ("before", "pause", "heard"),
    [("L", 100, "unsure"), ("L", 300, "code"), ("LG", 450, "unsure"), ("LG", 1600, "code")],
)
def test_a_code_that_may_lack_its_beginning_is_not_taken(js, before: str, pause: int, heard: str) -> None:
    body = """
      const wedge = new m.Wedge();
      [...a.before].forEach((key, at) => wedge.key(key, at, false));
      [..."-000004"].forEach((key, at) => wedge.key(key, a.pause + at, false));
      return wedge.key("Enter", a.pause + 10, false).kind;
    """
    assert js("wedge.js", body, {"before": before, "pause": pause}) == heard


def test_what_a_person_typed_before_a_scan_is_no_part_of_its_code(js) -> None:
    body = """
      const wedge = new m.Wedge();
      [..."abc"].forEach((key, at) => wedge.key(key, 150 * at, true));
      [..."LG-000004"].forEach((key, at) => wedge.key(key, 1000 + at, true));
      return wedge.key("Enter", 1010, true).code;
    """
    assert js("wedge.js", body) == "LG-000004"


def test_one_letter_that_nothing_follows_is_a_shortcut(js) -> None:
    body = "const w = new m.Wedge(); w.key('n', 0, false); return [w.lapse(), w.lapse()];"
    assert js("wedge.js", body) == ["n", ""]


SESSION = {
    "session_id": "s",
    "item_id": "bag",
    "created_at": "2026-11-27T10:00:00Z",
    "views": [{"view": view, "sha256": None, "problems": []} for view in ("logo", "stitching", "serial")],
}


def test_the_next_step_follows_from_what_has_become_of_the_photos(js) -> None:
    body = """
      const work = m.workOf(a);
      const seen = [m.primary(work)];
      const step = (state, more = {}) => {
        Object.assign(work.views[work.current], { state, ...more });
        seen.push(m.primary(work));
      };
      step("sending");
      step("refused");
      step("unsent");
      work.current = 1; step("kept", { sha256: "x" });
      work.current = 2; step("kept", { sha256: "x" });
      work.current = 0; step("kept", { sha256: "x" });
      step("kept", { again: true });
      work.finishing = true; step("kept", { again: false });
      return seen;
    """
    steps = ["shoot", "check", "shoot", "next", "next", "wait", "finish", "shoot", "wait"]
    assert js("work.js", body, SESSION) == steps


def test_views_are_asked_for_in_order_and_round_again(js) -> None:
    body = """
      const { views } = m.workOf(a);
      views[1].state = "kept";
      return [m.nextWanting(views, 0), m.nextWanting(views, 2), m.nextWanting([], 0)];
    """
    assert js("work.js", body, SESSION) == [2, 0, None]


def test_a_refused_second_photo_leaves_the_first_one_counting(js) -> None:
    body = """
      const [one] = m.workOf(a).views;
      m.answered(one, { kept: true, sha256: "first", problems: [] });
      m.sending(one, "blob:x", {});
      m.answered(one, { kept: false, sha256: null, problems: [{ code: "blurred" }] });
      return [one.state, one.sha256, m.wants(one)];
    """
    assert js("work.js", body, SESSION) == ["refused", "first", True]


def test_more_photos_of_a_view_are_numbered(js) -> None:
    body = """
      const work = m.workOf(a);
      m.addPhoto(work, "logo"); m.addPhoto(work, "logo~2");
      return work.views.map((one) => one.view);
    """
    assert js("work.js", body, SESSION) == ["logo", "stitching", "serial", "logo~2", "logo~3"]


def test_photos_are_sent_in_order_and_a_newer_one_takes_the_older_ones_place(js) -> None:
    body = """
      const sent = [], told = [], waited = [];
      let away = true;
      const persist = async (task, waits) => {
        while (away) { waits({}); await new Promise((done) => setTimeout(done, 5)); }
        return task(1);
      };
      const queue = new m.Sending(async (job) => { sent.push(job.blob); return job.blob; }, persist);
      const hears = { told: (one) => told.push(one), failed() {} };
      const add = (view, blob) =>
        queue.add({ id: "s", view, blob, keep: false, ...hears, waits: () => waited.push(view) });
      add("logo", 1); add("seam", 2); add("logo", 3);
      await new Promise((done) => setTimeout(done, 20));
      const unsent = queue.unsent;
      away = false;
      await new Promise((done) => setTimeout(done, 50));
      return { sent, told, unsent, after: queue.unsent, waited: [...new Set(waited)] };
    """
    told = js("sending.js", body)
    assert told == {"sent": [2, 3], "told": [2, 3], "unsent": 2, "after": 0, "waited": ["logo", "seam"]}


def test_a_half_known_sentence_is_not_said(js) -> None:
    body = "return [m.fillIn('P = {p}', {p: 0.5}), m.fillIn('P = {p}', {}), m.fillIn('{a}', {a: 0})];"
    assert js("i18n.js", body) == ["P = 0.5", None, "0"]


def test_the_persons_language_comes_before_the_stations_and_the_browsers(js) -> None:
    body = "return a.map((one) => m.choose(...one));"
    asked = [["fr", "de", ["en"]], [None, "de", ["en"]], [None, "sv", ["fr-CH"]], [None, None, ["sv"]]]
    assert js("i18n.js", body, asked) == ["fr", "de", "fr", "en"]


WORDS = """
  const { Words, load } = await import('/static/i18n.js');
  const words = new Words(a.language, await load(a.language));
"""


@pytest.mark.parametrize(
    ("language", "code", "text", "said"),
    [
        ("de", "photos_differ", "the photos differ", "Die Fotos weichen von echten Artikeln ab (P = 95,3\xa0%)."),
        ("fr", "missing_view", "the view 'logo' has no photo", "Il manque une photo de : Logo."),
        ("de", "listing_risky", "the listing is risky", "The listing is risky"),  # no P(fraud): the station's own words
        ("de", "rescan", "scanned before, on 2026-11-20, and not", "Schon am 20.11.2026 gescannt und nicht bestätigt."),
        ("fr", "same_photo", "one photo for 'logo' and 'x_y'", "La même photo a servi plus d’une fois (Logo, X y)."),
        ("en", "born_yesterday", "something new", "Something new"),
    ],
)
def test_reasons_are_said_by_their_code_or_as_the_station_says(js, language, code, text, said) -> None:
    body = f"{WORDS} return m.reasonText(words, a.reason, {{ p_counterfeit: 0.953, p_fraud: null }});"
    assert js("wording.js", body, {"language": language, "reason": {"code": code, "text": text}}).startswith(said)


def test_a_photos_problem_is_said_with_what_to_do_and_its_number(js) -> None:
    body = f"{WORDS} return m.problemText(words, a.problem);"
    problem = {"code": "blurred", "text": "too blurred", "value": 41.27, "limit": 80}
    assert js("wording.js", body, {"language": "de", "problem": problem}) == {
        "sign": "drop",
        "text": "Das Foto ist unscharf.",
        "todo": "Ruhig halten und scharfstellen lassen.",
        "measured": "gemessen 41,3, Grenze 80",
    }
    new = {"code": "upside_down", "text": "the photo is upside down", "value": None, "limit": None}
    told = js("wording.js", body, {"language": "fr", "problem": new})
    assert (told["text"], told["todo"], told["measured"]) == ("The photo is upside down", None, None)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"verdict": "authentic", "audited": False}, "The item can go on."),
        ({"verdict": "authentic", "audited": True}, "Drawn for a check: put it on the hold shelf."),
        ({"verdict": "suspect", "audited": False}, "Put it on the hold shelf until an expert has answered."),
        ({"verdict": "suspect", "audited": False, "answer": "genuine"}, "Take it off the hold shelf: it can go on."),
        ({"verdict": "authentic", "audited": True, "answer": "counterfeit"}, "It must not go on: keep it back."),
    ],
)
def test_what_to_do_with_an_item(js, item: dict[str, Any], said: str) -> None:
    assert js("wording.js", f"{WORDS} return m.whatNow(words, a.item);", {"language": "en", "item": item}) == said


def test_a_polite_page_asks_less_often_of_a_station_that_is_away(js) -> None:
    assert js("state.js", "return [0, 1, 2, 3, 9].map(m.waitMs);") == [2000, 1000, 2000, 4000, 10000]


def test_hostile_text_is_cut_and_made_visible(js) -> None:
    body = "return a.map((one) => m.short(one, 8));"
    told = js("dom.js", body, ["x" * 10_000, "a\u202eb\x00c", "👜" * 9, "plain"])
    assert told == ["x" * 7 + "…", "a\ufffdb\ufffdc", "👜" * 7 + "…", "plain"]


def test_an_update_is_spoken_of_only_while_it_waits(js) -> None:
    state = {"model": {"release": 12}, "update": {"state": "waits", "release": 13, "deferred_until": None}}
    later = {**state, "update": {**state["update"], "deferred_until": "2099-01-01T00:00:00Z"}}
    others = [{**state, "update": {**state["update"], "state": name}} for name in ("idle", "shadow", "refused", "new")]
    assert (
        js("status.js", "return a.map((one) => m.updateWaits(one));", [state, later, *others, None])
        == [True] + [False] * 6
    )


def test_an_update_is_put_off_only_by_what_makes_a_difference(js) -> None:
    now = 1_795_800_000_000
    body = f"return a.map((hours) => m.choices({{ waits_until: hours && new Date({now} + hours * 36e5) }}, {now}));"
    assert js("status.js", body, [None, 3, 8, 30]) == [[1, 4, 8, 24], [4, 8, 24], [24], [24]]


def test_a_remembered_camera_is_found_by_its_id_or_its_name(js) -> None:
    devices = [{"deviceId": "a", "label": "Front"}, {"deviceId": "b", "label": "Microscope"}]
    body = "return a.wishes.map(([id, label]) => m.chooseDevice(a.devices, id, label));"
    wishes = [["b", None], ["old", "Microscope"], ["old", "Gone"]]
    assert js("camera.js", body, {"devices": devices, "wishes": wishes}) == ["b", "b", None]


def test_a_still_is_taken_only_where_it_is_larger_than_the_video(js) -> None:
    body = "return a.map(([photo, video]) => m.stillIsLarger(photo, video));"
    asked = [[{"imageWidth": {"max": 4000}}, {"width": 1920}], [{"imageWidth": {"max": 1920}}, {"width": 1920}]]
    assert js("camera.js", body, [*asked, [None, {"width": 1920}]]) == [True, False, False]


def test_settings_survive_nonsense_in_the_store(js) -> None:
    body = "return a.map((kept) => m.loadSettings({ getItem: () => kept }).sound);"
    assert js("settings.js", body, [None, "{", "null", '{"sound": true}']) == [False, False, False, True]


def test_a_new_models_views_come_into_an_open_item(js) -> None:
    body = """
      const shot = (view, sha256 = null) => ({ view, sha256, problems: [] });
      const session = (...views) => ({ session_id: "1", item_id: "x", created_at: "", views });
      const work = m.workOf(session(shot("logo", "a"), shot("stitching"), shot("serial")));
      m.sending(work.views[1], null, null);
      m.addPhoto(work, "logo");
      const told = session(shot("logo", "a"), shot("stitching"), shot("hardware"));
      return m.refresh(work, told).views.map((one) => [one.view, one.state]);
    """
    assert js("work.js", body) == [
        ["logo", "kept"], ["stitching", "sending"], ["hardware", "empty"], ["logo~2", "empty"]
    ]  # fmt: skip
