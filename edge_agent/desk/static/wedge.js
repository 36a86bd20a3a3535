// Tells a barcode scanner that acts as a keyboard (a "wedge") from a person: it types fast and ends with Enter. Pure.
//
// Outside of text fields a key waits for the length of one gap before it counts as a shortcut, so that the first letter
// of a code never acts as one. In text fields keys go where the person looks, and a code is recognised at its end.
// Half a code would be another item's: a hiccup does not cut a code, and one that may lack its beginning is "unsure".

const GAP_MS = 80;
const HICCUP_MS = 400;
const TYPING_GAP_MS = 40;
const FAST_SHARE = 0.7;
const LEAST = 3;
const LEAST_TYPING = 5;
const DOUBT_AFTER_A_KEY_MS = 250;
const DOUBT_AFTER_A_PART_MS = 1500;

export class Wedge {
  constructor() {
    this.lastMs = -Infinity;
    this.doubtUntilMs = -Infinity;
    this.clear();
  }

  /** How long to wait for the next key, in ms, before what is held has lapsed. */
  get patienceMs() {
    return Array.from(this.buffer).length > 1 ? HICCUP_MS : GAP_MS;
  }

  /** Take a key at a time in ms. Returns {kind}: "pass" (not ours), "hold" (a code may have begun), "code" with it, or
   * "unsure" (a code, but its beginning may be missing); `first` marks the key that began. */
  key(key, atMs, typing) {
    const gap = atMs - this.lastMs;
    if (gap > (typing ? HICCUP_MS : this.patienceMs)) this.lapse();
    if (key === "Enter") return this.end(typing);
    if (Array.from(key).length !== 1) return { kind: "pass" };
    if (this.buffer === "" && key === " " && !typing) return { kind: "pass" };
    if (this.buffer === "") this.unsure = atMs < this.doubtUntilMs;
    else if (gap <= (typing ? TYPING_GAP_MS : GAP_MS)) this.fast += 1;
    this.buffer += key;
    this.held ||= !typing;
    this.lastMs = atMs;
    return { kind: typing ? "pass" : "hold", first: this.buffer === key };
  }

  /** Nothing came for as long as one waits: return what had been held, which is a shortcut where it is one letter. */
  lapse() {
    const { buffer, fast, held, lastMs } = this;
    const isKey = Array.from(buffer).length === 1;
    if (fast > 0) this.doubtUntilMs = lastMs + DOUBT_AFTER_A_PART_MS;
    else if (isKey && held) this.doubtUntilMs = lastMs + DOUBT_AFTER_A_KEY_MS;
    this.clear();
    return buffer;
  }

  /** Forget what has come, for good. */
  clear() {
    this.buffer = "";
    this.fast = 0;
    this.held = false;
    this.unsure = false;
  }

  end(typing) {
    const { buffer: code, fast, unsure } = this;
    this.clear();
    const letters = Array.from(code).length;
    const scanned = letters >= (typing ? LEAST_TYPING : LEAST) && fast >= FAST_SHARE * (letters - 1);
    if (!scanned) return { kind: "pass" };
    return unsure ? { kind: "unsure" } : { kind: "code", code };
  }
}
