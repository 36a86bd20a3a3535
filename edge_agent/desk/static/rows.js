// One line for one record, as the inbox, the history and the start show it.
import { code, el, icon, link } from "./dom.js";
import { looks } from "./wording.js";

/** A coloured word with its shape. */
export function pill(tone, sign, text) {
  return el("span", { class: `pill ${tone}` }, sign && icon(sign), text);
}

export function verdictPill(words, verdict) {
  const { tone, sign, words: key } = looks(verdict);
  return pill(tone, sign, words.t(key));
}

/** What the experts said; `whole`: as a sentence, where it stands alone. */
export function answerPill(words, outcome, { whole = false } = {}) {
  const genuine = ["good", "check", "answer.genuine"];
  const [tone, sign, key] = outcome === "genuine" ? genuine : ["bad", "stop", "answer.counterfeit"];
  return pill(tone, sign, whole ? words.t("answer.said", { answer: words.t(key) }) : words.t(key));
}

/** A line: the item's code, a second line, pills at its end. The whole line is the link. */
export function row(words, { record_id, item_id }, second, pills, { fresh = false } = {}) {
  return el(
    "li",
    { class: fresh ? "fresh" : null },
    link(
      `#/record/${encodeURIComponent(record_id)}`,
      { class: "row" },
      el("span", { class: "row-text" }, el("strong", {}, code(item_id)), el("small", {}, second)),
      el("span", { class: "pills" }, fresh && pill("new", null, words.t("inbox.new")), ...pills),
    ),
  );
}

/** The line of a record as lists of records give it. */
export function recordRow(words, one, { acked = "record.acked" } = {}) {
  const sent = { acked, pending: "record.pending", parked: "record.parked" }[one.state];
  const notes = [words.when(one.scanned_at), sent && words.t(sent), one.objected && words.t("record.objected")];
  const pills = [
    one.audited && !one.answer && one.verdict === "authentic" && pill("wait", "shelf", words.t("record.audited")),
    one.answer ? answerPill(words, one.answer) : verdictPill(words, one.verdict),
  ];
  return row(words, one, notes.filter(Boolean).join(" · "), pills.filter(Boolean));
}

export function list(...rows) {
  return el("ul", { class: "rows panel", "data-walk": true }, ...rows);
}

/** What a place says that holds nothing. */
export function empty(sign, title, text) {
  return el("div", { class: "panel empty" }, icon(sign), el("h2", {}, title), el("p", {}, text));
}
