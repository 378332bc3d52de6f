// What waits: outboxes, streams and timers with the age of each figure, and dead letters with their replay.
import { $, el } from "./elements.js";
import { age, known } from "./feed.js";
import { count, date, duration } from "./figures.js";
import { text } from "./words.js";
import { ask, ProblemError } from "./asks.js";
import { say, trying } from "./actions.js";

const LATE_S = 15; // a figure found longer ago is unknown; streams tell theirs with each delivery only
const AGAIN_MS = 5000;
let timer = null;

function figure(each, unit) {
  const aged = each.age_s + age() / 1000;
  const late = aged > LATE_S && each.figure !== "consumer_lag";
  const value = unit === "s" ? duration(each.value) : count(each.value);
  return el("li", { class: late ? "late" : "" }, each.of && el("span", { class: "quiet" }, `${each.of} `), late ? `? ${text("unknown")} ` : el("b", {}, value), aged > LATE_S ? el("small", { class: "quiet" }, ` ${text("ageOf")} ${duration(aged)} ${text("ago")}`) : null);
}

function backlogTable() {
  const columns = [["outbox_pending", "outbox", ""], ["outbox_oldest_age_seconds", "oldest", "s"], ["consumer_lag", "streams", ""], ["timer_lag_seconds", "timers", "s"], ["dead_letters", "deadLetters", ""]];
  const processes = [...new Set(known.backlogs.map((each) => `${each.process} ${each.instance}`))];
  return el("table", { class: "cards" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, text("process")), columns.map(([, name]) => el("th", { scope: "col" }, text(name))))),
    el("tbody", {}, processes.map((process) => {
      const [name, instance] = process.split(" ");
      const mine = known.backlogs.filter((each) => each.instance === instance && each.process === name);
      return el("tr", {}, el("th", { scope: "row" }, name, " ", el("small", { class: "quiet" }, instance)), columns.map(([figureName, label, unit]) => {
        const found = mine.filter((each) => each.figure === figureName);
        return el("td", { "data-label": text(label) }, found.length ? el("ul", { class: "plain" }, found.map((each) => figure(each, unit))) : "–");
      }));
    })));
}

export function paintWaiting(changed) {
  if ($("view-waiting").hidden || !(changed.has("backlogs") || changed.has("all"))) return;
  $("backlogs").replaceChildren(known.backlogs.length ? backlogTable() : el("p", { class: "quiet" }, text("noBacklogs")));
}

async function replay(letter) {
  const done = await trying(() => ask(`/v1/dead-letters/${letter.seq}/replay`, { method: "POST" }));
  if (done) say(`${text("replayed")}: ${done.type} ${done.subject_id}`);
  await refresh();
}

function letterTable(letters) {
  return el("table", { class: "cards" }, el("thead", {}, el("tr", {}, ["failedAt", "givenUpBy", "event", "about", "tries", "reason", "replay"].map((name) => el("th", { scope: "col" }, text(name))))),
    el("tbody", {}, letters.map((letter) => el("tr", {},
      el("td", { "data-label": text("failedAt") }, date(letter.failed_at)), el("td", { "data-label": text("givenUpBy") }, letter.service), el("td", { "data-label": text("event") }, letter.type.split(".").at(-1)),
      el("td", { "data-label": text("about") }, letter.subject_id), el("td", { "data-label": text("tries") }, `${letter.deliveries}`), el("td", { "data-label": text("reason"), class: "long" }, letter.reason),
      el("td", {}, el("button", { type: "button", class: "small", "aria-label": `${text("replay")}: ${letter.seq}`, onclick: () => replay(letter) }, text("replay")))))));
}

async function refresh() {
  let content;
  try {
    const { items } = await ask("/v1/dead-letters?limit=100");
    content = items.length ? letterTable(items) : el("p", { class: "quiet" }, text("noDeadLetters"));
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    content = el("p", { class: "warn" }, `? ${text("deadLettersUnknown")} ${error.message}`);
  }
  if (!$("dead-letters").contains(document.activeElement)) $("dead-letters").replaceChildren(content);
}

export function showWaiting() {
  paintWaiting(new Set(["all"]));
  refresh();
  timer ??= setInterval(() => document.hidden || refresh(), AGAIN_MS);
}

export function hideWaiting() {
  clearInterval(timer);
  timer = null;
}
