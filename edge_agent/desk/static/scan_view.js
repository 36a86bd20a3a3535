// How an item looks while it is photographed: the live picture, the views, the one next thing to do. Never acts.
import { photoUrl, referenceUrl } from "./api.js";
import { button, code, el, fill, icon, redraw } from "./dom.js";
import { errorText, problemText, sentence, viewHint, viewName } from "./wording.js";
import { mayEndEarly, primary, takenCount, wants } from "./work.js";

const STATES = {
  empty: { sign: null, words: "photo.empty" },
  sending: { sign: "clock", words: "photo.sending" },
  unsent: { sign: "cloud_off", words: "photo.unsent" },
  refused: { sign: "warn", words: "photo.refused" },
  kept: { sign: "check", words: "photo.kept" },
  noted: { sign: "warn", words: "photo.noted" },
};

/** Make the view; `actions` are what its buttons do. */
export function scanView(app, actions) {
  const { words } = app;
  const crumb = el("p", { class: "crumb" });
  const heading = el("h1", { tabindex: "-1" });
  const discard = button(words.t("scan.discard"), actions.discard, { sign: "trash", class: "plain" });
  const still = el("img", { class: "still", hidden: true, alt: "" });
  const caption = el("p", { class: "stage-caption" });
  const notice = el("div", { class: "stage-notice", hidden: true });
  const flash = el("div", { class: "flash" });
  const guide = el("div", { class: "guide" });
  const stage = el("div", { class: "stage" }, app.viewfinder.node, still, guide, caption, notice, flash);
  const keys = { "data-primary": true, "aria-keyshortcuts": "Enter Space" };
  const shutter = el("button", { type: "button", class: "main shutter", ...keys, on: { click: actions.primary } });
  const now = el("section", { class: "panel now" });
  const views = el("ol", { class: "views", "aria-label": words.t("scan.views") });
  const extra = el("div", { class: "extra" });
  const head = el("header", { class: "scan-head" }, el("div", {}, crumb, heading), discard);
  const side = el("aside", { class: "side" }, now, views, extra);
  const node = el("div", { class: "scan" }, head, stage, el("div", { class: "shutter-row" }, shutter), side);

  function draw(work) {
    const one = work.views[work.current];
    crumb.textContent = words.t("scan.count", { n: takenCount(work.views), of: work.views.length });
    if (heading.textContent === "") heading.append(code(work.itemId));
    drawStage(work, one);
    drawShutter(work);
    now.classList.toggle("wait", one.state === "refused");
    redraw(now, one, () => nowParts(one));
    redraw(views, [work.current, work.views], () => work.views.map((view, index) => viewButton(work, view, index)));
    redraw(extra, mayEndEarly(work), () => extraParts(work));
    if (document.activeElement === document.body) shutter.focus({ preventScroll: true });
  }

  function drawStage(work, one) {
    const live = wants(one) && !work.finishing;
    const src = live ? null : (one.url ?? (one.sha256 && photoUrl(one.sha256)));
    still.hidden = !src;
    if (src && still.getAttribute("src") !== src) still.src = src;
    still.alt = viewName(words, one.view);
    stage.classList.toggle("is-live", live);
    fill(caption, el("span", { class: "number" }, String(work.current + 1)), viewName(words, one.view));
    const problem = live ? app.viewfinder.problem : null;
    const starting = live && problem === null && !app.viewfinder.live;
    notice.hidden = !(problem || starting || work.finishing || work.stuck);
    const { away, last } = app.station;
    const shows = [problem, starting, work.finishing, work.stuck?.detail, work.why, away, last?.camera];
    redraw(notice, shows, () => noticeParts(work, problem));
  }

  function noticeParts(work, problem) {
    const spinner = el("span", { class: "spinner" });
    if (work.stuck) {
      const why = el("p", { role: "alert" }, errorText(words, work.stuck));
      return [icon("warn"), why, button(words.t("again"), actions.finish)];
    }
    if (work.finishing) {
      const now = el("p", {}, words.t(app.station.away ? "scan.waits" : "scan.deciding"));
      return [spinner, now, work.why && el("p", { class: "hint" }, work.why)];
    }
    if (problem === null) return [spinner, el("p", {}, words.t("camera.starting"))];
    const why = problem === "station" ? app.station.last?.camera?.why : null;
    return [
      icon("camera"),
      el("p", {}, words.t(`camera.${problem}`)),
      why && el("p", { class: "hint" }, why),
      el("div", { class: "actions" }, button(words.t("again"), () => app.viewfinder.restart()), fileButton()),
    ];
  }

  function fileButton() {
    const hidden = { class: "unseen", tabindex: "-1", "aria-hidden": "true" };
    const input = el("input", { id: "file", type: "file", accept: "image/*", capture: "environment", ...hidden });
    input.addEventListener("change", () => input.files[0] && actions.file(input.files[0]));
    return [input, button(words.t("camera.file"), () => input.click())];
  }

  function drawShutter(work) {
    const what = primary(work);
    const signs = { shoot: "camera", next: "arrow", finish: "check", wait: "clock" };
    const waits = work.finishing ? "scan.primary.deciding" : "scan.primary.wait";
    const blocked = what === "wait" || what === "check" || (what === "shoot" && !app.viewfinder.live);
    shutter.setAttribute("aria-disabled", String(blocked));
    if (what === "check") return; // the answer comes within a blink
    const label = words.t(what === "wait" ? waits : `scan.primary.${what}`);
    fill(shutter, icon(signs[what]), el("span", {}, label), el("kbd", { "aria-hidden": "true" }, words.t("key.space")));
  }

  function nowParts(one) {
    if (one.state === "refused") return refusedParts(one);
    if (one.error) {
      const why = errorText(words, one.error, { 503: "camera.station" });
      return [el("h2", {}, words.t("photo.failed")), el("p", { role: "alert" }, why)];
    }
    if (wants(one)) return wantedParts(one);
    const { words: key } = STATES[one.problems.length ? "noted" : one.state];
    return [
      el("h2", {}, sentence(words.t(key))),
      ...one.problems.map((problem) => el("p", {}, problemText(words, problem).text)),
      one.state === "unsent" && el("p", {}, words.t("photo.unsent.why"), one.why && el("small", {}, one.why)),
      el("div", { class: "actions" },
        button(words.t("photo.reshoot"), actions.reshoot, { sign: "retake", key: "R" }),
        one.extra && button(words.t("photo.remove"), actions.remove, { sign: "trash" })),
    ];
  }

  function wantedParts(one) {
    const buttons = [
      one.sha256 && button(words.t("photo.earlier"), actions.earlier, { key: "Esc" }),
      one.extra && button(words.t("photo.remove"), actions.remove, { sign: "trash" }),
    ].filter(Boolean);
    return [
      el("h2", {}, words.t("scan.how")),
      example(one.view),
      el("p", { class: "todo" }, viewHint(words, one.view)),
      buttons.length > 0 && el("div", { class: "actions" }, ...buttons),
    ];
  }

  function refusedParts(one) {
    const alt = words.t("photo.refused.alt", { view: viewName(words, one.view) });
    return [
      el("h2", { class: "bad" }, icon("warn"), words.t("photo.refused.title")),
      one.url && el("img", { class: "taken", src: one.url, alt }),
      ...one.problems.map(problemLine),
      el("div", { class: "actions" },
        button(words.t("photo.reshoot"), actions.primary, { sign: "retake", key: "R", class: "strong" }),
        button(words.t("photo.anyway"), actions.anyway, { key: "U" }),
        one.sha256 && button(words.t("photo.earlier"), actions.earlier, { key: "Esc" })),
    ];
  }

  function problemLine(problem) {
    const { sign, text, todo, measured } = problemText(words, problem);
    const said = el("p", {}, el("strong", {}, text), todo && ` ${todo}`, measured && el("small", {}, measured));
    return el("div", { class: "problem" }, icon(sign), said);
  }

  function example(view) {
    const known = app.examples.get(view);
    if (known === null) return null;
    const name = view.split("~")[0];
    const alt = words.t("scan.example", { view: viewName(words, name) });
    const picture = el("img", { class: "example", src: referenceUrl(name, 1), alt });
    picture.addEventListener("error", () => {
      if (!app.station.away) app.examples.set(view, null);
      picture.remove();
    });
    return picture;
  }

  function viewButton(work, one, index) {
    const state = one.again ? "empty" : one.state === "kept" && one.problems.length ? "noted" : one.state;
    const { sign, words: key } = STATES[state];
    const src = one.state === "empty" ? null : (one.url ?? (one.sha256 && photoUrl(one.sha256)));
    const mark = el("span", { class: "number", "aria-hidden": "true" }, String(index + 1));
    const here = index === work.current ? "step" : null;
    return el("li", {}, el(
      "button",
      { type: "button", class: `view is-${state}`, "aria-current": here, on: { click: () => actions.select(index) } },
      src ? el("img", { src, alt: "" }) : mark,
      el("span", { class: "row-text" }, el("strong", {}, viewName(words, one.view)), el("small", {}, words.t(key))),
      sign && icon(sign),
    ));
  }

  function extraParts(work) {
    return [
      button(words.t("scan.another"), actions.another, { sign: "plus", key: "A", class: "plain" }),
      mayEndEarly(work) && button(words.t("scan.early"), actions.early, { sign: "arrow", key: "F", class: "plain" }),
    ];
  }

  function lightUp() {
    flash.classList.remove("on");
    flash.getBoundingClientRect(); // lets the animation begin again
    flash.classList.add("on");
  }

  return { node, draw, lightUp, focus: () => shutter.focus({ preventScroll: true }) };
}
