// Who calls whom: columns by depth, worst edges on top of the others. Each edge is a link to its figures.
import { $, el, svg, write } from "./elements.js";
import { known, levelOf, RANK } from "./feed.js";
import { count, percent } from "./figures.js";
import { go, href, where } from "./route.js";
import { text } from "./words.js";
import { badgeOf } from "./list.js";

const EDGES_MAX = 150; // more lines are no picture; the worst are drawn
const NODE = { width: 132, height: 40 };
const GAP = { x: 130, y: 30 };
const PASS = 22; // what an edge takes of a column it passes
const MARKS = { open: "✕", "half-open": "◐", unknown: "?", forced: "◆", partial: "◌" };

function chosen() {
  const { q = "", ops } = where();
  const wanted = q.toLowerCase();
  const rows = [...known.rows.values()].filter((row) => (ops || row.caller !== "ops") && `${row.caller} ${row.dependency}`.toLowerCase().includes(wanted));
  rows.sort((a, b) => RANK[levelOf(a)] - RANK[levelOf(b)] || (b.error_rate ?? 0) - (a.error_rate ?? 0) || (a.key < b.key ? -1 : 1));
  return [rows.slice(0, EDGES_MAX), Math.max(0, rows.length - EDGES_MAX)];
}

// The longest way from a caller that nobody calls; a circle is cut where it closes.
function depths(rows) {
  const callees = new Map();
  for (const { caller, dependency } of rows) {
    if (!callees.has(caller)) callees.set(caller, []);
    if (!callees.has(dependency)) callees.set(dependency, []);
    callees.get(caller).push(dependency);
  }
  const called = new Set(rows.map((row) => row.dependency));
  const depth = new Map();
  const visit = (name, at, way) => {
    if (way.has(name) || at <= (depth.get(name) ?? -1)) return;
    depth.set(name, at);
    way.add(name);
    for (const next of callees.get(name)) visit(next, at + 1, way);
    way.delete(name);
  };
  const names = [...callees.keys()].sort();
  for (const name of names) if (!called.has(name)) visit(name, 0, new Set());
  for (const name of names) if (!depth.has(name)) visit(name, 0, new Set());
  return depth;
}

// Where an edge passes a column it keeps a place free there, so that no line runs under a node.
function withPasses(rows, depth) {
  const columns = [];
  const links = [];
  for (const [name, at] of depth) (columns[at] ??= []).push(name);
  for (const row of rows) {
    const [from, to] = [depth.get(row.caller), depth.get(row.dependency)];
    const way = [row.caller];
    for (let at = from + 1; at < to; at += 1) {
      const pass = `${row.key}#${at}`;
      columns[at].push(pass);
      way.push(pass);
    }
    way.push(row.dependency);
    row.way = way;
    for (let index = 1; index < way.length; index += 1) links.push([way[index - 1], way[index]]);
  }
  return { columns, links };
}

// Each column is ordered by the mean place of what it is tied to, a few times over.
function layout(rows) {
  const { columns, links } = withPasses(rows, depths(rows));
  const place = new Map();
  const near = new Map();
  for (const [from, to] of links) {
    if (!near.has(from)) near.set(from, []);
    if (!near.has(to)) near.set(to, []);
    near.get(from).push(to);
    near.get(to).push(from);
  }
  const number = (names) => names.forEach((name, index) => place.set(name, (index + 0.5) / names.length));
  for (const names of columns) number(names.sort());
  for (let round = 0; round < 8; round += 1) {
    for (const names of round % 2 ? [...columns].reverse() : columns) {
      const mean = new Map(names.map((name) => [name, near.get(name).reduce((sum, other) => sum + place.get(other), 0) / near.get(name).length]));
      number(names.sort((a, b) => mean.get(a) - mean.get(b) || (a < b ? -1 : 1)));
    }
  }
  const isPass = (name) => name.includes("#");
  const tall = (names) => names.reduce((sum, name) => sum + (isPass(name) ? PASS : NODE.height + GAP.y), 0);
  const height = Math.max(...columns.map(tall)) + GAP.y;
  const at = new Map();
  columns.forEach((names, column) => {
    const spread = (height - GAP.y) / tall(names);
    let y = GAP.y / 2;
    for (const name of names) {
      const own = spread * (isPass(name) ? PASS : NODE.height + GAP.y);
      at.set(name, { x: 20 + column * (NODE.width + GAP.x), y: y + own / 2 });
      y += own;
    }
  });
  return { at, width: columns.length * (NODE.width + GAP.x) - GAP.x + 40, height };
}

