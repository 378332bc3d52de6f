// Charts of an edge's past, in SVG: few paths, however many points.
import { el, svg } from "./elements.js";
import { clock, count, ms, shortClock } from "./figures.js";
import { text } from "./words.js";

const LEFT = 46;
const ERRORS = ["failed", "timeout", "auth", "overload", "short_circuited", "rejected", "deadline"];
const HEAT_LEVELS = 6;

const moment = (past, index) => new Date(new Date(past.start).getTime() + 1000 * past.step_s * index);
const unknownAt = (past, index) => past.retries[index] === null;

function frame(past, width, height, title, summary) {
  const points = past.retries.length;
  const node = svg("svg", { width: LEFT + width, height: height + 24, viewBox: `0 -6 ${LEFT + width} ${height + 24}`, role: "img", "aria-label": `${title}. ${summary}`, class: "chart" });
  const step = width / points;
  // Where nobody told anything is hatched: unknown is not zero.
  let gaps = "";
  for (let index = 0; index < points; index += 1) if (unknownAt(past, index)) gaps += `M${(LEFT + index * step).toFixed(1)} 0h${step.toFixed(2)}v${height}h-${step.toFixed(2)}z`;
  node.append(svg("path", { class: "gap", d: gaps }));
  for (let tick = 0; tick <= 4; tick += 1) {
    const x = LEFT + (tick * width) / 4;
    const anchor = tick === 0 ? "start" : tick === 4 ? "end" : "middle";
    node.append(svg("text", { x, y: height + 14, "text-anchor": anchor, class: "tick" }, shortClock(moment(past, (tick * points) / 4))));
  }
  return [node, step];
}

function yAxis(node, width, height, labels) {
  for (const [share, label] of labels) {
    const y = height * (1 - share);
    node.append(svg("path", { class: "grid", d: `M${LEFT} ${y}h${width}` }), svg("text", { x: LEFT - 5, y: y + 4, "text-anchor": "end", class: "tick" }, label));
  }
}

// What is under the pointer, in words.
function pointed(node, past, width, height, told) {
  const line = svg("path", { class: "pointer" });
  const label = el("p", { class: "reading quiet", "aria-hidden": "true" });
  node.append(line);
  node.addEventListener("pointermove", (event) => {
    const box = node.getBoundingClientRect();
    const points = past.retries.length;
    const index = Math.floor(((event.clientX - box.left) / box.width * (LEFT + width) - LEFT) / width * points);
    if (index < 0 || index >= points) return;
    line.setAttribute("d", `M${LEFT + ((index + 0.5) * width) / points} 0v${height}`);
    label.textContent = `${clock(moment(past, index))} · ${unknownAt(past, index) ? text("unknownTime") : told(index)}`;
  });
  node.addEventListener("pointerleave", () => { line.setAttribute("d", ""); label.textContent = ""; });
  return [node, label];
}

export function callsChart(past, width) {
  const height = 110;
  const points = past.retries.length;
  const at = (name, index) => past.outcomes[name]?.[index] ?? 0;
  const answered = (index) => at("success", index) + at("caller_fault", index);
  const totals = Array.from({ length: points }, (_, index) => answered(index) + ERRORS.reduce((sum, name) => sum + at(name, index), 0));
  const most = Math.max(1, ...totals);
  const sums = ERRORS.map((name) => [name, (past.outcomes[name] ?? []).reduce((sum, value) => sum + (value ?? 0), 0)]).filter(([, sum]) => sum);
  const rate = (value) => count(value / past.step_s);
  const summary = `${text("most")} ${rate(most)}/s. ${sums.map(([name, sum]) => `${text(name)} ${count(sum)}`).join(", ") || text("none")}`;
  const [node, step] = frame(past, width, height, text("calls"), summary);
  yAxis(node, width, height, [[1, `${rate(most)}/s`], [0.5, rate(most / 2)], [0, "0"]]);
  const base = new Float64Array(points);
  for (const name of ["answered", ...ERRORS]) {
    let path = "";
    for (let index = 0; index < points; index += 1) {
      const value = name === "answered" ? answered(index) : at(name, index);
      if (!value) continue;
      const high = Math.max((value / most) * height, 1);
      path += `M${(LEFT + index * step).toFixed(1)} ${(height - base[index]).toFixed(1)}h${(step * 0.9).toFixed(2)}v-${high.toFixed(1)}h-${(step * 0.9).toFixed(2)}z`;
      base[index] += high;
    }
    if (path) node.append(svg("path", { class: `bar ${name}`, d: path }));
  }
  const legend = el("ul", { class: "legend" }, el("li", {}, el("i", { class: "answered" }), text("successOutcome")), sums.map(([name, sum]) => el("li", {}, el("i", { class: name }), `${text(name)} ${count(sum)}`)));
  const told = (index) => [`${rate(totals[index])}/s`, ...ERRORS.filter((name) => at(name, index)).map((name) => `${text(name)} ${at(name, index)}`)].join(" · ");
  return el("figure", {}, el("figcaption", {}, text("calls")), pointed(node, past, width, height, told), legend);
}

