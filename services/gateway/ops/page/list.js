// The edges, worst first. Only the rows around the window are in the document, and only figures that changed are written.
import { $, el, mark, svg, write } from "./elements.js";
import { keyOf, known, levelOf, RANK, redraw } from "./feed.js";
import { clock, count, date, duration, errorText, ms, NONE, percent } from "./figures.js";
import { href } from "./route.js";
import { text } from "./words.js";
import { lift, openOverride } from "./actions.js";

const AROUND = 15; // rows kept above and below the window: find-in-page and screen readers reach them too
const CELLS = ["state", "edge", "instances", "trend", "rate", "success", "errors", "p50", "p90", "p99", "p995", "retries", "bulkhead", "probe", "slo", "actions"];
const MARKS = { open: "✕", "half-open": "◐", closed: "✓", unknown: "?", forced: "◆", partial: "◌" };

const shown = new Map(); // key -> row node
const spare = [];
let order = [];
let filter = "";
let level = "";

export function setFilter(words, wanted) {
  filter = words.trim().toLowerCase();
  level = wanted;
  redraw("rows");
}

// Rows move only when their standing changes, not with every figure.
function standing(row) {
  const errors = row.error_rate ?? 0;
  const worse = errors > 0.2 ? 0 : errors > 0.05 ? 1 : errors > 0.01 ? 2 : errors > 0.001 ? 3 : 4;
  return RANK[levelOf(row)] * 10 + worse + (row.rate_per_s > 0 ? 0 : 5);
}

const HELD_MS = 5000;

// A row moves up at once, and down when it has been better for a while: at a threshold it would change places every second.
// `at` is when it last was as bad as its place says.
export function placeOf(place, standing, now) {
  if (place && standing > place.standing && now - place.at < HELD_MS) return place;
  return { standing, at: now };
}

function arrange() {
  const wanted = filter.split(/\s+/);
  const rows = [...known.rows.values()].filter((row) => {
    const own = levelOf(row);
    if (level && level !== own) return false;
    if (!filter) return true;
    const words = `${row.key} ${row.caller} → ${row.dependency} ${own} ${text(own)}`.toLowerCase();
    return wanted.every((word) => words.includes(word));
  });
  const now = performance.now();
  for (const row of rows) row.place = placeOf(row.place, standing(row), now);
  rows.sort((a, b) => a.place.standing - b.place.standing || (a.key < b.key ? -1 : 1));
  order = rows.map((row) => row.key);
}

