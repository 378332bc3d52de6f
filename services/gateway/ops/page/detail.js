// One edge: its figures, its past, its instances, and the policy that governs it with the place that names each setting.
import { $, el, write } from "./elements.js";
import { known } from "./feed.js";
import { count, date, errorText, ms, NONE, percent, shortClock } from "./figures.js";
import { go, href, where } from "./route.js";
import { text } from "./words.js";
import { ask, ProblemError } from "./asks.js";
import { callsChart, circuitChart, latencyChart } from "./charts.js";
import { badgeOf, burnOf, instancesOf, probeOf, rowOf, youngOf } from "./list.js";
import { lift, openOverride } from "./actions.js";

export const SPANS = [[300, "min5"], [900, "min15"], [3600, "hour1"], [21600, "hour6"], [86400, "day1"]];
const CHART_EDGES = 46 + 28; // the axis, and what frames a chart
const FINE_MS = 2000;
const COARSE_MS = 10_000;
let asking = null;

function tiles(row) {
  const tile = (name, value, note = "") => el("div", { class: "tile" }, el("dt", {}, text(name)), el("dd", {}, value, note && el("small", {}, note)));
  return [
    tile("instances", instancesOf(row)),
    tile("rate", count(row.rate_per_s)),
    tile("firstSuccess", percent(row.availability_first)),
    tile("finalSuccess", percent(row.availability)),
    tile("errorRate", percent(row.error_rate), errorText(row)),
    tile("slowRate", percent(row.slow_rate)),
    el("div", { class: "tile wide" }, el("dt", {}, "p50 · p90 · p99 · p99.5, ms"), el("dd", {}, [row.p50_ms, row.p90_ms, row.p99_ms, row.p99_5_ms].map(ms).join(" · "))),
    tile("budget", count(row.retry_budget_tokens), `${count(row.retries)} ${text("retries").split(" ")[0].toLowerCase()}`),
    tile("bulkhead", `${row.in_use}/${row.limit}`, row.queued ? `${row.queued}/${row.queue_max} ${text("queued")}` : ""),
    tile("nextProbe", probeOf(row) || NONE),
    tile("fallbacks", count(row.fallbacks)),
    row.slo?.burn_rates && sloTile(row),
  ];
}

function sloTile(row) {
  const { burn_rates: burns, budget_spent: spent, objective, since, young_minutes: young } = row.slo;
  const all = Object.entries(burns).map(([window, burn]) => `${window} ${burn === null ? NONE : `${burn}×`}`);
  const [burning] = burnOf(row);
  return el("div", { class: "tile wide" }, el("dt", {}, `${text("slo")} ${percent(objective)} · ${text("burnRates")}`), el("dd", {}, el("span", { class: burning }, `${burning ? "▲ " : ""}${all.join(" · ")}`), el("small", {}, `${text("budgetSpent")} ${percent(spent)} ${text("sinceMoment")} ${date(since)}${youngOf(young)}`)));
}

function paintHead(row) {
  const [kind, label] = badgeOf(row);
  $("detail-badge").className = `badge ${kind}`;
  write($("detail-badge"), label);
  $("detail-tiles").replaceChildren(...tiles(row));
  const told = row.override;
  $("detail-override").hidden = !told;
  if (told) write($("detail-override"), `◆ ${told.mode} · ${told.actor}: ${told.reason} · ${text("until")} ${shortClock(told.expires_at)} · ${text("computed")}: ${text(row.state)}`);
  write($("detail-act"), text(told ? "lift" : "override"));
}

function instanceTable(edges) {
  const heads = ["instance", "state", "rate", "finalSuccess", "errors", "p50 ms", "p99 ms", "p99.5 ms", "bulkhead", "nextProbe"];
  return el("table", {}, el("thead", {}, el("tr", {}, heads.map((name) => el("th", { scope: "col" }, text(name))))),
    el("tbody", {}, edges.map((edge) => {
      const kind = edge.stale ? "unknown" : edge.state;
      const mark = { open: "✕", "half-open": "◐", closed: "✓", unknown: "?" }[kind];
      const values = [count(edge.rate_per_s), percent(edge.availability), errorText(edge), ms(edge.p50_ms), ms(edge.p99_ms), ms(edge.p99_5_ms), `${edge.bulkhead.in_use}/${edge.bulkhead.limit}`, probeOf(edge)];
      return el("tr", {}, el("th", { scope: "row" }, edge.instance), el("td", {}, el("span", { class: `badge ${kind}` }, `${mark} ${text(kind)}${edge.forced ? ` ◆ ${edge.forced}` : ""}`)), values.map((value) => el("td", {}, value)));
    })));
}

