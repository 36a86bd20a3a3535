// How what the station says is put to a person. Pure. Nothing here calls an item anything before an expert has.
import { fillIn } from "./i18n.js";

/** How a verdict looks: colour, shape and words always go together. */
export const VERDICTS = {
  authentic: { tone: "good", sign: "check", words: "verdict.authentic" },
  suspect: { tone: "bad", sign: "stop", words: "verdict.suspect" },
  uncertain: { tone: "wait", sign: "expert", words: "verdict.uncertain" },
};

const PROBLEM_SIGNS = {
  too_small: "frame",
  blurred: "drop",
  too_dark: "dark",
  too_bright: "light",
  glare: "glare",
  wrong_view: "swap",
};

/** Return how a verdict looks; one that this page does not know is shown as one for an expert. */
export function looks(verdict) {
  return Object.hasOwn(VERDICTS, verdict) ? VERDICTS[verdict] : VERDICTS.uncertain;
}

/** Say what to do with the item now. */
export function whatNow(words, { verdict, audited, answer }) {
  if (answer === "genuine") return words.t("do.release");
  if (answer === "counterfeit") return words.t("do.keep");
  if (verdict === "authentic") return words.t(audited ? "do.audit" : "do.go");
  return words.t("do.hold");
}

/** Return the key of what to do, as a sign: whether the item goes on or to the shelf. */
export function goesOn({ verdict, audited, answer }) {
  return answer ? answer === "genuine" : verdict === "authentic" && !audited;
}

/** Say a verdict's reason in the person's language, or as the station put it. */
export function reasonText(words, reason, verdict) {
  const text = reason.text ?? "";
  const named = [...text.matchAll(/'([^']+)'|"([^"]+)"/g)].map((quoted) => viewName(words, quoted[1] ?? quoted[2]));
  const date = /\d{4}-\d\d-\d\d/.exec(text);
  const values = {
    view: named[0],
    named: named.join(", "),
    date: date && words.day(date[0]),
    p_counterfeit: words.percent(verdict.p_counterfeit),
    p_fraud: words.percent(verdict.p_fraud),
  };
  return said(words, `reason.${reason.code}`, values) ?? sentence(text || reason.code);
}

/** Say what is wrong with a photo and what to do about it; `measured` is the number behind it, or null. */
export function problemText(words, problem) {
  const values = { value: words.number(problem.value), limit: words.number(problem.limit) };
  return {
    sign: PROBLEM_SIGNS[problem.code] ?? "warn",
    text: said(words, `quality.${problem.code}`, values) ?? sentence(problem.text || problem.code),
    todo: said(words, `quality.${problem.code}.todo`, values),
    measured: said(words, "quality.measured", values),
  };
}

/** Say a view's name: `logo~2` is the second photo of the logo. */
export function viewName(words, view) {
  const [, name, number] = /^(.*?)(?:~(\d+))?$/s.exec(String(view));
  const known = said(words, `view.${name === "*" || name === "any" ? "photo" : name}`, {});
  const shown = known ?? sentence(name.replaceAll("_", " "));
  return number ? `${shown} ${number}` : shown;
}

/** Say how to take a view. */
export function viewHint(words, view) {
  return said(words, `hint.${String(view).split("~")[0]}`, {}) ?? words.t("hint.other");
}

/** Say what an error of the station's means; its own words where this page has none. */
export function errorText(words, error, known = {}) {
  if (error.status !== undefined && known[error.status]) return words.t(known[error.status]);
  if (error.status === undefined) return words.t("error.away");
  return error.detail || words.t("error.other", { status: error.status });
}

function said(words, key, values) {
  return words.has(key) ? fillIn(words.table[key], values) : null;
}

/** Begin a text with a capital. */
export function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
