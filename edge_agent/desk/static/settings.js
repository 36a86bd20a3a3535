// What this person chose on this device. A browser that forbids storage forgets it with the page.
const PLACE = "touchstone.desk";
const DEFAULTS = { language: null, sound: false, auto: true, camera: null, cameraLabel: null };

/** Return the choices; anything unreadable counts as not chosen. */
export function loadSettings(storage = localStorage) {
  try {
    const kept = JSON.parse(storage.getItem(PLACE) ?? "{}");
    return { ...DEFAULTS, ...(kept && typeof kept === "object" ? kept : {}) };
  } catch {
    return { ...DEFAULTS };
  }
}

export function saveSettings(settings, storage = localStorage) {
  try {
    storage.setItem(PLACE, JSON.stringify(settings));
  } catch {
    // Private browsing: the choice lasts as long as the page.
  }
}