export function latencyChart(past, width) {
  const bounds = past.latency_le_ms;
  const points = past.retries.length;
  const used = bounds.map((_, cell) => past.latency_counts.some((counts) => counts?.[cell]));
  const low = Math.max(0, used.indexOf(true) - 1);
  const high = Math.min(bounds.length - 1, used.lastIndexOf(true) + 1);
  if (!used.includes(true)) return el("figure", {}, el("figcaption", {}, text("latency")), el("p", { class: "quiet" }, text("none")));
  const cells = high - low + 1;
  const height = Math.max(80, cells * 11);
  const tall = height / cells;
  let most = 1;
  for (const counts of past.latency_counts) for (const value of counts ?? []) most = Math.max(most, value);
  const upper = (cell) => (bounds[cell] === null ? "∞" : ms(bounds[cell]));
  const [node, step] = frame(past, width, height, text("latency"), `${upper(low)}–${upper(high)} ms, ${text("most")} ${most}`);
  const paths = Array.from({ length: HEAT_LEVELS }, () => "");
  for (let index = 0; index < points; index += 1) {
    const counts = past.latency_counts[index];
    if (!counts) continue;
    for (let cell = low; cell <= high; cell += 1) {
      if (!counts[cell]) continue;
      // By the logarithm: the one slow call in a thousand is what is looked for.
      const heat = Math.min(HEAT_LEVELS - 1, Math.floor((Math.log1p(counts[cell]) / Math.log1p(most)) * HEAT_LEVELS));
      paths[heat] += `M${(LEFT + index * step).toFixed(1)} ${(height - (cell - low + 1) * tall).toFixed(1)}h${(step + 0.2).toFixed(2)}v${tall.toFixed(1)}h-${(step + 0.2).toFixed(2)}z`;
    }
  }
  paths.forEach((d, heat) => d && node.append(svg("path", { class: `heat heat${heat}`, d })));
  for (let cell = low; cell < high; cell += Math.ceil(cells / 6)) node.append(svg("text", { x: LEFT - 5, y: height - (cell - low + 1) * tall + 4, "text-anchor": "end", class: "tick" }, `${upper(cell)}`));
  const told = (index) => (past.latency_counts[index] ?? []).flatMap((value, cell) => (value ? [`≤${upper(cell)} ms: ${value}`] : [])).join(" · ");
  return el("figure", {}, el("figcaption", {}, `${text("latency")}, ms`), pointed(node, past, width, height, told));
}

export function circuitChart(past, width) {
  const height = 16;
  const { open, half_open: half, closed } = past.instances;
  const points = past.retries.length;
  const most = Math.max(...open.map((value) => value ?? 0));
  const [node, step] = frame(past, width, height, text("circuit"), most ? `${text("open")}: ${text("most")} ${most}` : text("closed"));
  const paths = { open: "", "half-open": "", closed: "" };
  for (let index = 0; index < points; index += 1) {
    const kind = open[index] ? "open" : half[index] ? "half-open" : closed[index] ? "closed" : null;
    if (kind) paths[kind] += `M${(LEFT + index * step).toFixed(1)} ${kind === "open" ? 0 : kind === "half-open" ? 5 : 11}h${(step + 0.2).toFixed(2)}V16h-${(step + 0.2).toFixed(2)}z`;
  }
  for (const [kind, d] of Object.entries(paths)) if (d) node.append(svg("path", { class: `band ${kind}`, d }));
  const told = (index) => `${open[index]} ${text("open")}, ${half[index]} ${text("half-open")}, ${closed[index]} ${text("closed")}`;
  return el("figure", {}, el("figcaption", {}, text("circuit")), pointed(node, past, width, height, told));
}
