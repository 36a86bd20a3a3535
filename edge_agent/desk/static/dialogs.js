// Windows over the page: a question, the keys, the settings, two photos side by side. One at a time.
import { button, el, fill } from "./dom.js";
import { LANGUAGES } from "./i18n.js";
import { videoDevices } from "./camera.js";
import { ANY, STATION } from "./viewfinder.js";

/** The keys, for the help and for the test that no key is without words. */
export const KEYS = [
  ["Enter", "keys.enter"],
  ["1–9", "keys.view"],
  ["R", "keys.reshoot"],
  ["U", "keys.anyway"],
  ["A", "keys.another"],
  ["F", "keys.finish"],
  ["N", "keys.next"],
  ["D", "keys.disagree"],
  ["I", "keys.inbox"],
  ["H", "keys.history"],
  ["/", "keys.search"],
  ["Esc", "keys.escape"],
  ["?", "keys.help"],
];

/** Open a window; it is removed when it closes. `closed` hears the returned value. */
export function open(app, title, content, { wide = false, closed = () => {} } = {}) {
  document.querySelector("dialog[open]")?.close();
  const heading = el("h2", { id: "dialog-title" }, title);
  const shut = button(app.words.t("close"), () => dialog.close(), { sign: "close", class: "plain sign-only" });
  const named = { "aria-labelledby": "dialog-title", class: wide ? "wide" : null };
  const dialog = el("dialog", named, el("header", {}, heading, shut), content);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    dialog.remove();
    closed(dialog.returnValue);
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Ask the question whose words are `name.title`, `name.yes` and `name.no`; true: the person said yes.
 * `careful`: Enter alone says no, as yes cannot be undone. */
export function ask(app, name, text, { careful = false } = {}) {
  const { words } = app;
  return new Promise((resolve) => {
    const agree = button(words.t(`${name}.yes`), () => dialog.close("yes"), { class: "main" });
    const refuse = button(words.t(`${name}.no`), () => dialog.close());
    const row = el("div", { class: "actions" }, refuse, agree);
    const dialog = open(app, words.t(`${name}.title`), el("div", { class: "body" }, el("p", {}, text), row), {
      closed: (answer) => resolve(answer === "yes"),
    });
    (careful ? refuse : agree).focus();
  });
}

export function showKeys(app) {
  const rows = KEYS.map(([key, words]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, app.words.t(words))]);
  const note = el("p", { class: "hint" }, app.words.t("keys.scanner"));
  open(app, app.words.t("keys.title"), el("div", { class: "body" }, el("dl", { class: "keys" }, ...rows.flat()), note));
}

export async function showSettings(app) {
  const { words, settings } = app;
  const camera = el("select", { id: "set-camera", on: { change: () => pick(app, camera) } });
  const language = el(
    "select",
    { id: "set-language", on: { change: () => app.choose({ language: language.value }) } },
    ...Object.entries(LANGUAGES).map(([value, name]) =>
      el("option", { value, lang: value, selected: value === words.language }, name),
    ),
  );
  const body = el(
    "div",
    { class: "body form" },
    el("label", { for: "set-language" }, words.t("settings.language")),
    language,
    el("label", { for: "set-camera" }, words.t("settings.camera")),
    camera,
    tick(words.t("settings.auto"), settings.auto, (auto) => app.choose({ auto })),
    tick(words.t("settings.sound"), settings.sound, (sound) => {
      app.choose({ sound });
      app.beep("good");
    }),
  );
  open(app, words.t("settings.title"), body);
  const devices = await videoDevices();
  const station = app.station.last?.camera?.source === "station";
  const chosen = app.viewfinder.kind === "station" ? STATION : (settings.camera ?? ANY);
  const choices = [
    station && [STATION, words.t("settings.camera.station")],
    [ANY, words.t("settings.camera.any")],
    ...devices.map((one, index) => [one.deviceId, one.label || words.t("settings.camera.number", { n: index + 1 })]),
  ].filter(Boolean);
  fill(camera, ...choices.map(([value, name]) => el("option", { value, selected: value === chosen }, name)));
}

/** Show pictures in full size, side by side: [{src, alt, caption}]. */
export function showLarge(app, title, pictures) {
  const figures = pictures.map(({ src, alt, caption }) =>
    el("figure", {}, el("img", { src, alt }), el("figcaption", {}, caption)),
  );
  open(app, title, el("div", { class: "body large" }, ...figures), { wide: true });
}

function pick(app, select) {
  const cameraLabel = select.selectedOptions[0]?.textContent ?? null;
  app.choose({ camera: select.value, cameraLabel });
  app.viewfinder.restartIfWanted();
}

function tick(label, checked, changed) {
  const box = el("input", { type: "checkbox", checked, on: { change: () => changed(box.checked) } });
  return el("label", { class: "tick" }, box, el("span", {}, label));
}