function policyTable(policies, caller) {
  const mine = policies.items.filter((each) => each.caller === caller);
  if (!mine.length) return el("p", { class: "quiet" }, text("noPolicy"));
  const [first] = mine;
  const refused = [...new Set(mine.flatMap((each) => each.refused))];
  const own = (setting) => setting.origin !== "built-in";
  const rows = Object.entries(first.settings).map(([name, setting]) => {
    const values = new Set(mine.map((each) => String(each.settings[name]?.value)));
    return el("tr", { class: own(setting) ? "" : "quiet" }, el("th", { scope: "row" }, name), el("td", {}, [...values].join(" / ")), el("td", {}, setting.origin));
  });
  return el("div", {}, refused.length ? el("p", { role: "alert" }, `${text("refusedFile")} ${refused.join("; ")}`) : null,
    el("table", {}, el("thead", {}, el("tr", {}, ["setting", "value", "origin"].map((name) => el("th", { scope: "col" }, text(name))))), el("tbody", {}, rows)));
}

async function into(node, work) {
  try {
    node.replaceChildren(...[await work()].flat());
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof ProblemError)) throw error;
    node.replaceChildren(el("p", { class: "quiet" }, error.message));
  }
}

async function refresh({ caller, dependency }, seconds, signal) {
  const base = `/v1/dependencies/${encodeURIComponent(dependency)}`;
  const query = `caller=${encodeURIComponent(caller)}`;
  await Promise.all([
    // What is pointed at stays while the finger is on it.
    $("detail-charts").matches(":hover") && $("detail-charts").childElementCount ? null : into($("detail-charts"), async () => {
      const [past] = (await ask(`${base}/history?${query}&seconds=${seconds}`, { signal })).items;
      const width = Math.max(240, $("detail-charts").clientWidth - CHART_EDGES);
      return [circuitChart(past, width), callsChart(past, width), latencyChart(past, width)];
    }),
    into($("detail-instances"), async () => instanceTable((await ask(`/v1/dependencies?dependency=${encodeURIComponent(dependency)}&${query}`, { signal })).edges)),
  ]);
}

export function showDetail({ caller, dependency, span }) {
  asking?.abort();
  const mine = (asking = new AbortController());
  const seconds = SPANS.some(([each]) => each === Number(span)) ? Number(span) : 300;
  write($("detail-title"), `${caller} → ${dependency}`);
  $("detail-spans").replaceChildren(...SPANS.map(([each, name]) => el("a", { class: "chip", href: href({ ...where(), span: each === 300 ? "" : `${each}` }), "aria-current": each === seconds ? "true" : null }, text(name))));
  for (const id of ["detail-charts", "detail-instances", "detail-policy", "detail-tiles"]) $(id).replaceChildren();
  paintDetail();
  into($("detail-policy"), async () => policyTable(await ask(`/v1/dependencies/${encodeURIComponent(dependency)}/policy`, { signal: mine.signal }), caller));
  const again = async () => {
    if (mine.signal.aborted) return;
    if (!document.hidden) await refresh({ caller, dependency }, seconds, mine.signal);
    if (!mine.signal.aborted) setTimeout(again, seconds <= 900 ? FINE_MS : COARSE_MS);
  };
  again();
}

export function hideDetail() {
  asking?.abort();
}

export function paintDetail() {
  const { caller, dependency } = where();
  const row = rowOf(caller, dependency);
  $("detail-unknown").hidden = Boolean(row) || known.rows.size === 0;
  $("detail-now").hidden = !row;
  if (row) paintHead(row);
}

$("detail-act").addEventListener("click", () => {
  const { caller, dependency } = where();
  const row = rowOf(caller, dependency);
  if (row?.override) lift(row);
  else openOverride({ caller, dependency });
});
$("detail-back").addEventListener("click", (event) => {
  event.preventDefault();
  go({});
});
