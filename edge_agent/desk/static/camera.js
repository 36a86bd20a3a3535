// The camera: the browser's or the station's own. Both show a live picture in `node` and say what is wrong with them.
// Photos are taken at the camera's full size; the live picture is only for aiming.
import { el } from "./dom.js";

const FULL = { width: { ideal: 4096 }, height: { ideal: 4096 }, frameRate: { ideal: 15 } };
const STILL_TIMEOUT_MS = 4_000;
const JPEG_QUALITY = 0.95;
const RESTART_MS = 2_000;

const PROBLEMS = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "taken",
};

/** Return the code of what stands in the way of a camera, from the browser's error. */
export function cameraProblem(error) {
  return PROBLEMS[error?.name] ?? "failed";
}

/** Choose a device: the remembered one by its id, else by its name, else whatever the browser gives (null). */
export function chooseDevice(devices, id, label) {
  const known = devices.find((one) => one.deviceId === id) ?? (label && devices.find((one) => one.label === label));
  return known ? known.deviceId : null;
}

/** Whether the camera takes stills that are larger than its video. */
export function stillIsLarger(capabilities, track) {
  return (capabilities?.imageWidth?.max ?? 0) > 1.1 * (track?.width ?? Infinity);
}

/** Give up on a promise that takes too long. */
export function within(ms, promise) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error(`nothing within ${ms} ms`)), ms));
  return Promise.race([promise, late]);
}

/** A camera of the device that shows this page. `changed()` is called when `problem` does. */
export class BrowserCamera {
  constructor(changed) {
    this.changed = changed;
    this.node = el("video", { playsinline: true, muted: true, tabindex: "-1", "aria-hidden": "true" });
    this.node.muted = true;
    this.node.addEventListener("loadedmetadata", () => this.changed());
    this.stream = null;
    this.problem = null;
    this.opening = 0;
    navigator.mediaDevices?.addEventListener("devicechange", () => {
      if (this.problem === "unplugged" || this.problem === "missing") this.open(this.wish);
    });
  }

  get live() {
    return this.stream !== null && this.problem === null && this.node.videoWidth > 0;
  }

  /** Start the camera that `wish` {id, label} names, or any. */
  async open(wish = null) {
    this.close();
    this.wish = wish;
    const turn = (this.opening += 1);
    if (!navigator.mediaDevices) return this.say("insecure");
    try {
      const stream = await this.get(wish);
      if (turn !== this.opening) return stop(stream);
      const [track] = stream.getVideoTracks();
      track.addEventListener("ended", () => this.stream === stream && this.lost());
      this.stream = stream;
      this.node.srcObject = stream;
      this.still = "ImageCapture" in window ? new ImageCapture(track) : null;
      this.capabilities = await this.still?.getPhotoCapabilities().catch(() => null);
      await this.resume();
      this.say(null);
    } catch (error) {
      if (turn === this.opening) this.say(cameraProblem(error));
    }
  }

  close() {
    this.opening += 1;
    if (this.stream) stop(this.stream);
    this.stream = null;
    this.node.srcObject = null;
  }

  /** Go on after the node was moved. */
  async resume() {
    await this.node.play().catch(() => {});
  }

  /** Take a photo: a JPEG or PNG of the largest size that the camera gives. */
  async capture() {
    const [track] = this.stream.getVideoTracks();
    if (this.still && stillIsLarger(this.capabilities, track.getSettings())) {
      const size = { imageWidth: this.capabilities.imageWidth.max, imageHeight: this.capabilities.imageHeight.max };
      try {
        return await within(STILL_TIMEOUT_MS, this.still.takePhoto(size));
      } catch {
        this.still = null; // a driver that cannot; the video's full size will do from now on
      }
    }
    const canvas = el("canvas", { width: this.node.videoWidth, height: this.node.videoHeight });
    canvas.getContext("2d").drawImage(this.node, 0, 0);
    return new Promise((resolve, reject) =>
      canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture"))), "image/jpeg", JPEG_QUALITY),
    );
  }

  /** Get the wished camera's pictures. Before a person has allowed one, devices have no names: then look again. */
  async get(wish) {
    const known = await this.find(wish);
    const stream = await pictures(known);
    const found = known ?? (await this.find(wish));
    if (found === null || found === stream.getVideoTracks()[0].getSettings().deviceId) return stream;
    stop(stream);
    return pictures(found);
  }

  async find(wish) {
    return wish ? chooseDevice(await videoDevices(), wish.id, wish.label) : null;
  }

  lost() {
    this.stream = null;
    this.say("unplugged");
  }

  say(problem) {
    this.problem = problem;
    this.changed();
  }
}

/** The camera that is plugged into the station; it takes the photos itself. */
export class StationCamera {
  constructor(changed) {
    this.changed = changed;
    this.node = el("img", { alt: "" });
    this.problem = null;
    this.timer = null;
    this.node.addEventListener("load", () => this.say(null));
    this.node.addEventListener("error", () => {
      if (!this.isOpen) return;
      this.node.removeAttribute("src"); // no sign of a broken picture
      this.say("station");
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.isOpen && this.show(), RESTART_MS);
    });
  }

  get live() {
    return this.isOpen === true && this.problem === null;
  }

  open() {
    this.isOpen = true;
    this.show();
  }

  close() {
    this.isOpen = false;
    clearTimeout(this.timer);
    this.node.removeAttribute("src");
  }

  resume() {}

  /** The station takes the photo when it is asked to keep one, so there is no picture to send. */
  async capture() {
    return null;
  }

  show() {
    this.node.src = `/v1/camera.mjpg?${Date.now()}`;
  }

  say(problem) {
    if (problem === this.problem) return;
    this.problem = problem;
    this.changed();
  }
}

/** List the cameras of this device; names are known once a person has allowed one. */
export async function videoDevices() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices.filter((one) => one.kind === "videoinput" && one.deviceId);
}

function pictures(deviceId) {
  const video = deviceId === null ? FULL : { ...FULL, deviceId: { exact: deviceId } };
  return navigator.mediaDevices.getUserMedia({ audio: false, video });
}

function stop(stream) {
  stream.getTracks().forEach((track) => track.stop());
}
