// Tells a barcode scanner that acts as a keyboard (a "wedge") from a person: it types fast and ends with Enter. Pure.
//
// Outside of text fields a key waits for the length of one gap before it counts as a shortcut, so that the first letter
// of a code never acts as one. In text fields keys go where the person looks, and a code is recognised at its end.
// Once two letters came at once, a hiccup in the middle does not cut the code: half a code would be another item's.

const GAP_MS = 80;
const HICCUP_MS = 400;
const TYPING_GAP_MS = 40;
const FAST_SHARE = 0.7;
const LEAST = 3;
const LEAST_TYPING = 5;

export class Wedge {
  constructor() {
    this.clear();
    this.lastMs = -Infinity;
  }

  /** How long to wait for the next key, in ms, before what is held has lapsed. */
  get patienceMs() {
    return Array.from(this.buffer).length > 1 ? HICCUP_MS : GAP_MS;
  }

  /** Take a key at a time in ms. Returns {kind}: "pass" (not ours), "hold" (a code may have begun), or "code" with it;
   * `first` marks the key that began. */
  key(key, atMs, typing) {
    const gap = atMs - this.lastMs;
    if (gap > (typing ? HICCUP_MS : this.patienceMs)) this.clear();
    if (key === "Enter") return this.end(typing);
    if (Array.from(key).length !== 1) return { kind: "pass" };
    if (this.buffer === "" && key === " " && !typing) return { kind: "pass" };
    if (this.buffer !== "" && gap <= (typing ? TYPING_GAP_MS : GAP_MS)) this.fast += 1;
    this.buffer += key;
    this.lastMs = atMs;
    return { kind: typing ? "pass" : "hold", first: this.buffer === key };
  }

  /** Nothing came for as long as one waits: return what had been held, which is a shortcut where it is one letter. */
  lapse() {
    const held = this.buffer;
    this.clear();
    return held;
  }

  end(typing) {
    const { fast } = this;
    const code = this.lapse();
    const letters = Array.from(code).length;
    const scanned = letters >= (typing ? LEAST_TYPING : LEAST) && fast >= FAST_SHARE * (letters - 1);
    return scanned ? { kind: "code", code } : { kind: "pass" };
  }

  clear() {
    this.buffer = "";
    this.fast = 0;
  }
}
