// Everything that was scanned here, newest first, and a search by the item's code.
import * as api from "./api.js";
import { button, code, el, fill } from "./dom.js";
import { empty, list, recordRow } from "./rows.js";
import { errorText } from "./wording.js";

const PAUSE_MS = 250;

export function historyScreen(app, query = "") {
  const { words } = app;
  const plain = { autocomplete: "off", spellcheck: "false" };
  const field = el("input", { id: "search", type: "search", ...plain, "data-wedge": "here", "data-keys": "?" });
  field.value = query;
  const label = el("label", { for: "search" }, words.t("history.search"));
  const form = el("form", { class: "search", role: "search", on: { submit } }, label, field);
  const heading = el("h1", { tabindex: "-1" }, words.t("nav.history"));
  const found = el("p", { class: "unseen", role: "status" });
  const body = el("div", {}, el("p", { class: "loading" }, words.t("loading")));
  const node = el("div", { class: "page" }, el("header", { class: "head" }, heading, form), found, body);
  let turn = 0;
  let timer = null;
  let rows = null;

  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => look(), PAUSE_MS);
  });

  function submit(event) {
    event.preventDefault();
    look();
  }

  async function look(before = null) {
    clearTimeout(timer);
    const mine = (turn += 1);
    const item = field.value.trim();
    try {
      const page = await app.station.reach(() => api.records({ before, item }));
      if (mine !== turn) return;
      draw(page, item, before !== null);
    } catch (error) {
      body.replaceChildren(el("p", { class: "note bad", role: "alert" }, errorText(words, error)));
    }
  }

  function draw({ records, next_before: older }, item, more) {
    const lines = records.map((one) => recordRow(words, one));
    if (more) rows.append(...lines);
    else rows = list(...lines);
    if (!more && lines.length === 0) return fill(body, nothing(item));
    const next = older !== null && button(words.t("history.older"), () => look(older), { class: "more" });
    fill(body, rows, next);
    found.textContent = words.n("history.found", rows.children.length);
    if (more) lines[0]?.querySelector("a").focus();
  }

  function nothing(item) {
    found.textContent = words.t(item ? "history.none" : "history.empty");
    if (!item) return empty("clock", words.t("history.empty"), words.t("history.empty.text"));
    const panel = empty("search", words.t("history.none"), "");
    fill(panel.lastChild, code(item));
    panel.append(button(words.t("history.scan"), () => app.begin(item), { sign: "barcode" }));
    return panel;
  }

  function leave() {
    if (document.activeElement === field) heading.focus();
    else app.go("#/");
  }

  queueMicrotask(() => look());
  return {
    node,
    title: words.t("nav.history"),
    keys: { n: () => app.go("#/"), "/": () => field.focus(), Escape: leave },
    focus: () => (app.searching ? field : heading).focus(),
    back: () => look(),
  };
}
