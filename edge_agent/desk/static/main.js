// Puts the page together, and moves between its places. The only module that knows all the others.
import * as api from "./api.js";
import { ask, showKeys, showSettings } from "./dialogs.js";
import { code, el, fill, link } from "./dom.js";
import { historyScreen } from "./history.js";
import { Words, choose, load } from "./i18n.js";
import { inboxScreen } from "./inbox.js";
import { listen } from "./keys.js";
import { loginScreen } from "./login.js";
import { scanScreen } from "./scan.js";
import { Sending } from "./sending.js";
import { loadSettings, saveSettings } from "./settings.js";
import { beep } from "./sound.js";
import { startScreen } from "./start.js";
import { Station } from "./state.js";
import { drawBanners, drawTop } from "./status.js";
import { verdictScreen } from "./verdict.js";
import { Viewfinder } from "./viewfinder.js";
import { errorText } from "./wording.js";
import { onTheWay, takenCount, workOf } from "./work.js";

const TOAST_MS = 6_000;
const KEPT_VERDICTS = 20;
const byId = (id) => document.getElementById(id);

const app = {
  settings: loadSettings(),
  station: new Station(api.state),
  works: new Map(),
  verdicts: new Map(),
  drafts: new Map(),
  examples: new Map(),
  screen: null,
  words: null,
  searching: false,
  beginning: null,
  beginError: null,
  beginWhy: null,

  /** Go to a place of the page. */
  go(place, { fresh = false } = {}) {
    app.fresh = fresh;
    if (location.hash === place) route();
    else location.hash = place;
  },

  /** Leave an item for another place; one without a photo leaves no trace. */
  leave(place) {
    const work = app.screen?.work;
    if (work && takenCount(work.views) === 0 && !onTheWay(work.views)) app.drop(work);
    else if (work && !work.finishing) app.toast(app.words.t("scan.kept"));
    app.go(place);
  },

  /** Throw an unfinished item away. */
  drop(work) {
    app.works.delete(work.id);
    app.sending.drop(work.id);
    app.attempt(() => api.discard(work.id), [404]);
  },

  /** Begin an item by its code, or go on with it; null: stop waiting for the station. */
  async begin(text) {
    const item = text?.trim() ?? null;
    if (item === "") return app.screen?.focus?.();
    if (item !== null && !(await mayLeave(item))) return;
    app.beginning = item;
    Object.assign(app, { beginError: null, beginWhy: null });
    app.refresh();
    if (item !== null) await beginWhenThere(item);
  },

  choose(change) {
    Object.assign(app.settings, change);
    saveSettings(app.settings);
    if (change.language) speak().catch(() => app.toast(app.words.t("error.away"), { tone: "bad" }));
  },

  beep: (tone) => app.settings.sound && beep(tone),
  say: (text) => announce("say", text),
  shout: (text) => announce("shout", text),
  showKeys: () => showKeys(app),
  showSettings: () => showSettings(app),

  /** Show a line for a while. */
  toast(text, { tone = "", place = null } = {}) {
    const line = el("p", { class: `toast ${tone}` }, place ? link(place, {}, text) : text);
    byId("toasts").replaceChildren(line);
    app.say(text);
    setTimeout(() => line.remove(), TOAST_MS);
  },

  /** Do something that may fail, and say so. Refusals listed in `fine` are no failures. */
  async attempt(task, fine = []) {
    try {
      return await task();
    } catch (error) {
      if (!(error instanceof api.Problem || error instanceof api.Away)) throw error;
      if (!fine.includes(error.status)) app.toast(errorText(app.words, error), { tone: "bad" });
      app.station.suspect(error);
      return null;
    }
  },

  /** Draw again what the station's state is part of. */
  refresh() {
    drawTop(app, byId("top"));
    drawBanners(app, byId("banners"));
    app.screen?.update?.();
  },
};
app.sending = new Sending(
  ({ id, view, blob, keep }) => api.putPhoto(id, view, blob, keep),
  (task, waits) => app.station.persist(task, waits),
);
app.viewfinder = new Viewfinder(app);

