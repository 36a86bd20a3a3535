// What others say about this station's items: experts' answers, what still waits, and what must stay on the shelf.
import * as api from "./api.js";
import { el, icon } from "./dom.js";
import { answerPill, empty, list, recordRow, row } from "./rows.js";
import { errorText, looks } from "./wording.js";

export function inboxScreen(app) {
  const { words } = app;
  const body = el("div", {}, el("p", { class: "loading" }, words.t("loading")));
  const heading = el("h1", { tabindex: "-1" }, words.t("nav.inbox"));
  const node = el("div", { class: "page" }, el("header", { class: "head" }, heading), body);
  let shown = "";
  let readUpTo = null;
  let looking = false;

  async function look() {
    if (looking) return;
    looking = true;
    try {
      const told = await app.station.reach(() => api.inbox());
      readUpTo ??= told.read_up_to;
      if (JSON.stringify(told) !== shown) draw(told);
      shown = JSON.stringify(told);
      const newest = Math.max(0, ...told.answers.map((one) => one.seq));
      if (newest > told.read_up_to && app.screen === screen) {
        await api.readInbox(newest);
        app.station.poke();
      }
    } catch (error) {
      if (shown === "") body.replaceChildren(el("p", { class: "note bad", role: "alert" }, errorText(words, error)));
    } finally {
      looking = false;
    }
  }

  function draw({ answers, waiting, holds }) {
    if (answers.length + waiting.length + holds.length === 0) {
      return body.replaceChildren(empty("inbox", words.t("inbox.empty"), words.t("inbox.empty.text")));
    }
    const held = new Set(holds.map((one) => one.record_id)); // they wait for an expert too, and are shown once
    const others = waiting.filter((one) => !held.has(one.record_id));
    body.replaceChildren(
      ...[
        section("answers", answers.length, "speech", answers.map(answerRow)),
        section("holds", holds.length, "shelf", holds.map(openRow)),
        section("waiting", others.length, "expert", others.map(openRow)),
      ].filter(Boolean),
    );
  }

  function section(name, count, sign, rows) {
    return count > 0 && el("section", { class: "part" },
      el("h2", {}, icon(sign), words.n(`inbox.${name}`, count)),
      el("p", { class: "hint" }, words.t(`inbox.${name}.text`)),
      list(...rows));
  }

  /** The line of an item without an answer says where it waits: here, or with the experts. */
  function openRow(one) {
    return recordRow(words, one, { acked: "record.expert" });
  }

  function answerRow(one) {
    const said = one.verdict ? words.t("inbox.said", { verdict: words.t(looks(one.verdict).words) }) : "";
    const todo = words.t(one.outcome === "genuine" ? "do.release" : "do.keep");
    const second = [el("b", {}, todo), ` ${said} · ${words.when(one.resolved_at)}`];
    return row(words, one, second, [answerPill(words, one.outcome)], { fresh: one.seq > readUpTo });
  }

  const start = () => app.go("#/");
  const screen = {
    node,
    title: words.t("nav.inbox"),
    keys: { n: start, Escape: start },
    focus: () => heading.focus(),
    update: look,
    back: look,
  };
  queueMicrotask(look);
  return screen;
}
