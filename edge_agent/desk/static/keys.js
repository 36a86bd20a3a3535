// The keyboard: scanned codes first, then shortcuts. Buttons, links and text fields keep the keys that are theirs.
import { Wedge } from "./wedge.js";

const TEXT = "textarea, select, input:not([type=checkbox]):not([type=radio]):not([type=button]), [contenteditable]";
const OWN_KEYS = "button, a[href], summary, select, input, textarea";
const LOOKS_LIKE_A_SCAN = 5;

/** Listen to the keyboard. `onCode(code)` takes scans; `shortcut(key)` returns the action of a key or undefined;
 * `onCutOff()` hears of a scan that did not end with Enter, `onUnsure()` of one that may lack its beginning. */
export function listen({ onCode, shortcut, onCutOff, onUnsure }) {
  const wedge = new Wedge();
  const swallowed = new Set();
  let timer = null;
  let before = null;

  document.addEventListener("keydown", (event) => heard(event), true);

  function heard(event) {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target.closest?.(TEXT) ?? null;
    const typing = field !== null && field.tagName !== "SELECT";
    if (event.repeat && !typing) return held(event);
    const key = wedge.key(event.key, event.timeStamp, typing);
    clearTimeout(timer);
    if (key.first && typing) before = { field, value: field.value };
    if (key.kind === "code") {
      swallow(event);
      deliver(key.code, typing ? field : null);
    } else if (key.kind === "unsure") {
      swallow(event);
      if (typing && before?.field === field) write(field, before.value);
      onUnsure();
    } else if (key.kind === "hold") swallow(event);
    else act(event, typing);
    if (!typing && wedge.buffer) timer = setTimeout(() => lapsed(field), wedge.patienceMs + 10);
  }

  document.addEventListener(
    "keyup",
    (event) => {
      if (swallowed.delete(event.code)) event.preventDefault();
    },
    true,
  );

  function swallow(event) {
    event.preventDefault();
    swallowed.add(event.code);
  }

  function deliver(code, field) {
    if (field && before?.field === field) write(field, before.value);
    if (field?.dataset.wedge === "here") write(field, code);
    else onCode(code);
  }

  function lapsed(field) {
    const keys = wedge.lapse();
    if (keys.length === 1 && field === null) run(keys);
    else if (keys.length >= LOOKS_LIKE_A_SCAN) onCutOff();
  }

  /** A key that stays down does nothing more, and least of all takes photo after photo. */
  function held(event) {
    if (event.key === "Enter" || swallowed.has(event.code)) event.preventDefault();
  }

  function act(event, typing) {
    if (event.key === "Escape") {
      if (!inDialog() && run("Escape")) event.preventDefault();
      return;
    }
    if (typing) {
      const early = event.target.value === "" && (event.target.dataset.keys ?? "").includes(event.key);
      if (early && event.key.length === 1 && run(event.key)) {
        event.preventDefault();
        wedge.clear();
      }
      return;
    }
    if (event.key === " " || event.key === "Enter") {
      if (event.target.closest?.(OWN_KEYS) && !isShutter(event.target)) return;
      if (run("Enter")) swallow(event);
    } else if (event.key.startsWith("Arrow") && walk(event)) event.preventDefault();
  }

  function run(key) {
    if (inDialog()) return false;
    const action = shortcut(key.length === 1 ? key.toLowerCase() : key);
    if (action) action();
    return action !== undefined;
  }
}

function isShutter(target) {
  return Boolean(target.closest?.("[data-primary]"));
}

function inDialog() {
  return document.querySelector("dialog[open]") !== null;
}

function write(field, value) {
  field.value = value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

/** Up and down walk through the links of a list. */
function walk(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const list = event.target.closest?.("[data-walk]");
  if (!step || !list) return false;
  const links = [...list.querySelectorAll("a[href]")];
  const next = links[links.indexOf(event.target) + step];
  next?.focus();
  return next !== undefined;
}