/** Another code while an item is open: the same says nothing new, an item without photos gives way, else one asks. */
async function mayLeave(item) {
  const work = app.screen?.work;
  const typed = document.querySelector("dialog[open] textarea")?.value.trim();
  if (work?.itemId === item || app.asked === item) return false;
  if (work && !work.finishing && takenCount(work.views) === 0) app.drop(work);
  else if ((work && !work.finishing) || typed) {
    app.asked = item;
    const { words } = app;
    const text = el("span", {}, words.t(typed ? "other.typed" : "other.text"), " ", code(item));
    const sure = await ask(app, "other", text);
    app.asked = null;
    return sure;
  }
  document.querySelector("dialog[open]")?.close();
  return true;
}

async function beginWhenThere(item) {
  const wanted = () => app.beginning === item;
  const tellWhy = (error) => {
    app.beginWhy = error.detail ?? null;
    if (wanted()) showStart();
  };
  try {
    const session = await app.station.persist(async () => {
      if (!wanted()) return null;
      const { sessions } = await api.sessions();
      return sessions.find((one) => one.item_id === item) ?? (await api.begin(item));
    }, tellWhy);
    if (!wanted() || !session) return;
    app.beginning = null;
    if (!app.works.has(session.session_id)) app.works.set(session.session_id, workOf(session));
    app.go(`#/item/${encodeURIComponent(session.session_id)}`);
  } catch (error) {
    if (!wanted()) return;
    app.beginning = null;
    app.beginError = errorText(app.words, error, { 422: "start.refused" });
    app.shout(app.beginError);
    showStart();
  }
}

function showStart() {
  if (app.place !== "#/") app.go("#/");
  else app.refresh();
}

function route() {
  const [place, query] = (location.hash || "#/").split("?");
  const [, name, id] = place.split("/").map(decodeURIComponent);
  const fresh = app.fresh === true;
  app.fresh = false;
  app.screen?.close?.();
  app.place = place;
  document.querySelector("dialog[open]")?.close();
  if (app.station.locked) app.screen = loginScreen(app);
  else if (name === "item" && id) app.screen = scanScreen(app, id);
  else if (name === "record" && id) app.screen = verdictScreen(app, id, { fresh });
  else if (name === "inbox") app.screen = inboxScreen(app);
  else if (name === "history") app.screen = historyScreen(app, new URLSearchParams(query).get("q") ?? "");
  else app.screen = startScreen(app);
  fill(byId("main"), app.screen.node);
  document.title = `${app.screen.title} · Touchstone`;
  [...app.verdicts.keys()].slice(0, -KEPT_VERDICTS).forEach((old) => app.verdicts.delete(old));
  app.refresh();
  app.screen.focus?.();
  app.searching = false;
  scrollTo(0, 0);
}

async function table(language) {
  try {
    return await load(language);
  } catch (error) {
    throw new api.Away(String(error));
  }
}

async function speak() {
  const language = choose(app.settings.language, app.station.last?.language, navigator.languages);
  if (app.words?.language === language) return;
  app.words = new Words(language, await table(language), navigator.languages.find((one) => one.startsWith(language)));
  document.documentElement.lang = language;
  byId("skip").textContent = app.words.t("skip");
  if (app.screen) route();
}

function search() {
  app.searching = true;
  app.go("#/history");
}

function shortcut(key) {
  if (app.station.locked) return undefined;
  if (/^[1-9]$/.test(key)) return app.screen.digit && (() => app.screen.digit(Number(key)));
  return app.screen.keys[key] ?? EVERYWHERE[key];
}

const EVERYWHERE = {
  "?": () => app.showKeys(),
  "/": search,
  i: () => app.go("#/inbox"),
  h: () => app.go("#/history"),
  n: () => app.go("#/"),
};

function announce(id, text) {
  const place = byId(id);
  place.textContent = "";
  setTimeout(() => (place.textContent = text), 30);
}

async function start() {
  await app.station.poke();
  await app.station.persist(speak);
  app.station.addEventListener("change", () => app.refresh());
  app.station.addEventListener("back", () => {
    app.say(app.words.t("back"));
    app.screen.back?.();
  });
  app.station.addEventListener("lock", route);
  app.viewfinder.addEventListener("change", () => app.screen.update?.());
  addEventListener("hashchange", route);
  addEventListener("beforeunload", (event) => app.sending.unsent > 0 && event.preventDefault());
  listen({
    onCode: (text) => !app.station.locked && app.begin(text),
    shortcut,
    onCutOff: () => app.toast(app.words.t("keys.cut_off"), { tone: "wait" }),
    onUnsure: () => app.toast(app.words.t("keys.unsure"), { tone: "wait" }),
  });
  route();
}

start();
