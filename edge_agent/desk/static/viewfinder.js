// Which camera is used, and when it runs: only while an item is photographed, and a little longer for the next one.
import { BrowserCamera, StationCamera } from "./camera.js";
import { el } from "./dom.js";

const REST_AFTER_MS = 60_000;
export const STATION = "station";
export const ANY = "any";

/** Return which kind of camera to use, from the person's choice and what the station has. */
export function kindOf(choice, source) {
  return source === "station" && (choice === null || choice === STATION) ? "station" : "browser";
}

/** Shows the live picture in `node`; "change" when what stands in its way changes. */
export class Viewfinder extends EventTarget {
  constructor(app) {
    super();
    this.app = app;
    this.node = el("div", { class: "live" });
    const changed = () => this.dispatchEvent(new Event("change"));
    this.cameras = { browser: new BrowserCamera(changed), station: new StationCamera(changed) };
    this.camera = null;
    this.timer = null;
    this.wanted = false;
    app.station.addEventListener("change", () => this.follow());
    app.station.addEventListener("back", () => this.camera === this.cameras.station && this.wanted && this.restart());
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.rest(true);
      else if (this.resting) this.use();
    });
  }

  get kind() {
    return kindOf(this.app.settings.camera, this.app.station.last?.camera?.source);
  }

  /** The code of what stands in the way, or null; the station's own words are in its state. */
  get problem() {
    const told = this.app.station.last?.camera;
    if (this.kind === "station" && told && !told.ok) return "station";
    return this.camera?.problem ?? null;
  }

  get live() {
    return this.camera !== null && this.camera.live && this.problem === null;
  }

  /** Show the live picture now. */
  use() {
    clearTimeout(this.timer);
    this.wanted = true;
    this.resting = false;
    const camera = this.cameras[this.kind];
    if (this.camera === camera) return camera.resume();
    this.camera?.close();
    this.camera = camera;
    this.node.replaceChildren(camera.node);
    return camera.open(this.wish);
  }

  /** The operator looks at something else: stop in a while, or at once when nobody sees the page. */
  rest(hidden = false) {
    clearTimeout(this.timer);
    this.resting = hidden && this.wanted;
    this.wanted = false;
    this.timer = setTimeout(() => this.stop(), REST_AFTER_MS);
  }

  /** Begin again, with another choice or after an interruption. */
  restart() {
    this.stop();
    return this.use();
  }

  /** The person chose another camera. */
  restartIfWanted() {
    if (this.wanted) this.restart();
    else this.stop();
  }

  capture() {
    return this.camera.capture();
  }

  get wish() {
    const { camera, cameraLabel } = this.app.settings;
    return camera && camera !== STATION && camera !== ANY ? { id: camera, label: cameraLabel } : null;
  }

  stop() {
    clearTimeout(this.timer);
    this.camera?.close();
    this.camera = null;
    this.node.replaceChildren();
  }

  /** The station's camera came, went, or works again. */
  follow() {
    const told = JSON.stringify(this.app.station.last?.camera ?? null);
    if (told === this.told) return;
    this.told = told;
    if (this.wanted) this.restart();
    this.dispatchEvent(new Event("change"));
  }
}
