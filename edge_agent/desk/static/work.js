// One item being photographed: its views, and what has become of each photo. Pure; the station holds the truth.
//
// A photo's state: "empty", "sending", "unsent" (no answer yet: kept here and sent again), "refused" (it has problems,
// and was not kept), "kept". With `again` a kept photo is being taken once more; it counts until the new one is kept.

/** Make an item's work from a session as the station tells it. */
export function workOf(session) {
  return {
    id: session.session_id,
    itemId: session.item_id,
    createdAt: session.created_at,
    current: 0,
    finishing: false,
    stuck: null,
    views: session.views.map((one) => entry(one.view, one.sha256, one.problems ?? [])),
  };
}

/** Take in what the station tells of a session that is already here; photos that are still on their way stay so. */
export function refresh(work, session) {
  const here = new Map(work.views.map((one) => [one.view, one]));
  const told = session.views.map(({ view, sha256, problems }) => {
    const old = here.get(view);
    here.delete(view);
    return isBusy(old) ? Object.assign(old, { sha256 }) : Object.assign(old ?? {}, entry(view, sha256, problems ?? []));
  });
  work.views = [...told, ...[...here.values()].filter((one) => one.extra || isBusy(one))];
  return work;
}

function isBusy(one) {
  return ["sending", "unsent", "refused"].includes(one?.state);
}

/** A photo left for the station. */
export function sending(one, url, blob) {
  Object.assign(one, { state: "sending", url, blob, problems: [], again: false, error: null });
}

/** The station has answered for a photo. */
export function answered(one, told) {
  const state = told.kept ? "kept" : "refused";
  const sha256 = told.kept ? told.sha256 : one.sha256;
  Object.assign(one, { state, sha256, problems: told.problems ?? [], error: null });
  if (told.kept) one.blob = null;
}

/** The station will not have a photo at all; the one before it still counts. */
export function failed(one, error) {
  Object.assign(one, { state: one.sha256 ? "kept" : "empty", url: null, blob: null, error });
}

/** Whether this view still wants a photo from the operator. */
export function wants(one) {
  return one.state === "empty" || one.state === "refused" || one.again;
}

/** Return the index of the next view that wants a photo, from `after` on and round again; null: none. */
export function nextWanting(views, after) {
  for (let step = 1; step <= views.length; step += 1) {
    const index = (after + step) % views.length;
    if (wants(views[index])) return index;
  }
  return null;
}

export function allKept(views) {
  return views.length > 0 && views.every((one) => one.state === "kept" && !one.again);
}

export function takenCount(views) {
  return views.filter((one) => one.sha256 || one.state === "sending" || one.state === "unsent").length;
}

/** Whether the operator may end here, without the photos that are missing. */
export function mayEndEarly(work) {
  const { views, finishing } = work;
  return !finishing && !allKept(views) && !onTheWay(views) && views.some((one) => one.sha256);
}

/** Whether a photo of this item is still on its way. */
export function onTheWay(views) {
  return views.some((one) => one.state === "sending" || one.state === "unsent");
}

/** Return what Enter does now: "shoot", "next", "finish", "wait"; "check": the photo just taken is looked at. */
export function primary(work) {
  if (work.finishing) return "wait";
  const one = work.views[work.current];
  if (one?.state === "sending") return "check";
  if (one && wants(one)) return "shoot";
  if (allKept(work.views)) return "finish";
  return nextWanting(work.views, work.current) === null ? "wait" : "next";
}

/** Return the view that "re-shoot" means: this one if it has a photo, else the last one before it that has. */
export function reshootIndex(work) {
  const has = (index) => ["kept", "refused"].includes(work.views[index]?.state);
  if (has(work.current)) return work.current;
  for (let index = work.current - 1; index >= 0; index -= 1) if (has(index)) return index;
  return null;
}

/** Add another photo of a view: `logo` gives `logo~2`. Returns its index. */
export function addPhoto(work, view) {
  const name = view.split("~")[0];
  let number = 2;
  while (work.views.some((one) => one.view === `${name}~${number}`)) number += 1;
  work.views.push({ ...entry(`${name}~${number}`, null, []), extra: true });
  return work.views.length - 1;
}

function entry(view, sha256, problems) {
  const state = sha256 ? "kept" : "empty";
  return { view, sha256, problems, state, url: null, blob: null, again: false, error: null, extra: false };
}
