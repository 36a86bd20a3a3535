// What the station last said of itself, and whether it answers at all. Asks only while somebody can see the page.
import { Away, Problem } from "./api.js";

const EVERY_MS = 2_000;
const LONGEST_MS = 10_000;

/** Return how long to wait before asking again, after so many questions without an answer. */
export function waitMs(failures) {
  return failures === 0 ? EVERY_MS : Math.min(LONGEST_MS, 1_000 * 2 ** (failures - 1));
}

/** Polls `ask`; "change" when what it says changed, "away" and "back" when it stops and starts to answer. */
export class Station extends EventTarget {
  constructor(ask) {
    super();
    this.ask = ask;
    this.last = null;
    this.failures = 0;
    this.locked = false;
    this.asking = false;
    this.timer = null;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.poke()));
  }

  get away() {
    return this.failures > 0;
  }

  /** Ask now, and go on asking. */
  async poke() {
    this.pause();
    if (this.asking) return;
    this.asking = true;
    try {
      this.heard(await this.ask());
    } catch (error) {
      if (error instanceof Problem && error.status === 401) this.lock();
      else if (error instanceof Away || error instanceof Problem) this.missed();
      else throw error;
    } finally {
      this.asking = false;
      if (!document.hidden) this.timer = setTimeout(() => this.poke(), waitMs(this.failures));
    }
  }

  pause() {
    clearTimeout(this.timer);
  }

  /** Read something: try again for as long as there is no answer. */
  reach(task) {
    return this.persist(task, () => {}, () => false);
  }

  /** Do something: try again, with longer and longer pauses, until the station has done it or refuses for good.
   * `waits(error)` hears why it has not yet; `task` is given the number of the try. */
  async persist(task, waits = () => {}, mayPass = (error) => error.mayPass) {
    for (let failures = 1; ; failures += 1) {
      try {
        return await task(failures);
      } catch (error) {
        this.suspect(error);
        if (!(error instanceof Away) && !mayPass(error)) throw error;
        waits(error);
        await this.backOr(Math.min(LONGEST_MS, 250 * 2 ** failures));
      }
    }
  }

  /** Wait until the station is back, but no longer than this. */
  backOr(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      const back = () => {
        clearTimeout(timer);
        resolve();
      };
      this.addEventListener("back", back, { once: true });
    });
  }

  /** Somebody's request failed: look at once whether the station is there, and whether it wants a PIN. */
  suspect(error) {
    if (error instanceof Problem && error.status === 401) this.lock();
    else if (error instanceof Away && !this.away) {
      this.missed();
      this.poke();
    }
  }

  heard(told) {
    const before = JSON.stringify(this.last);
    const wasAway = this.away;
    const wasLocked = this.locked;
    this.last = told;
    this.failures = 0;
    this.locked = told.logged_in === false;
    if (wasAway) this.dispatchEvent(new Event("back"));
    if (wasLocked !== this.locked) this.dispatchEvent(new Event("lock"));
    if (wasAway || JSON.stringify(told) !== before) this.dispatchEvent(new Event("change"));
  }

  missed() {
    this.failures += 1;
    if (this.failures === 1) ["away", "change"].forEach((name) => this.dispatchEvent(new Event(name)));
  }

  lock() {
    const wasAway = this.away;
    this.failures = 0;
    if (wasAway) this.dispatchEvent(new Event("back"));
    if (!this.locked) {
      this.locked = true;
      this.dispatchEvent(new Event("lock"));
    }
  }
}
