// The door on a network: a PIN. On the station itself nobody is asked.
import * as api from "./api.js";
import { el } from "./dom.js";
import { errorText } from "./wording.js";

export function loginScreen(app) {
  const { words } = app;
  const pin = el("input", { id: "pin", type: "password", autocomplete: "current-password", required: true });
  const trouble = el("p", { class: "note bad", role: "alert", hidden: true });
  const send = el("button", { class: "main", type: "submit" }, words.t("login.go"));
  const form = el(
    "form",
    { class: "panel door form", novalidate: true, on: { submit } },
    el("img", { src: "/static/mark.svg", alt: "" }),
    el("h1", {}, words.t("login.title")),
    el("p", {}, words.t("login.text")),
    trouble,
    el("label", { for: "pin" }, words.t("login.pin")),
    pin,
    send,
  );

  async function submit(event) {
    event.preventDefault();
    if (pin.value === "") return pin.focus();
    send.disabled = true;
    try {
      await api.login(pin.value);
      trouble.hidden = true;
      await app.station.poke();
    } catch (error) {
      trouble.hidden = false;
      trouble.textContent = errorText(words, error, { 403: "login.wrong", 401: "login.wrong", 429: "login.often" });
    } finally {
      pin.value = "";
      send.disabled = false;
      pin.focus();
    }
  }

  return { node: form, title: words.t("login.title"), keys: {}, focus: () => pin.focus() };
}
