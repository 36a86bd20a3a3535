// The words of the page in three languages. Pure but for `load`; a missing value gives null, never half a sentence.
export const LANGUAGES = { en: "English", de: "Deutsch", fr: "Français" };

/** Fetch the words of one language. */
export async function load(language) {
  const answer = await fetch(`/static/i18n/${language}.json`, { signal: AbortSignal.timeout(8_000) });
  if (!answer.ok) throw new Error(`the words of ${language} cannot be read: status ${answer.status}`);
  return answer.json();
}

/** Choose a language: what the person chose, else what the station is set to, else what the browser asks for. */
export function choose(chosen, station, browser) {
  const known = [chosen, station, ...browser].map((one) => String(one ?? "").slice(0, 2).toLowerCase());
  return known.find((one) => one in LANGUAGES) ?? "en";
}

/** Put values into `{name}` places; null where one is missing. */
export function fillIn(template, values) {
  let whole = true;
  const text = template.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    if (value === null || value === undefined || value === "") whole = false;
    return String(value);
  });
  return whole ? text : null;
}

/** Everything that is said in one language. */
export class Words {
  /** `locale` says how this person writes numbers and times: `en-GB` for `en`. */
  constructor(language, table, locale = language) {
    this.language = language;
    this.table = table;
    this.locale = locale;
    this.plural = new Intl.PluralRules(locale);
    this.numbers = new Intl.NumberFormat(locale, { maximumSignificantDigits: 3 });
    this.counts = new Intl.NumberFormat(locale);
    const time = { hour: "2-digit", minute: "2-digit" };
    this.times = new Intl.DateTimeFormat(locale, time);
    this.dates = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", ...time });
    this.ages = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
  }

  has(key) {
    return Object.hasOwn(this.table, key);
  }

  /** Say a sentence; the key itself where there is none, which a test forbids. */
  t(key, values = {}) {
    return (this.has(key) ? fillIn(this.table[key], values) : null) ?? key;
  }

  /** Say a sentence about a number of things: `key.one` or `key.other`. */
  n(key, count, values = {}) {
    const form = this.plural.select(count) === "one" ? "one" : "other";
    return this.t(`${key}.${form}`, { n: this.counts.format(count), ...values });
  }

  number(value) {
    return typeof value === "number" && Number.isFinite(value) ? this.numbers.format(value) : null;
  }

  percent(share) {
    return typeof share === "number" && Number.isFinite(share)
      ? share.toLocaleString(this.locale, { style: "percent", maximumFractionDigits: 1 })
      : null;
  }

  bytes(amount) {
    const [size, unit] = amount >= 1e9 ? [1e9, "GB"] : [1e6, "MB"];
    return `${this.numbers.format(amount / size)} ${unit}`;
  }

  /** Say when something was: the time of day today, the date before. */
  when(iso, now = new Date()) {
    const then = new Date(iso);
    if (Number.isNaN(then.getTime())) return "–";
    return (then.toDateString() === now.toDateString() ? this.times : this.dates).format(then);
  }

  /** Say a day, given as 2026-11-27. */
  day(iso) {
    return new Date(`${iso}T12:00:00`).toLocaleDateString(this.locale, { dateStyle: "medium" });
  }

  /** Say how long ago something was. */
  age(iso, now = Date.now()) {
    const seconds = Math.round((new Date(iso).getTime() - now) / 1000);
    if (Number.isNaN(seconds)) return "–";
    if (seconds > -60) return this.t("age.now");
    if (seconds > -3600) return this.ages.format(Math.trunc(seconds / 60), "minute");
    if (seconds > -86400) return this.ages.format(Math.trunc(seconds / 3600), "hour");
    return this.ages.format(Math.trunc(seconds / 86400), "day");
  }
}