function pathOf(way, at) {
  let [x, y] = [at.get(way[0]).x + NODE.width, at.get(way[0]).y];
  let d = `M${x} ${y.toFixed(1)}`;
  const through = (toX, toY) => {
    const bend = (toX - x) / 2;
    d += `C${x + bend} ${y.toFixed(1)} ${toX - bend} ${toY.toFixed(1)} ${toX} ${toY.toFixed(1)}`;
    [x, y] = [toX, toY];
  };
  for (const name of way.slice(1)) {
    const to = at.get(name);
    through(to.x, to.y);
    if (name.includes("#")) d += `H${(x = to.x + NODE.width)}`;
  }
  return d;
}

function edgeOf(row, at) {
  const level = levelOf(row);
  const [, label] = badgeOf(row);
  const said = `${row.caller} → ${row.dependency}: ${label}, ${count(row.rate_per_s)}/s, ${percent(row.availability)}`;
  const d = pathOf(row.way, at);
  const link = svg("a", { href: href({ view: "edge", caller: row.caller, dependency: row.dependency }), class: `link ${level}`, "aria-label": said },
    svg("title", {}, said),
    svg("path", { class: "reach", d }),
    svg("path", { class: "line", d, "stroke-width": (1.4 + Math.min(3, Math.log10(1 + row.rate_per_s))).toFixed(1) }));
  if (MARKS[level]) {
    // On the way in: there the edges to one dependency are told apart.
    const [before, after] = row.way.slice(-2).map((name) => at.get(name));
    const [x, y] = [(before.x + NODE.width + after.x) / 2, (before.y + after.y) / 2];
    link.append(svg("circle", { cx: x, cy: y, r: 10, class: "mark" }), svg("text", { x, y: y + 4.5, "text-anchor": "middle", class: "mark-text" }, MARKS[level]));
  }
  return link;
}

function nodeOf(name, { x, y }, rows) {
  const into = rows.filter((row) => row.dependency === name).map(levelOf);
  // One silent caller says nothing of the dependency; when all are silent it is unknown.
  const heard = into.filter((level) => level !== "unknown" && level !== "partial");
  const worst = heard.reduce((worse, level) => (RANK[level] < RANK[worse] ? level : worse), into.length && !heard.length ? "unknown" : "closed");
  return svg("g", { class: `node ${into.length ? worst : ""}`, transform: `translate(${x} ${y - NODE.height / 2})` },
    svg("rect", { width: NODE.width, height: NODE.height, rx: 8 }),
    svg("text", { x: NODE.width / 2, y: 25, "text-anchor": "middle" }, `${MARKS[worst] && into.length ? `${MARKS[worst]} ` : ""}${name}`));
}

let drawn = "";

export function paintGraph() {
  if ($("view-graph").hidden) return;
  const [rows, hidden] = chosen();
  const words = rows.map((row) => `${row.key}${levelOf(row)}${Math.round(Math.log10(1 + row.rate_per_s) * 4)}`).join() + document.documentElement.lang;
  if (words === drawn) return;
  drawn = words;
  write($("graph-hidden"), hidden ? `${hidden} ${text("hiddenEdges")}` : "");
  if (!rows.length) return $("graph").replaceChildren(el("p", { class: "quiet" }, text(known.rows.size ? "noMatch" : "empty")));
  const { at, width, height } = layout(rows);
  const held = document.activeElement?.closest?.("#graph a")?.getAttribute("href");
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "graph", role: "group", "aria-label": text("graphTitle") }, [...rows].reverse().map((row) => edgeOf(row, at)), [...at].filter(([name]) => !name.includes("#")).map(([name, place]) => nodeOf(name, place, rows)));
  picture.style.minWidth = `${Math.min(width, 700)}px`;
  picture.style.maxWidth = `${1.3 * width}px`;
  $("graph").replaceChildren(picture);
  if (held) picture.querySelector(`a[href="${CSS.escape(held)}"]`)?.focus();
}

$("graph-ops").addEventListener("change", (event) => go({ ...where(), ops: event.target.checked ? "1" : "" }, { quietly: true }));

export function showGraph() {
  $("graph-ops").checked = Boolean(where().ops);
  drawn = "";
  paintGraph();
}
