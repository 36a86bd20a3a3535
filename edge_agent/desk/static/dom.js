// Elements made from data. Text enters as text nodes and attributes alone: nothing here parses markup.
import { ICONS } from "./icons.js";

const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const SVG = "http://www.w3.org/2000/svg";

/** Make an element. `on` holds listeners; null, undefined and false leave an attribute out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") Object.entries(value).forEach(([type, listener]) => node.addEventListener(type, listener));
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...present(children));
  return node;
}

/** Put other children into a node. */
export function fill(node, ...children) {
  node.replaceChildren(...present(children));
  return node;
}

/** Draw a part again only when what it shows has changed, so that pictures stand still; focus stays where it was. */
export function redraw(part, shows, make) {
  const drawn = JSON.stringify(shows);
  if (part.drawn === drawn) return;
  part.drawn = drawn;
  const focusable = () => [...part.querySelectorAll("a, button, input")];
  const focused = focusable().indexOf(document.activeElement);
  fill(part, ...make());
  if (focused >= 0) focusable()[focused]?.focus();
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Make a button that shows its key. */
export function button(label, run, { sign = null, key = null, ...attributes } = {}) {
  const shortcut = key && el("kbd", { "aria-hidden": "true" }, key);
  const shown = { type: "button", "aria-keyshortcuts": key, ...attributes, on: { click: run } };
  return el("button", shown, sign && icon(sign), el("span", {}, label), shortcut);
}

/** Make a link to a place inside the page. */
export function link(place, attributes, ...children) {
  return el("a", { href: place, ...attributes }, ...children);
}

/** An item's code, as text that can neither break the layout nor turn the line around. */
export function code(text, most = 48) {
  const shown = short(text, most);
  return el("bdi", { class: "code", title: shown === text ? null : short(text, 400) }, shown);
}

/** Shorten a text from elsewhere for people; characters that draw nothing or turn the line around become visible. */
export function short(text, most) {
  const safe = String(text).slice(0, 2 * most + 2).replace(UNSEEN, "\ufffd");
  const letters = Array.from(safe);
  return letters.length > most ? letters.slice(0, most - 1).join("") + "…" : safe;
}

function present(children) {
  return children.flat().filter((child) => child !== null && child !== undefined && child !== false);
}
