// Open incidents above everything else: what broke first, whom it hurts, what changed before, and what to press.
import { $, el, write } from "./elements.js";
import { known } from "./feed.js";
import { count, shortClock, since } from "./figures.js";
import { href } from "./route.js";
import { language, text } from "./words.js";
import { acknowledge, openHandOver, openOverride } from "./actions.js";
import { fitting, isAnswered, openPlaybook } from "./playbooks.js";

const LISTED = 3;

function listed(names) {
  const more = names.length > LISTED ? [` +${names.length - LISTED}`] : [];
  return [...names.slice(0, LISTED).flatMap((name, index) => (index ? [", ", name] : [name])), ...more];
}

function edgeLink(key) {
  const [caller, dependency] = key.split(">");
  return el("a", { href: href({ view: "edge", caller, dependency }) }, `${caller} → ${dependency}`);
}

function facts(incident) {
  const said = [];
  const add = (name, ...content) => said.push(el("div", {}, el("dt", {}, text(name)), el("dd", {}, content)));
  const impact = [
    incident.journeys.length && incident.journeys.map((name) => text(`journey-${name}`)).join(", "),
    incident.failed && `${count(incident.failed)} ${text("failedRequests")}`,
    incident.degraded && `${count(incident.degraded)} ${text("degradedRequests")}`,
  ].filter(Boolean);
  add("hurts", impact.length ? impact.join(" · ") : incident.callers.join(", "));
  add("rootCause", listed(incident.roots.map(edgeLink)));
  if (incident.symptoms.length) add("symptoms", listed(incident.symptoms.map(edgeLink)));
  if (incident.changes.length) add("changes", incident.changes[0]);
  if (incident.owner) add("owner", incident.owner);
  return said;
}

// The server says it in English; what it is made of is said in the reader's language.
function titleOf(incident) {
  if (language() === "en") return incident.title;
  const where = incident.locus === "remote" ? incident.dependency : `${incident.caller} → ${incident.dependency}`;
  return `${where} ${text(`fault-${incident.fault}`)}`;
}

function card(incident) {
  const root = { caller: incident.caller, dependency: incident.dependency };
  // What mitigates it stands first: a playbook that fits, else what the runbook says.
  const ready = fitting(incident);
  const runbook = el("a", { class: ready.length ? "button" : "button primary", href: href({ view: "runbook", name: incident.alert }) }, text("runbook"));
  const buttons = isAnswered(incident) ? [
    ...ready.map((playbook, index) => el("button", { type: "button", class: index ? null : "primary", onclick: () => openPlaybook(playbook, incident) }, `▶ ${playbook.title}`)),
    ...(ready.length ? [] : [runbook]),
    incident.acknowledged_by
      ? el("span", { class: "in-hand" }, `✓ ${text("acknowledgedBy")} ${incident.acknowledged_by}`)
      : el("button", { type: "button", onclick: () => acknowledge(incident) }, text("acknowledge")),
    el("button", { type: "button", onclick: () => openOverride(root, { mode: "fallback", reason: incident.id }) }, text("fallback")),
    el("button", { type: "button", onclick: () => openHandOver(incident) }, text("handOver")),
    ...(ready.length ? [runbook] : []),
    el("a", { class: "button", href: href({ view: "report", name: incident.id }) }, text("report")),
  ] : [];
  return el(
    "li",
    { class: "incident", "data-id": incident.id, "data-alert": incident.alert },
    el("div", { class: "what" },
      el("span", { class: "badge open" }, `✕ ${text(`fault-${incident.fault}`)}`),
      el("h3", {}, titleOf(incident)),
      el("span", { class: "quiet" }, `${shortClock(incident.opened_at)} · ${text("sinceWord")} `, el("span", { class: "since", "data-at": incident.opened_at }, since(incident.opened_at))),
    ),
    el("dl", {}, facts(incident)),
    el("div", { class: "do" }, buttons),
  );
}

let drawn = "";

export function paintIncidents(changed) {
  const words = JSON.stringify([known.incidents, known.incidents.map(isAnswered), known.incidents.map(fitting), document.documentElement.lang]);
  if (words !== drawn && (changed.has("incidents") || changed.has("all"))) {
    drawn = words;
    // A button that is in use must not vanish under the finger.
    const held = document.activeElement?.closest?.(".incident")?.dataset.id;
    const what = document.activeElement?.textContent;
    $("incidents").hidden = known.incidents.length === 0;
    $("incidents").querySelector("ol").replaceChildren(...known.incidents.map(card));
    const buttons = held ? [...$("incidents").querySelectorAll(`[data-id="${CSS.escape(held)}"] .do > *`)] : [];
    (buttons.find((button) => button.textContent === what) ?? buttons[0])?.focus();
  }
  if (changed.has("second")) for (const node of $("incidents").querySelectorAll(".since")) write(node, since(node.dataset.at));
}
