// Where an item begins: its code, the items that were left unfinished, and what came last.
import * as api from "./api.js";
import { code, el, fill, icon, link } from "./dom.js";
import { list, recordRow } from "./rows.js";

const RECENT = 4;
const SHOWN_UNFINISHED = 6;

export function startScreen(app) {
  const { words } = app;
  const field = el("input", {
    id: "code", name: "code", type: "text", autocomplete: "off", autocapitalize: "off", spellcheck: "false",
    maxlength: "20000", enterkeyhint: "go", "aria-describedby": "code-note", "data-keys": "/?",
  });
  const note = el("p", { id: "code-note", class: "hint", "aria-live": "polite" });
  const form = el(
    "form",
    { class: "panel begin", novalidate: true, on: { submit } },
    icon("barcode"),
    el("h1", {}, words.t("start.title")),
    el("label", { for: "code" }, words.t("start.label")),
    el("div", { class: "field" }, field, el("button", { class: "main", type: "submit" }, words.t("start.go"))),
    note,
  );
  const unfinished = el("section", { hidden: true });
  const recent = el("section", { hidden: true });
  const node = el("div", { class: "start" }, form, unfinished, recent);

  function submit(event) {
    event.preventDefault();
    app.begin(field.value);
  }

  function draw() {
    const waiting = app.beginning;
    form.classList.toggle("waiting", waiting !== null);
    note.classList.toggle("bad", app.beginError !== null && waiting === null);
    if (waiting === null) note.replaceChildren(app.beginError ?? words.t("start.hint"));
    else {
      const what = words.t(app.station.away ? "start.waits" : "start.opens");
      fill(note, what, " ", code(waiting), app.beginWhy && ` ${app.beginWhy}`);
    }
  }

  async function look() {
    const [open, last] = await Promise.all([quietly(api.sessions()), quietly(api.records({ limit: RECENT }))]);
    drawUnfinished(open?.sessions ?? []);
    if (last?.records.length) {
      recent.hidden = false;
      fill(recent, el("h2", {}, words.t("start.recent")), list(...last.records.map((one) => recordRow(words, one))));
    }
  }

  function drawUnfinished(sessions) {
    unfinished.hidden = sessions.length === 0;
    const cards = sessions.slice(0, SHOWN_UNFINISHED).map((one) => {
      const taken = one.views.filter((view) => view.sha256).length;
      const small = `${words.t("start.taken", { n: taken, of: one.views.length })} · ${words.age(one.created_at)}`;
      return el("li", {}, link(
        `#/item/${encodeURIComponent(one.session_id)}`,
        { class: "row" },
        el("span", { class: "row-text" }, el("strong", {}, code(one.item_id)), el("small", {}, small)),
        el("span", { class: "pills" }, el("span", { class: "pill" }, icon("camera"), words.t("start.resume"))),
      ));
    });
    fill(unfinished, el("h2", {}, words.n("start.unfinished", sessions.length)), list(...cards));
  }

  draw();
  look();
  return {
    node,
    title: words.t("nav.scan"),
    keys: { Escape: () => (app.beginning !== null ? app.begin(null) : field.blur()), Enter: () => field.focus() },
    focus: () => (matchMedia("(pointer: coarse)").matches ? null : field.focus()),
    update: draw,
    back: look,
  };
}

/** What only decorates the page may fail in silence; the header says when the station is away. */
async function quietly(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof api.Problem || error instanceof api.Away) return null;
    throw error;
  }
}
