// Asks the station's program. Two ways to fail: it said no (`Problem`), or it did not answer (`Away`).

/** The station answered, and refused: RFC 9457 problem details. */
export class Problem extends Error {
  constructor(status, details) {
    super(details.title ?? `status ${status}`);
    this.status = status;
    this.type = details.type ?? "";
    this.detail = details.detail ?? details.title ?? "";
  }

  /** Whether the same request may succeed later: the station is full, busy, restarting, or wants a PIN first. */
  get mayPass() {
    return this.status >= 500 || this.status === 429 || this.status === 401;
  }
}

/** No answer: the program restarts, or the network is gone. */
export class Away extends Error {}

/** The station's own camera did not give a photo; a later try would show something else, so nobody tries by itself. */
export class Missed extends Error {
  constructor(cause) {
    super(cause.message);
    this.status = cause.status;
    this.detail = cause.detail;
  }
}

const TIMEOUT_MS = 8_000;
const PHOTO_TIMEOUT_MS = 15_000;
const FINISH_TIMEOUT_MS = 30_000;
const at = encodeURIComponent;

export const state = () => call("GET", "/v1/state");
export const login = (pin) => call("POST", "/login", { json: { pin } });
export const sessions = () => call("GET", "/v1/sessions");
export const session = (id) => call("GET", `/v1/sessions/${at(id)}`);
export const begin = (itemId) => call("POST", "/v1/sessions", { json: { item_id: itemId } });
export const discard = (id) => call("DELETE", `/v1/sessions/${at(id)}`);
export const dropPhoto = (id, view) => call("DELETE", `/v1/sessions/${at(id)}/photos/${at(view)}`);
/** Get the verdict; asked again, the station gives the same one. */
export const finish = (id) =>
  call("POST", `/v1/sessions/${at(id)}/finish`, { json: { listing: null }, timeoutMs: FINISH_TIMEOUT_MS });
export const record = (id) => call("GET", `/v1/records/${at(id)}`);
export const object = (id, text) => call("POST", `/v1/records/${at(id)}/objection`, { json: { text } });
export const inbox = () => call("GET", "/v1/inbox");
export const readInbox = (seq) => call("POST", "/v1/inbox/read", { json: { seq } });
export const deferUpdate = (hours) => call("POST", "/v1/update/defer", { json: { hours } });

/** The station's own photo of a view that was refused last. */
export const refusedUrl = (id, view) => `/v1/sessions/${at(id)}/photos/${at(view)}/refused`;

/** Send one photo; without a blob the station takes it with its own camera, or keeps the one that it refused. */
export async function putPhoto(id, view, blob, keep) {
  const place = `/v1/sessions/${at(id)}/photos/${at(view)}`;
  const query = blob ? `keep=${keep ? 1 : 0}` : keep ? "refused=1" : "camera=1";
  try {
    return await call("PUT", `${place}?${query}`, { blob, timeoutMs: PHOTO_TIMEOUT_MS });
  } catch (error) {
    throw blob || keep ? error : new Missed(error);
  }
}

/** List records, newest first, older than `before`, whose item's code holds `item`. */
export function records({ before = null, limit = 30, item = "" } = {}) {
  const query = new URLSearchParams({ limit });
  if (before !== null) query.set("before", before);
  if (item) query.set("item", item);
  return call("GET", `/v1/records?${query}`);
}

export const photoUrl = (sha256) => `/v1/photos/${at(sha256)}`;
/** A genuine photo of a view in the running bundle; they are counted from 1. */
export const referenceUrl = (view, number) => `/v1/references/${at(view)}/${number}`;

async function call(method, path, { json, blob, timeoutMs = TIMEOUT_MS } = {}) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-Touchstone"] = "desk";
  if (json !== undefined) headers["Content-Type"] = "application/json";
  if (blob) headers["Content-Type"] = blob.type || "image/jpeg";
  const body = json !== undefined ? JSON.stringify(json) : (blob ?? undefined);
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    const answer = await fetch(path, { method, headers, body, signal, cache: "no-store" });
    const kind = answer.headers.get("Content-Type") ?? "";
    const told = kind.includes("json") ? await answer.json() : null;
    if (answer.ok) return told;
    if (told === null && answer.status >= 502) throw new Away(`status ${answer.status}`);
    throw new Problem(answer.status, told ?? {});
  } catch (error) {
    if (error instanceof Problem || error instanceof Away) throw error;
    throw new Away(String(error));
  }
}
