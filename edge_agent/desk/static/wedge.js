// Tells a barcode scanner that acts as a keyboard (a "wedge") from a person: it types fast and ends with Enter. Pure.
//
// Outside of text fields a key waits for the length of one gap before it counts as a shortcut, so that the first letter
// of a code never acts as one. Inside of text fields keys go where the person looks, and a code is recognised at its end.

export const GAP_MS = 80;
const TYPING_GAP_MS = 40;
const LEAST = 3;
const LEAST_TYPING = 5;

export class Wedge {
  constructor() {
    this.buffer = "";
    this.lastMs = -Infinity;
  }

  /** Take a key at a time in ms. Returns {kind}: "pass" (not ours), "hold" (a code may have begun), or "code" with it;
   * `first` marks the key that began. */
  key(key, atMs, typing) {
    const gap = atMs - this.lastMs;
    if (gap > (typing ? TYPING_GAP_MS : GAP_MS)) this.buffer = "";
    if (key === "Enter") {
      const code = this.buffer;
      this.buffer = "";
      return Array.from(code).length >= (typing ? LEAST_TYPING : LEAST) ? { kind: "code", code } : { kind: "pass" };
    }
    if (Array.from(key).length !== 1) return { kind: "pass" };
    if (this.buffer === "" && key === " " && !typing) return { kind: "pass" };
    this.buffer += key;
    this.lastMs = atMs;
    return { kind: typing ? "pass" : "hold", first: this.buffer === key };
  }

  /** A gap has passed with no key: return what had been held, which is a shortcut where it is one letter. */
  lapse() {
    const held = this.buffer;
    this.buffer = "";
    return held;
  }
}
