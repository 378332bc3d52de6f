// What changed and who changed it, newest first, with the last hour as a picture: a cause stands left of its effect.
import { $, el, svg } from "./elements.js";
import { known } from "./feed.js";
import { date, shortClock } from "./figures.js";
import { href, where } from "./route.js";
import { text } from "./words.js";
import { ask, ProblemError } from "./asks.js";

const LOADED_MAX = 1000;
const SHOWN_MAX = 300;
const HOUR_MS = 3_600_000;
const LANES = ["deployKind", "overrideKind", "playbookKind", "gateKind", "incidentKind", "circuitKind", "otherKind"];
const MARKS = { deployKind: "▲", overrideKind: "◆", playbookKind: "▶", gateKind: "■", incidentKind: "✕", circuitKind: "◐", otherKind: "•" };
let older = [];

function laneOf(kind) {
  const [, name] = kind.match(/^(deploy|override|playbook|gate|incident|circuit)/) ?? [];
  return name ? `${name}Kind` : "otherKind";
}

function entries() {
  const seen = new Set(known.timeline.map((entry) => entry.id));
  return [...known.timeline, ...older.filter((entry) => !seen.has(entry.id))];
}

function hour(every) {
  const [left, width, lane] = [90, 760, 20];
  const now = Date.now();
  const recent = every.filter((entry) => now - new Date(entry.at) < HOUR_MS);
  const lanes = LANES.filter((name) => recent.some((entry) => laneOf(entry.kind) === name));
  if (!lanes.length) return null;
  const height = lanes.length * lane;
  const node = svg("svg", { viewBox: `0 0 ${left + width + 10} ${height + 18}`, class: "chart lanes", role: "img", "aria-label": `${text("lastHour")}: ${lanes.map((name) => `${text(name)} ${recent.filter((entry) => laneOf(entry.kind) === name).length}`).join(", ")}` });
  lanes.forEach((name, index) => {
    const y = lane * index + lane / 2;
    node.append(svg("path", { class: "grid", d: `M${left} ${y}h${width}` }), svg("text", { x: left - 8, y: y + 4, "text-anchor": "end", class: "tick" }, text(name)));
    for (const entry of recent.filter((each) => laneOf(each.kind) === name).slice(0, 200)) {
      const x = left + width * (1 - (now - new Date(entry.at)) / HOUR_MS);
      node.append(svg("text", { x, y: y + 5, "text-anchor": "middle", class: `event ${name}` }, MARKS[name], svg("title", {}, `${shortClock(entry.at)} ${entry.text}`)));
    }
  });
  for (let tick = 0; tick <= 4; tick += 1) node.append(svg("text", { x: left + (width * tick) / 4, y: height + 14, "text-anchor": tick === 4 ? "end" : "middle", class: "tick" }, shortClock(now - HOUR_MS * (1 - tick / 4))));
  return node;
}

// What is told of an incident leads to its report, also when it is over.
function told(entry) {
  const [, before, id, after] = entry.text.match(/^(.*?\bincident )([\w.-]+)(.*)$/s) ?? [];
  return id ? [before, el("a", { href: href({ view: "report", name: id }) }, id), after] : [entry.text];
}

export function itemOf(entry) {
  const lane = laneOf(entry.kind);
  return el("li", { class: lane }, el("time", { datetime: entry.at }, date(entry.at)), el("span", { class: "kind" }, el("span", { "aria-hidden": "true" }, MARKS[lane]), ` ${text(lane)}`), el("span", { class: "text" }, told(entry)));
}

export function paintTimeline(changed) {
  if ($("view-timeline").hidden || !(changed.has("timeline") || changed.has("all"))) return;
  const { kind = "", q = "" } = where();
  const every = entries();
  const shown = every.filter((entry) => (!kind || laneOf(entry.kind) === kind) && `${entry.text} ${entry.dependency}`.toLowerCase().includes(q.toLowerCase())).slice(0, SHOWN_MAX);
  const kinds = ["", ...LANES.filter((name) => every.some((entry) => laneOf(entry.kind) === name))];
  $("timeline-kinds").replaceChildren(...kinds.map((name) => el("a", { class: "chip", href: href({ ...where(), kind: name }), "aria-current": name === kind ? "true" : null }, `${MARKS[name] ?? ""} ${text(name || "all")}`)));
  $("timeline-hour").replaceChildren(...[hour(every)].filter(Boolean));
  $("timeline").replaceChildren(...(shown.length ? shown.map(itemOf) : [el("li", { class: "quiet" }, text("noEntries"))]));
}

export async function showTimeline() {
  paintTimeline(new Set(["all"]));
  try {
    older = (await ask(`/v1/timeline?limit=${LOADED_MAX}`)).items;
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    older = [];
  }
  paintTimeline(new Set(["all"]));
}

$("timeline-verify").addEventListener("click", async () => {
  const said = $("timeline-verdict");
  try {
    const found = await ask("/v1/timeline/verification");
    said.textContent = found.intact ? `✓ ${text("verified")} (${found.entries})` : `✕ ${text("altered")} ${found.problem}`;
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    said.textContent = error.message;
  }
});
