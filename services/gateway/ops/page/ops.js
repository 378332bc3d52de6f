// The dependency page: one stream, one table, worst first. It says how old its data is and never calls unknown healthy.
import { words } from "/ops/assets/words.js";

const STALE_MS = 5000;
const TIMELINE_MAX = 50;
const edges = new Map(); // "caller>dependency@instance" -> edge
const rows = new Map(); // the same key -> <tr>
let incidents = [];
let asOf = 0; // when this page last heard from the ops process, in its own clock
let language = localStorage.getItem("language") ?? (navigator.language.startsWith("zh") ? "zh" : "en");

const $ = (id) => document.getElementById(id);
const text = (key) => words[language][key] ?? key;
const keyOf = (edge) => `${edge.caller}>${edge.dependency}@${edge.instance}`;
const number = (value, digits = 1) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(value > 0.999 && value < 1 ? 2 : 1)} %`);

function level(edge) {
  if (edge.stale) return "unknown";
  if (edge.forced) return "forced";
  return edge.state;
}

function badness(edge) {
  const base = { open: 500, "half-open": 400, forced: 300, unknown: 200, closed: 0 }[level(edge)];
  return base + 100 * (edge.error_rate ?? 0) + (edge.rate_per_s > 0 ? 1 : 0);
}

function badge(edge) {
  const kind = level(edge);
  if (kind === "forced") return [kind, `◆ ${edge.forced}`];
  const mark = { open: "✕", "half-open": "◐", closed: "✓", unknown: "?" }[kind];
  return [kind, `${mark} ${text(kind)}`];
}

function rowOf(edge) {
  const row = document.createElement("tr");
  row.dataset.key = keyOf(edge);
  for (const name of ["state", "edge", "rate", "availability", "errors", "p50", "p90", "p99", "retries", "bulkhead", "probe", "actions"]) {
    const cell = document.createElement("td");
    cell.className = ["state", "edge", "errors", "actions"].includes(name) ? name : "n";
    row.append(cell);
  }
  const [state, edgeCell] = row.cells;
  state.append(Object.assign(document.createElement("span"), { className: "badge" }));
  edgeCell.append(`${edge.caller} → ${edge.dependency}`);
  edgeCell.append(Object.assign(document.createElement("span"), { className: "instance", textContent: edge.instance }));
  const button = Object.assign(document.createElement("button"), { type: "button" });
  button.addEventListener("click", () => act(row.dataset.key));
  row.cells[11].append(button);
  return row;
}

function write(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

function paint(edge) {
  const key = keyOf(edge);
  let row = rows.get(key);
  if (!row) rows.set(key, (row = rowOf(edge)));
  const [kind, label] = badge(edge);
  const mark = row.cells[0].firstChild;
  mark.className = `badge ${kind}`;
  write(mark, label);
  const fault = edge.override?.fault;
  const what = fault ? ` (${fault.kind}, ${percent(fault.share)})` : "";
  mark.title = edge.override ? `${edge.override.actor}: ${edge.override.reason}${what}` : "";
  row.classList.toggle("stale", edge.stale);
  const errors = Object.entries({ ...edge.errors, injected: edge.injected }).filter(([, count]) => count > 0).map(([name, count]) => `${text(name)} ${count}`).join(", ");
  const values = [
    number(edge.rate_per_s), percent(edge.availability), errors, number(edge.p50_ms), number(edge.p90_ms), number(edge.p99_ms),
    String(edge.retries), `${edge.bulkhead.in_use}/${edge.bulkhead.limit}`, edge.next_probe_s === null ? "" : `${number(edge.next_probe_s)} s`,
  ];
  const labels = ["rate", "availability", "errors", "p50 ms", "p90 ms", "p99 ms", "retries", "bulkhead", "probe"];
  values.forEach((value, index) => {
    const cell = row.cells[index + 2];
    write(cell, value);
    cell.dataset.label = text(labels[index]);
  });
  const button = row.cells[11].firstChild;
  write(button, edge.forced ? text("lift") : text("override"));
  button.setAttribute("aria-label", `${button.textContent}: ${edge.caller} → ${edge.dependency}`);
}

function arrange() {
  const wanted = $("filter").value.trim().toLowerCase();
  const shown = [...edges.values()].filter((edge) => `${edge.caller} ${edge.dependency} ${edge.state}`.toLowerCase().includes(wanted));
  shown.sort((a, b) => badness(b) - badness(a) || keyOf(a).localeCompare(keyOf(b)));
  const body = $("edges").tBodies[0];
  shown.forEach((edge, index) => {
    const row = rows.get(keyOf(edge));
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
  });
  while (body.rows.length > shown.length) body.deleteRow(-1);
  $("empty").hidden = edges.size > 0;
  judge();
}

function judge() {
  const all = [...edges.values()];
  const open = all.filter((edge) => !edge.stale && edge.state !== "closed").length;
  const stale = all.filter((edge) => edge.stale).length;
  const forced = all.filter((edge) => edge.forced).length;
  const old = performance.now() - asOf > STALE_MS;
  const verdict = $("verdict");
  if (!asOf || old || all.length === 0) [verdict.dataset.level, verdict.textContent] = ["warn", text("nothing")];
  else if (open) [verdict.dataset.level, verdict.textContent] = ["bad", `${open} ${text("notClosed")}`];
  else if (stale || forced) [verdict.dataset.level, verdict.textContent] = ["warn", [stale && `${stale} ${text("silent")}`, forced && `${forced} ${text("overridden")}`].filter(Boolean).join(", ")];
  else [verdict.dataset.level, verdict.textContent] = ["good", text("allClosed")];
}

function age() {
  const seconds = (performance.now() - asOf) / 1000;
  $("freshness").classList.toggle("old", !asOf || seconds * 1000 > STALE_MS);
  $("freshness").textContent = asOf ? `${text("asOf")} ${seconds.toFixed(0)} s` : text("waiting");
  judge();
}

function paintIncidents() {
  $("incidents").hidden = incidents.length === 0;
  $("incidents").querySelector("ol").replaceChildren(...incidents.map((incident) => {
    const item = document.createElement("li");
    item.append(Object.assign(document.createElement("b"), { textContent: incident.title }), ` · ${incident.callers.join(", ")} · ${new Date(incident.opened_at).toLocaleTimeString()}`);
    return item;
  }));
}

function remember(entry) {
  const item = document.createElement("li");
  const time = Object.assign(document.createElement("time"), { dateTime: entry.at, textContent: new Date(entry.at).toLocaleTimeString() });
  item.append(time, entry.text);
  $("timeline").prepend(item);
  while ($("timeline").children.length > TIMELINE_MAX) $("timeline").lastChild.remove();
}

function listen() {
  const stream = new EventSource("/v1/dependencies/stream");
  const heard = (event) => {
    asOf = performance.now();
    return event.data ? JSON.parse(event.data) : null;
  };
  stream.addEventListener("snapshot", (event) => {
    const snapshot = heard(event);
    edges.clear();
    rows.clear();
    $("edges").tBodies[0].replaceChildren();
    for (const edge of snapshot.edges) edges.set(keyOf(edge), edge), paint(edge);
    incidents = snapshot.incidents;
    $("timeline").replaceChildren();
    for (const entry of snapshot.timeline) remember(entry);
    paintIncidents();
    arrange();
    age();
  });
  stream.addEventListener("change", (event) => {
    const change = heard(event);
    for (const edge of change.edges) edges.set(keyOf(edge), edge), paint(edge);
    for (const key of change.gone) edges.delete(key), rows.get(key)?.remove(), rows.delete(key);
    if (change.incidents) incidents = change.incidents, paintIncidents();
    for (const entry of change.timeline) remember(entry);
    arrange();
  });
  stream.addEventListener("beat", heard);
  stream.onerror = async () => {
    // A closed stream is retried by the browser; an ended session needs a person.
    const answer = await fetch("/v1/dependencies?limit=1").catch(() => null);
    if (answer?.status === 401) location.assign("/ops");
  };
}

function faultOf({ kind, percent, p50, code }) {
  const fault = { kind: kind.value, share: Number(percent.value) / 100 };
  if (["latency", "slow-body"].includes(kind.value)) fault.latency_p50_s = Number(p50.value);
  if (kind.value === "error") fault.code = code.value;
  return fault;
}

function arrangeFault() {
  const { mode, kind } = $("override").querySelector("form").elements;
  $("fault").hidden = mode.value !== "chaos";
  for (const label of $("fault").querySelectorAll("[data-of]")) label.hidden = !label.dataset.of.split(" ").includes(kind.value);
}

async function act(key) {
  const edge = edges.get(key);
  const path = `/v1/dependencies/${encodeURIComponent(edge.dependency)}/override`;
  if (edge.forced) {
    const caller = edge.override.caller;
    await fetch(caller ? `${path}?caller=${encodeURIComponent(caller)}` : path, { method: "DELETE" });
    return;
  }
  const dialog = $("override");
  $("override-edge").textContent = `${edge.caller} → ${edge.dependency}`;
  $("override-error").textContent = "";
  arrangeFault();
  dialog.showModal();
  dialog.querySelector("form").onsubmit = async (event) => {
    if (event.submitter?.value !== "set") return;
    event.preventDefault();
    const { mode, reason, minutes } = event.target.elements;
    const body = { mode: mode.value, caller: edge.caller, reason: reason.value, ttl_s: 60 * Number(minutes.value) };
    if (mode.value === "chaos") body.fault = faultOf(event.target.elements);
    const answer = await fetch(path, { method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify(body) }).catch(() => null);
    if (answer?.ok) return dialog.close();
    const problem = await answer?.json().catch(() => null);
    $("override-error").textContent = problem ? [problem.detail, ...(problem.errors ?? []).map((error) => `${error.field}: ${error.reason}`)].join(" ") : text("noAnswer");
  };
}

function translate() {
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = text(node.dataset.text);
  $("language").textContent = language === "zh" ? "English" : "中文";
  $("language").lang = language === "zh" ? "en" : "zh";
  for (const edge of edges.values()) paint(edge);
  age();
}

$("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  localStorage.setItem("language", language);
  translate();
});
$("override").addEventListener("input", arrangeFault);
$("leave").addEventListener("click", async () => {
  await fetch("/ops/session", { method: "DELETE" });
  location.assign("/ops");
});
$("filter").value = new URLSearchParams(location.search).get("filter") ?? "";
$("filter").addEventListener("input", () => {
  const query = $("filter").value ? `?filter=${encodeURIComponent($("filter").value)}` : "";
  history.replaceState(null, "", `/ops${query}`);
  arrange();
});
translate();
listen();
setInterval(age, 1000);
