// What is known now: one stream from the ops process, kept in memory, and whom to tell when it changed.
export const OLD_MS = 4500; // stale is marked within 5 s
const TREND_POINTS = 60;
const TIMELINE_MAX = 200;

export const known = { rows: new Map(), incidents: [], timeline: [], backlogs: [], heardAt: 0, old: true };
const changed = new Set(); // keys of rows, and the names of whatever else changed
const listeners = [];
let asked = false;

export const keyOf = (caller, dependency) => `${caller}>${dependency}`;

export function onChange(listener) {
  listeners.push(listener);
}

// One drawing for all that came since the last.
export function redraw(...names) {
  for (const name of names) changed.add(name);
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    const now = new Set(changed);
    changed.clear();
    for (const listener of listeners) listener(now);
  });
}

export function age() {
  return known.heardAt ? performance.now() - known.heardAt : Infinity;
}

// Unknown is not healthy: when nothing is heard, nothing is shown as closed any more.
export function levelOf(row) {
  if (known.old || row.state === "unknown") return "unknown";
  if (row.state !== "closed") return row.state;
  if (row.override) return "forced";
  return row.stale ? "partial" : "closed";
}

export const RANK = { open: 0, "half-open": 1, unknown: 2, forced: 3, partial: 4, closed: 5 };

function trend(row) {
  row.trend.push(row.rate_per_s, row.error_rate ?? 0);
  if (row.trend.length > 2 * TREND_POINTS) row.trend.splice(0, 2);
}

function heard(event) {
  known.heardAt = performance.now();
  if (known.old) {
    known.old = false;
    redraw("age", ...known.rows.keys());
  }
  return JSON.parse(event.data);
}

function takeRest(frame) {
  if (frame.incidents) known.incidents = frame.incidents;
  if (frame.backlogs) known.backlogs = frame.backlogs;
  for (const entry of frame.timeline ?? []) {
    known.timeline.unshift(entry);
    if (known.timeline.length > TIMELINE_MAX) known.timeline.pop();
  }
  redraw(...["incidents", "backlogs", "timeline"].filter((name) => frame[name]));
}

function takeSnapshot(event) {
  const snapshot = heard(event);
  known.rows.clear();
  for (const [key, row] of Object.entries(snapshot.rows)) known.rows.set(key, { ...row, key, trend: [] });
  known.timeline = [];
  takeRest({ ...snapshot, timeline: snapshot.timeline.reverse() });
  redraw("rows", ...known.rows.keys());
}

function takeFrame(event) {
  const frame = heard(event);
  for (const [key, fields] of Object.entries(frame.rows)) {
    const row = known.rows.get(key) ?? { key, trend: [] };
    known.rows.set(key, Object.assign(row, fields));
  }
  for (const key of frame.gone ?? []) known.rows.delete(key);
  takeRest(frame);
  redraw("rows", ...Object.keys(frame.rows));
}

function passTime() {
  for (const row of known.rows.values()) trend(row);
  redraw("second");
}

function watchAge() {
  const old = age() > OLD_MS;
  if (old !== known.old) {
    known.old = old;
    redraw("rows", ...known.rows.keys());
  }
  redraw("age");
}

function listen() {
  const stream = new EventSource("/ops/stream");
  stream.addEventListener("snapshot", takeSnapshot);
  stream.addEventListener("frame", takeFrame);
  stream.onerror = async () => {
    // A closed stream is tried again by the browser; an ended session needs a person.
    const answer = await fetch("/v1/dependencies?limit=1").catch(() => null);
    if (answer?.status === 401) location.reload();
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  };
  return stream;
}

// At once, while the other modules are still on their way.
listen();
setInterval(watchAge, 250);
setInterval(passTime, 1000);
