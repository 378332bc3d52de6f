// The first thing that is read: how things stand, how old that is, and what is to be looked at, by number.
import { $, el, mark, write } from "./elements.js";
import { age, known, levelOf, RANK } from "./feed.js";
import { count, duration } from "./figures.js";
import { href, where } from "./route.js";
import { text } from "./words.js";

const LEVELS = Object.keys(RANK);

function tally() {
  const found = Object.fromEntries(LEVELS.map((level) => [level, 0]));
  for (const row of known.rows.values()) found[levelOf(row)] += 1;
  return found;
}

function judge(found) {
  const bad = found.open + found["half-open"];
  const silent = found.unknown + found.partial;
  if (known.old || known.rows.size === 0) return ["unknown", `? ${text("nothing")}`];
  if (bad) return ["open", `✕ ${bad} ${text("notClosed")}`];
  const said = [silent && `${silent} ${text("silent")}`, found.forced && `${found.forced} ${text("overridden")}`].filter(Boolean);
  return said.length ? ["forced", `◆ ${said.join(", ")}`] : ["closed", `✓ ${text("allClosed")}`];
}

const sum = (figure) => known.backlogs.filter((each) => each.figure === figure).reduce((total, each) => total + each.value, 0);
const most = (figure) => Math.max(0, ...known.backlogs.filter((each) => each.figure === figure).map((each) => each.value));

function chip(place, level, number, label, pressed) {
  return el("a", { class: `chip ${number ? level : "calm"}`, href: href(place), "aria-current": pressed ? "true" : null }, el("b", {}, `${number}`), ` ${label}`);
}

let drawn = "";

function paintChips(found) {
  const here = where();
  const edges = !here.view;
  const q = here.q;
  const parts = LEVELS.filter((level) => found[level] || ["open", "unknown"].includes(level)).map((level) => [
    { q, level: here.level === level ? "" : level }, level, count(found[level]), text(level), edges && here.level === level,
  ]);
  parts.push([{ view: "waiting" }, sum("dead_letters") ? "forced" : "calm", count(sum("dead_letters")), text("deadLettersShort"), false]);
  parts.push([{ view: "waiting" }, sum("outbox_pending") > 100 ? "forced" : "calm", count(sum("outbox_pending")), text("outboxShort"), false]);
  parts.push([{ view: "waiting" }, most("timer_lag_seconds") > 60 ? "forced" : "calm", duration(most("timer_lag_seconds")), text("timersShort"), false]);
  const words = JSON.stringify(parts);
  if (words === drawn) return;
  drawn = words;
  $("chips").replaceChildren(...parts.map((part) => el("li", {}, chip(...part))));
}

export function paintVerdict(changed) {
  const found = tally();
  const [level, words] = judge(found);
  mark($("verdict"), "data-level", level);
  write($("verdict"), words);
  if (changed.has("second") || changed.has("rows") || changed.has("all") || changed.has("backlogs")) paintChips(found);
  const seconds = age() / 1000;
  const old = known.old;
  $("freshness").classList.toggle("late", old);
  write($("freshness"), Number.isFinite(seconds) ? `${text("asOf")} ${seconds.toFixed(0)} s ${text("old")}` : text("waitingForData"));
  document.body.classList.toggle("old", old);
  const title = `${words} · Breakwater`;
  if (document.title !== title) document.title = title;
}
