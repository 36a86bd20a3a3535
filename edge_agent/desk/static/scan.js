// One item from its first photo to its verdict. A photo lies with the station, or in memory, before the next is taken.
import * as api from "./api.js";
import { ask } from "./dialogs.js";
import { el, short } from "./dom.js";
import { scanView } from "./scan_view.js";
import { looks, problemText, viewName } from "./wording.js";
import { addPhoto, allKept, answered, failed, mayEndEarly, nextWanting } from "./work.js";
import { primary, refresh, reshootIndex, sending, takenCount, wants, workOf } from "./work.js";

const BETWEEN_SHOTS_MS = 400; // a second tap of the same finger takes no second photo

export function scanScreen(app, id) {
  const { words } = app;
  let work = app.works.get(id) ?? null;
  let busy = false;
  let lastShotMs = -Infinity;
  const node = el("div", {}, el("p", { class: "loading" }, words.t("loading")));
  const view = scanView(app, {
    primary: press,
    file: (blob) => send(blob, false),
    ...{ select, reshoot, anyway, another, earlier, remove, discard, early, finish },
  });
  const screen = {
    node,
    title: words.t("nav.scan"),
    get work() {
      return work;
    },
    keys: { Enter: press, r: reshoot, u: anyway, a: another, f: early, n: () => app.leave("#/"), Escape: earlier },
    digit: (number) => work && number <= work.views.length && select(number - 1),
    update: () => {
      draw();
      follow();
    },
    focus: () => work && view.focus(),
    close: () => app.viewfinder.rest(),
  };

  async function load() {
    try {
      const told = await app.station.reach(() => api.session(id));
      work = work ? refresh(work, told) : workOf(told);
      app.works.set(id, work);
    } catch (error) {
      if (!isOpen()) return;
      app.toast(words.t(error.status === 404 ? "scan.gone" : "error.other", { status: error.status }), { tone: "bad" });
      return app.go("#/");
    }
    if (isOpen()) show();
  }

  function show() {
    node.replaceChildren(view.node);
    work.current = nextWanting(work.views, work.views.length - 1) ?? 0;
    app.viewfinder.use();
    draw();
    view.focus();
  }

  /** A new model may ask for other views; what was taken stays. */
  async function follow() {
    const asked = JSON.stringify(app.station.last?.views);
    if (!work || work.finishing || app.station.away || (work.asked ??= asked) === asked) return;
    work.asked = asked;
    const { view } = current();
    const told = await app.station.reach(() => api.session(id)).catch(() => null); // gone: the next step says so
    if (!told || !isOpen()) return;
    refresh(work, told);
    const here = work.views.findIndex((one) => one.view === view);
    work.current = here >= 0 ? here : (nextWanting(work.views, work.views.length - 1) ?? 0);
    draw();
  }

  const isOpen = () => app.screen === screen;
  const current = () => work.views[work.current];

  function draw() {
    if (work && isOpen() && view.node.isConnected) view.draw(work);
  }

  function press() {
    const what = work ? primary(work) : "wait";
    if (what === "shoot") shoot();
    else if (what === "finish") finish();
    else if (what === "next") select(nextWanting(work.views, work.current));
  }

  function select(index) {
    if (work.finishing) return;
    work.current = index;
    draw();
    view.focus();
  }

  async function shoot() {
    if (busy || performance.now() - lastShotMs < BETWEEN_SHOTS_MS) return;
    if (!app.viewfinder.live) return app.shout(words.t(`camera.${app.viewfinder.problem ?? "starting"}`));
    busy = true;
    lastShotMs = performance.now();
    view.lightUp();
    try {
      send(await app.viewfinder.capture(), false);
    } catch {
      app.shout(words.t("camera.failed"));
    } finally {
      busy = false;
    }
  }

  /** Hand a photo on; null: the station takes it. */
  function send(blob, keep) {
    const one = current();
    if (blob !== one.blob) forget(one);
    sending(one, blob ? (one.url ?? URL.createObjectURL(blob)) : keep ? one.url : null, blob);
    app.sending.add({
      ...{ id, view: one.view, blob, keep },
      told: (told) => heard(one, told),
      failed: (error) => lost(one, error),
      waits: (error) => waits(one, error),
    });
    draw();
  }

  function heard(one, told) {
    answered(one, told);
    if (told.kept) {
      forget(one);
      moveOn(one);
    } else {
      if (one.blob === null) one.url = `${api.refusedUrl(id, one.view)}?${Date.now()}`;
      app.beep("problem");
      const said = told.problems.map((problem) => problemText(words, problem).text).join(" ");
      app.shout(`${viewName(words, one.view)}: ${said}`);
      if (isOpen() && primary(work) !== "shoot") work.current = work.views.indexOf(one);
    }
    draw();
    app.refresh();
  }

  function waits(one, error) {
    one.why = error?.detail ?? null;
    if (one.state !== "sending") return;
    one.state = "unsent";
    moveOn(one);
    draw();
    app.refresh();
  }

  function lost(one, error) {
    forget(one);
    failed(one, error);
    app.shout(`${viewName(words, one.view)}: ${words.t("photo.failed")}`);
    draw();
  }

  function moveOn(one) {
    if (!isOpen()) return;
    const next = nextWanting(work.views, work.current);
    if (allKept(work.views)) {
      if (app.settings.auto) finish();
    } else if (next !== null && current() === one) work.current = next;
  }

  function reshoot() {
    const index = work && !work.finishing ? reshootIndex(work) : null;
    if (index === null) return;
    if (index === work.current && current().state === "refused") return shoot();
    work.views[index].again = true;
    select(index);
  }

  function anyway() {
    if (work && current().state === "refused") send(current().blob, true);
  }

  /** Do with the photo that the station has already. */
  function earlier() {
    if (!work || !current().sha256 || !wants(current())) return;
    forget(current());
    Object.assign(current(), { state: "kept", problems: [], again: false });
    press();
  }

  function another() {
    if (work && !work.finishing) select(addPhoto(work, current().view));
  }

  async function remove() {
    const one = current();
    if (one.sha256) await app.attempt(() => api.dropPhoto(id, one.view));
    work.views = work.views.filter((other) => other !== one);
    select(Math.min(work.current, work.views.length - 1));
  }

  function early() {
    if (work && mayEndEarly(work)) finish();
  }

  async function finish() {
    if (work.finishing) return;
    Object.assign(work, { finishing: true, stuck: null, why: null });
    draw();
    try {
      const verdict = await app.station.persist(() => api.finish(id), (error) => {
        work.why = error.detail ?? null;
        draw();
      });
      app.works.delete(id);
      app.verdicts.set(verdict.record_id, verdict);
      if (isOpen()) return app.go(`#/record/${verdict.record_id}`, { fresh: true });
      const { tone, words: key } = looks(verdict.verdict);
      const late = words.t("scan.late", { item: short(verdict.item_id, 40), verdict: words.t(key) });
      app.toast(late, { tone, place: `#/record/${verdict.record_id}` });
    } catch (error) {
      Object.assign(work, { finishing: false, stuck: error });
      draw();
    }
  }

  async function discard() {
    const text = words.t("discard.text");
    const sure = takenCount(work.views) === 0 || (await ask(app, "discard", text, { careful: true }));
    if (!sure) return view.focus();
    app.drop(work);
    app.go("#/");
  }

  function forget(one) {
    if (one.url?.startsWith("blob:")) URL.revokeObjectURL(one.url);
    one.url = null;
  }

  if (work) queueMicrotask(() => isOpen() && show());
  else queueMicrotask(load);
  return screen;
}
