// What is always in sight: where one is, the connection, the queue; and what stands in the way, in a line of its own.
import * as api from "./api.js";
import { open } from "./dialogs.js";
import { button, el, icon, link, redraw } from "./dom.js";
import { sentence } from "./wording.js";

const HOURS = [1, 4, 8, 24];
const COMING = new Set(["fetching", "trial", "shadow", "waits"]);

/** Return the connection and the queue in short: {tone, sign, key, count}. Pure. */
export function connection(state, away, unsent) {
  if (away) return { tone: "bad", sign: "warn", key: "status.away", count: unsent };
  const waits = state?.queue?.pending ?? 0;
  if (!state?.connection?.online) return { tone: "wait", sign: "cloud_off", key: "status.offline", count: waits };
  return { tone: "good", sign: waits > 0 ? "cloud" : "check", key: "status.online", count: waits };
}

/** Return whether an update waits to be swapped in, and is not put off. Pure. */
export function updateWaits(state, now = Date.now()) {
  return state?.update?.state === "waits" && !deferred(state.update, now);
}

/** Return whether the operator has put an update off. Pure. */
export function deferred(update, now = Date.now()) {
  return Boolean(update?.deferred_until) && new Date(update.deferred_until).getTime() > now;
}

/** Draw the top of the page. */
export function drawTop(app, top) {
  const { words, station } = app;
  const at = location.hash.split("?")[0] || "#/";
  const brand = el("div", { class: "brand" }, el("img", { src: "/static/mark.svg", alt: "" }),
    el("span", {}, el("strong", {}, "Touchstone"), el("small", {}, station.last?.name ?? "")));
  const tools = el("div", { class: "tools" },
    !station.locked && chip(app),
    !station.locked && tool(words.t("keys.title"), app.showKeys, "keyboard", "?"),
    tool(words.t("settings.title"), app.showSettings, "sliders"));
  const shows = [words.language, at, station.last?.unread, station.last?.name, station.locked, tools.textContent];
  redraw(top, shows, () => [el("div", {}, brand, !station.locked && places(app, at), tools)]);
}

function tool(label, run, sign, key = null) {
  return button(label, run, { sign, class: "plain sign-only", title: label, "aria-keyshortcuts": key });
}

function places(app, at) {
  const { words } = app;
  const unread = app.station.last?.unread ?? 0;
  const badge = unread > 0 && el("span", { class: "badge" },
    el("span", { "aria-hidden": "true" }, String(unread)),
    el("span", { class: "unseen" }, words.n("inbox.unread", unread)));
  const place = (where, key, sign, here, more = null) =>
    link(where, { "aria-current": here ? "page" : null }, icon(sign), el("span", {}, words.t(key)), more);
  return el("nav", { "aria-label": words.t("nav.label") },
    place("#/", "nav.scan", "barcode", at === "#/" || at.startsWith("#/item")),
    place("#/inbox", "nav.inbox", "inbox", at === "#/inbox", badge),
    place("#/history", "nav.history", "clock", at === "#/history"));
}

function chip(app) {
  const { words, station, sending } = app;
  const { tone, sign, key, count } = connection(station.last, station.away, sending.unsent);
  const rest = station.away ? null : words.t("status.sent");
  const many = count > 0 ? words.n(station.away ? "status.unsent" : "status.pending", count) : rest;
  return el("button", { type: "button", class: `chip ${tone}`, on: { click: () => showStatus(app) } },
    icon(sign), el("span", {}, el("strong", {}, words.t(key)), many && el("small", {}, many)));
}