function rowNode() {
  const cells = CELLS.map((name) => el("div", { role: "cell", class: name }));
  const node = el("div", { role: "row", class: "row" }, cells);
  node.cells = Object.fromEntries(CELLS.map((name, index) => [name, cells[index]]));
  const { state, edge, trend, actions, errors, slo } = node.cells;
  state.append(el("span", { class: "badge" }));
  edge.append(el("a", { class: "name" }, el("span", { class: "caller" }), el("span", { class: "arrow" }, " → "), el("span", { class: "callee" })));
  trend.append(svg("svg", { viewBox: "0 0 60 20", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("path", { class: "rate-line" }), svg("path", { class: "error-area" })));
  errors.append(el("span", { class: "what" }));
  slo.append(el("span", {}));
  actions.append(el("button", { type: "button", class: "small", onclick: () => act(node.key) }));
  return node;
}

function act(key) {
  const row = known.rows.get(key);
  if (row.override) lift(row);
  else openOverride(row);
}

export function badgeOf(row) {
  const kind = levelOf(row);
  const label = kind === "forced" ? row.override.mode : text(kind);
  return [kind, `${MARKS[kind]} ${label}`];
}

export function instancesOf(row) {
  const all = row.open + row.half_open + row.closed + row.stale;
  const said = [];
  if (row.open) said.push(`${row.open}/${all} ${text("open")}`);
  if (row.half_open) said.push(`${row.half_open}/${all} ${text("half-open")}`);
  if (row.stale) said.push(`${row.stale}/${all} ${text("silent")}`);
  return said.length ? said.join(" ") : `${all}`;
}

export function successOf(row) {
  if (row.availability === null) return NONE;
  const after = percent(row.availability);
  const first = percent(row.availability_first ?? row.availability);
  return first === after ? after : `${first} → ${after}`;
}

export function probeOf(row) {
  if (row.next_probe_s === null) return "";
  return row.next_probe_s < 0.05 ? text("now") : duration(row.next_probe_s);
}

// Minutes of data say little of an hour, and are no alarm.
export function youngOf(minutes) {
  return minutes === null || minutes === undefined ? "" : ` · ${text("young")} ${minutes} min`;
}

// How fast the hour spends the budget, with its mark when somebody is told of it; then what went of the whole period's.
export function burnOf(row) {
  const { burn_rates: burns, severity, objective, budget_spent: spent, since: from, young_minutes: young } = row.slo ?? {};
  if (!burns) return ["", NONE, ""];
  const rate = burns["1h"] ?? burns["5m"] ?? null;
  const all = Object.entries(burns).map(([window, burn]) => `${window} ${burn === null ? NONE : `${burn}×`}`);
  const told = `${text("objective")} ${percent(objective)} · ${all.join(" · ")} · ${text("budgetSpent")} ${percent(spent)} ${text("sinceMoment")} ${date(from)}${youngOf(young)}`;
  return [severity ? `burning ${severity}` : "", rate === null ? NONE : `${severity ? "▲ " : ""}${rate < 10 ? rate.toFixed(1) : rate.toFixed(0)}×`, told];
}

function overrideNote(row) {
  if (!row.override) return "";
  const { mode, actor, reason, expires_at: until, fault } = row.override;
  const what = fault ? ` (${fault.kind}, ${percent(fault.share)})` : "";
  return `${mode}${what} · ${actor}: ${reason} · ${text("until")} ${clock(until)} · ${text("computed")}: ${text(row.state)}`;
}

function paint(node, row) {
  const { cells } = node;
  const [kind, label] = badgeOf(row);
  const badge = cells.state.firstChild;
  mark(badge, "class", `badge ${kind}`);
  write(badge, label);
  mark(badge, "title", overrideNote(row));
  mark(node, "data-level", kind);
  const link = cells.edge.firstChild;
  write(link.children[0], row.caller);
  write(link.children[2], row.dependency);
  mark(link, "href", href({ view: "edge", caller: row.caller, dependency: row.dependency }));
  write(cells.instances, instancesOf(row));
  write(cells.rate, count(row.rate_per_s));
  write(cells.success, successOf(row));
  mark(cells.success, "data-label", text("success"));
  const errors = errorText(row);
  // Computed and forced state together: what the override hides is said beside what went wrong.
  const computed = kind === "forced" ? `${text("computed")}: ${text(row.state)}` : row.override ? `◆ ${row.override.mode}` : "";
  write(cells.errors.firstChild, [computed, errors].filter(Boolean).join(" · "));
  write(cells.p50, ms(row.p50_ms));
  write(cells.p90, ms(row.p90_ms));
  write(cells.p99, ms(row.p99_ms));
  write(cells.p995, ms(row.p99_5_ms));
  write(cells.retries, `${count(row.retries)} · ${count(row.retry_budget_tokens)}`);
  write(cells.bulkhead, `${row.in_use}/${row.limit}${row.queued ? ` +${row.queued}` : ""}`);
  write(cells.probe, probeOf(row));
  const [burning, burn, told] = burnOf(row);
  mark(cells.slo.firstChild, "class", burning);
  write(cells.slo.firstChild, burn);
  mark(cells.slo.firstChild, "title", told);
  const button = cells.actions.firstChild;
  write(button, text(row.override ? "lift" : "override"));
  mark(button, "aria-label", `${button.textContent}: ${row.caller} → ${row.dependency}`);
}

function paintTrend(node, row) {
  const [rate, errors] = node.cells.trend.firstChild.children;
  const points = row.trend.length / 2;
  if (points < 2) return mark(rate, "d", ""), mark(errors, "d", "");
  let most = 0.1;
  for (let at = 0; at < row.trend.length; at += 2) most = Math.max(most, row.trend[at]);
  const from = 60 - points;
  let line = "";
  let area = "";
  for (let at = 0; at < points; at += 1) {
    const high = (18 * row.trend[2 * at]) / most;
    line += `${at ? "L" : "M"}${from + at} ${(19 - high).toFixed(1)}`;
    const bad = high * row.trend[2 * at + 1];
    if (bad > 0) area += `M${from + at} 20v-${Math.max(bad, 1.5).toFixed(1)}h1V20z`;
  }
  mark(rate, "d", line);
  mark(errors, "d", area);
}

const NEAR = 4; // rows beside the window that are painted while it moves
let height = 0;
let sight = [0, 0]; // first and last row on the screen, by their place in the order

// The one moment at which the layout is read: reading it between writes would make the browser lay out each row anew.
function look() {
  height ||= parseFloat(getComputedStyle($("edges")).getPropertyValue("--row"));
  const top = -$("edges-body").getBoundingClientRect().top;
  sight = [Math.floor(top / height), Math.ceil((top + innerHeight) / height)];
}

function place() {
  const body = $("edges-body");
  const tall = `${order.length * height}px`;
  if (body.style.height !== tall) body.style.height = tall;
  const first = Math.max(0, sight[0] - AROUND);
  const last = Math.min(order.length, sight[1] + AROUND);
  const places = Array.from({ length: Math.max(0, last - first) }, (_, step) => first + step);
  // The row that has the keyboard stays in the document wherever it moves to.
  const held = order.indexOf(document.activeElement?.closest(".row")?.key);
  if (held >= 0 && held < first) places.unshift(held);
  if (held >= last) places.push(held);
  const wanted = new Set(places.map((index) => order[index]));
  for (const [key, node] of shown) {
    if (wanted.has(key)) continue;
    shown.delete(key);
    node.remove();
    spare.push(node);
  }
  let before = null;
  for (const index of places) {
    const key = order[index];
    let node = shown.get(key);
    if (!node) {
      node = spare.pop() ?? rowNode();
      node.key = key;
      node.late = true;
      shown.set(key, node);
    }
    if (node.index !== index || node.tall !== height) {
      node.index = index;
      node.tall = height;
      node.setAttribute("aria-rowindex", `${index + 2}`);
      node.style.transform = `translateY(${index * height}px)`;
    }
    // Reading order is the order of the document.
    const next = before ? before.nextSibling : body.firstChild;
    if (node !== next) body.insertBefore(node, next);
    before = node;
  }
  mark($("edges"), "aria-rowcount", `${order.length + 1}`);
  $("empty").hidden = known.rows.size > 0;
  $("no-match").hidden = known.rows.size === 0 || order.length > 0;
}

export function paintList(changed) {
  if ($("view-edges").hidden) return;
  if (changed.has("resize")) height = 0;
  const held = document.activeElement;
  look();
  if (changed.has("rows") || changed.has("all")) arrange();
  if (changed.has("rows") || changed.has("all") || changed.has("scroll")) place();
  if (held?.isConnected && document.activeElement !== held && held.closest("#edges")) held.focus({ preventScroll: true });
  const everything = changed.has("all");
  for (const [key, node] of shown) {
    if (everything || changed.has(key)) node.late = true;
    // What nobody sees is painted when the scrolling rests: a screen reader and a search reach it too.
    if (changed.has("scroll") && (node.index < sight[0] - NEAR || node.index > sight[1] + NEAR)) continue;
    const row = known.rows.get(key);
    if (!row) continue;
    if (node.late) paint(node, row);
    if (node.late || changed.has("second")) paintTrend(node, row);
    node.late = false;
  }
}

export function walk(step) {
  const at = order.indexOf([...shown].find(([, node]) => node.contains(document.activeElement))?.[0]);
  focusAt(Math.min(order.length - 1, Math.max(0, at < 0 ? 0 : at + step)));
}

// False where the list has no such row.
export function focusRow(caller, dependency) {
  arrange();
  const at = order.indexOf(keyOf(caller, dependency));
  if (at >= 0) focusAt(at);
  return at >= 0;
}

function focusAt(index) {
  look();
  place();
  const body = $("edges-body").getBoundingClientRect().top;
  const header = document.querySelector("header").offsetHeight + 2 * height;
  const y = body + index * height;
  if (y < header) scrollBy(0, y - header);
  if (y + height > innerHeight) scrollBy(0, y + height - innerHeight);
  look();
  place();
  shown.get(order[index])?.querySelector("a").focus({ preventScroll: true });
}

export function focusedRow() {
  const found = [...shown].find(([, node]) => node.contains(document.activeElement));
  return found && known.rows.get(found[0]);
}

export const rowOf = (caller, dependency) => known.rows.get(keyOf(caller, dependency));

addEventListener("scroll", () => redraw("scroll"), { passive: true });
addEventListener("resize", () => redraw("resize", "all"), { passive: true });
