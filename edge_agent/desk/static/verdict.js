// A verdict: in words, colour and shape; what to do with the item; why; and the photos beside the nearest references.
import * as api from "./api.js";
import { disagree } from "./disagree.js";
import { showLarge } from "./dialogs.js";
import { button, code, el, icon, short } from "./dom.js";
import { answerPill, pill } from "./rows.js";
import { errorText, goesOn, looks, reasonText, viewName, whatNow } from "./wording.js";

const READING_MS = 700; // the key that took the last photo must not wave the verdict away

/** Show a record; `fresh` when it has just been decided here. */
export function verdictScreen(app, recordId, { fresh = false } = {}) {
  const { words } = app;
  const shownMs = performance.now();
  const node = el("div", {}, el("p", { class: "loading" }, words.t("loading")));
  let verdict = app.verdicts.get(recordId) ?? null;
  let next = null;
  const screen = {
    node,
    title: words.t("verdict.title"),
    keys: { Enter: goOn, n: goOn, d: () => verdict && object(), Escape: () => (fresh ? goOn() : history.back()) },
    focus: () => next?.focus({ preventScroll: true }),
  };

  async function load() {
    try {
      verdict = await app.station.reach(() => api.record(recordId)); // an answer may have come since
      draw();
      if (app.screen === screen) screen.focus();
    } catch (error) {
      const why = errorText(words, error, { 404: "record.gone" });
      node.replaceChildren(el("p", { class: "note bad", role: "alert" }, why));
    }
  }

  function goOn() {
    if (!fresh || performance.now() - shownMs > READING_MS) app.go("#/");
  }

  function object() {
    if (verdict.objected) return;
    disagree(app, verdict, () => {
      verdict = { ...verdict, objected: true };
      app.verdicts.set(recordId, verdict);
      draw();
      app.say(words.t("disagree.done"));
    });
  }

  function draw() {
    next = button(words.t("verdict.next"), goOn, { sign: "arrow", key: "N", class: "main", "data-primary": true });
    const body = el("div", { class: "verdict-body" }, why(), photos(), foot());
    node.replaceChildren(el("article", { class: "verdict" }, hero(), body));
  }

  function hero() {
    const { tone, sign, words: key } = looks(verdict.verdict);
    const title = el("div", { class: "hero-words" },
      el("p", { class: "hero-item" }, code(verdict.item_id)),
      el("h1", {}, words.t(key)),
      el("p", { class: "hero-do" }, icon(goesOn(verdict) ? "arrow" : "shelf"), whatNow(words, verdict)));
    return el("header", { class: `hero ${tone}` }, el("span", { class: "hero-sign" }, icon(sign)), title, next);
  }

  function why() {
    const notes = [
      verdict.answer && answerPill(words, verdict.answer, { whole: true }),
      verdict.audited && pill("wait", "shelf", words.t("record.audited")),
      verdict.again && pill("", "retake", words.t("verdict.again")),
    ].filter(Boolean);
    const reasons = verdict.reasons.map((reason) => el("li", {}, short(reasonText(words, reason, verdict), 300)));
    return el("section", { class: "why" },
      el("h2", {}, words.t("verdict.why")),
      el("ul", { class: "reasons" }, ...reasons),
      notes.length > 0 && el("p", { class: "pills" }, ...notes));
  }

  function photos() {
    const references = new Map();
    for (const one of verdict.references) {
      const best = references.get(one.view);
      if (one.url.startsWith("/") && !(best && best.similarity >= one.similarity)) references.set(one.view, one);
    }
    const beside = (view) => references.get(view) ?? references.get(view.split("~")[0]);
    const pairs = verdict.views.map((one) => pair(one, beside(one.view)));
    return pairs.length > 0 && el("section", { class: "pairs", "aria-label": words.t("verdict.photos") }, ...pairs);
  }

  function pair(one, reference) {
    const name = viewName(words, one.view);
    const shot = (src, key) => src && { src, alt: words.t(`${key}.alt`, { view: name }), caption: words.t(key) };
    const seen = [
      shot(one.sha256 && api.photoUrl(one.sha256), "verdict.photo"),
      shot(reference?.url, "verdict.reference"),
    ].filter(Boolean);
    const share = reference && words.percent(reference.similarity);
    const alike = share && el("small", {}, words.t("verdict.alike", { share }));
    const figures = seen.map(({ src, alt, caption }) =>
      el("span", { class: "shot" }, picture(src, alt), el("small", {}, caption)));
    const label = words.t("verdict.enlarge", { view: name });
    const enlarge = () => showLarge(app, name, seen);
    return el("button", { type: "button", class: "pair", "aria-label": label, on: { click: enlarge } },
      el("span", { class: "pair-head" }, el("strong", {}, name), alike), el("span", { class: "shots" }, ...figures));
  }

  function foot() {
    const done = el("p", { class: "note" }, icon("speech"), words.t("disagree.done"));
    const again = button(words.t("disagree.open"), object, { sign: "speech", key: "D" });
    return el("footer", { class: "verdict-foot" }, verdict.objected ? done : again, numbers());
  }

  function numbers() {
    const facts = [
      ["facts.p_counterfeit", words.percent(verdict.p_counterfeit)],
      ["facts.p_fraud", words.percent(verdict.p_fraud)],
      ["facts.when", words.when(verdict.scanned_at)],
      ["facts.time", verdict.scan_ms === null ? null : `${words.number(verdict.scan_ms)} ms`],
      ["facts.model", verdict.model && `${verdict.model.name} ${verdict.model.release} · ${verdict.model.variant}`],
      ["facts.record", verdict.record_id.slice(0, 12)],
    ];
    const list = facts.flatMap(([key, value]) => [el("dt", {}, words.t(key)), el("dd", {}, value ?? "–")]);
    return el("details", {}, el("summary", {}, words.t("facts.title")), el("dl", { class: "facts" }, ...list));
  }

  if (fresh && verdict) {
    const { tone, words: key } = looks(verdict.verdict);
    app.beep(tone);
    app.shout(`${words.t(key)}. ${whatNow(words, verdict)}`);
  }
  if (verdict) draw();
  if (!(fresh && verdict)) queueMicrotask(load);
  return screen;
}

/** A picture that leaves its place to words when the photo has gone. */
function picture(src, alt) {
  const image = el("img", { src, alt, loading: "lazy" });
  image.addEventListener("error", () => image.replaceWith(el("span", { class: "missing" }, alt)));
  return image;
}