/** Draw what stands in the way, the worst first; nothing where all is well. */
export function drawBanners(app, place) {
  const { words, station, sending } = app;
  const state = station.last;
  const lines = [];
  if (station.away) {
    const kept = sending.unsent > 0 ? ` ${words.n("away.photos", sending.unsent)}` : "";
    lines.push(line("bad", "warn", words.t("away.title"), words.t("away.text") + kept));
  } else if (state && !station.locked) {
    const { disk, model, update } = state;
    if (!disk.scanning) lines.push(line("bad", "disk", words.t("disk.title"), disk.why ?? words.t("disk.text")));
    if (model === null) lines.push(line("wait", "update", words.t("model.title"), words.t("model.text")));
    if (updateWaits(state)) {
      const title = words.t("update.title", { release: update.release });
      const text = update.waits_until
        ? words.t("update.text.at", { time: words.when(update.waits_until) })
        : words.t("update.text");
      lines.push(line("wait", "update", title, text, deferButtons(app)));
    }
  }
  redraw(place, lines.map((one) => one.textContent), () => lines);
}

function line(tone, sign, title, text, actions = []) {
  return el("div", { class: `banner ${tone}`, role: tone === "bad" ? "alert" : "status" },
    icon(sign), el("p", {}, el("strong", {}, title), " ", text),
    actions.length > 0 && el("div", { class: "actions" }, ...actions));
}

/** Return by how many hours an update can be put off so that it makes a difference. Pure. */
export function choices(update, now = Date.now()) {
  const hourMs = update?.waits_until && !deferred(update, now) ? new Date(update.waits_until).getTime() : now;
  return HOURS.filter((hours) => now + hours * 3_600_000 > hourMs || hours === 24);
}

function deferButtons(app) {
  const offer = (hours) => button(app.words.n("update.defer", hours), () => defer(app, hours), { class: "small" });
  return choices(app.station.last.update).map(offer);
}

async function defer(app, hours) {
  document.querySelector("dialog[open]")?.close();
  const refused = (await app.attempt(() => api.deferUpdate(hours).then(() => true))) === null;
  await app.station.poke();
  const { update } = app.station.last;
  if (!refused && deferred(update)) app.toast(sentence(updateText(app.words, update)));
}

/** Say how an update stands, in the person's words where this page has some. */
function updateText(words, update) {
  const key = `update.${update?.state}`;
  const known = words.has(key) ? words.t(key, { release: update.release }) : update?.detail;
  const until = deferred(update) && words.t("update.until", { time: words.when(update.deferred_until) });
  return [known, until].filter(Boolean).join(", ");
}

/** Open the window with all that the station says of itself. */
export function showStatus(app) {
  const { words } = app;
  const state = app.station.last;
  const { key } = connection(state, app.station.away, app.sending.unsent);
  if (!state) return open(app, words.t("status.title"), el("div", { class: "body" }, el("p", {}, words.t(key))));
  const { queue, connection: link_, disk, model, update } = state;
  const facts = [
    ["status.connection", words.t(key)],
    link_.error && ["status.error", link_.error],
    ["status.contact", link_.last_contact ? words.age(link_.last_contact) : words.t("status.never")],
    ["status.recorded", words.counts.format(queue.recorded)],
    ["status.acked", words.counts.format(queue.acked)],
    ["status.waiting", words.counts.format(queue.pending)],
    queue.parked > 0 && ["status.parked", words.counts.format(queue.parked)],
    ["status.cases", words.counts.format(queue.waiting_cases)],
    ["status.disk", disk.why ?? words.t("status.free", { free: words.bytes(disk.free_bytes) })],
    ["status.model", model ? `${model.name} ${model.release} · ${model.variant}` : words.t("model.title")],
    ["status.update", updateText(words, update)],
  ].filter(Boolean);
  const lines = facts.flatMap(([name, value]) => [el("dt", {}, words.t(name)), el("dd", {}, value)]);
  const now = deferred(update) && button(words.t("update.now"), () => defer(app, 0));
  const offered = COMING.has(update?.state) || deferred(update);
  open(app, words.t("status.title"), el("div", { class: "body" }, el("dl", { class: "facts" }, ...lines),
    queue.pending > 0 && !link_.online && el("p", { class: "hint" }, words.t("status.safe")),
    offered && el("h3", {}, words.t("update.put_off")),
    offered && el("div", { class: "actions" }, now, ...deferButtons(app))));
}
