// Open incidents above everything else: what broke first, whom it hurts, what changed before, and what to press.
import { $, el, write } from "/ops/assets/elements.js";
import { known } from "/ops/assets/feed.js";
import { shortClock, since } from "/ops/assets/figures.js";
import { href } from "/ops/assets/route.js";
import { text } from "/ops/assets/words.js";
import { acknowledge, openOverride } from "/ops/assets/actions.js";

function facts(incident) {
  const said = [];
  const add = (name, words) => words && said.push(el("div", {}, el("dt", {}, text(name)), el("dd", {}, words)));
  add("hurts", incident.callers.join(", "));
  add("owner", incident.owner);
  return said;
}

function card(incident) {
  const root = { caller: incident.callers[0], dependency: incident.dependency };
  const buttons = [
    incident.acknowledged_by
      ? el("span", { class: "in-hand" }, `✓ ${text("acknowledgedBy")} ${incident.acknowledged_by}`)
      : el("button", { type: "button", class: "primary", onclick: () => acknowledge(incident) }, text("acknowledge")),
    el("button", { type: "button", onclick: () => openOverride(root, { mode: "fallback", reason: incident.id }) }, text("fallback")),
    el("a", { class: "button", href: href({ view: "edge", ...root }) }, text("show")),
  ];
  return el(
    "li",
    { class: "incident", "data-id": incident.id },
    el("div", { class: "what" },
      el("span", { class: "badge open" }, `✕ ${text("rootCause")}`),
      el("h3", {}, incident.title),
      el("span", { class: "quiet" }, `${shortClock(incident.opened_at)} · ${text("sinceWord")} `, el("span", { class: "since", "data-at": incident.opened_at }, since(incident.opened_at))),
    ),
    el("dl", {}, facts(incident)),
    el("div", { class: "do" }, buttons),
  );
}

let drawn = "";

export function paintIncidents(changed) {
  const words = JSON.stringify(known.incidents) + document.documentElement.lang;
  if (words !== drawn && (changed.has("incidents") || changed.has("all"))) {
    drawn = words;
    // A button that is in use must not vanish under the finger.
    const held = document.activeElement?.closest?.(".incident")?.dataset.id;
    $("incidents").hidden = known.incidents.length === 0;
    $("incidents").querySelector("ol").replaceChildren(...known.incidents.map(card));
    if (held) $("incidents").querySelector(`[data-id="${CSS.escape(held)}"] button`)?.focus();
  }
  if (changed.has("second")) for (const node of $("incidents").querySelectorAll(".since")) write(node, since(node.dataset.at));
}
