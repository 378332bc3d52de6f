// Whose error budget is being spent: what Prometheus tells of journeys. What it does not tell is not said to be well.
import { $, el, write } from "./elements.js";
import { known, onChange, redraw } from "./feed.js";
import { shortClock, since } from "./figures.js";
import { href } from "./route.js";
import { text } from "./words.js";
import { ask, ProblemError } from "./asks.js";

const AGAIN_MS = 5000;
let firing = [];
let looked = null;
let drawn = "";

function item({ name, severity, labels, since: from }) {
  const critical = severity === "critical";
  return el(
    "li",
    {},
    el("span", { class: `badge ${critical ? "open" : "half-open"}` }, `▲ ${text(`journey-${labels.journey}`)}`),
    ` ${text(critical ? "budgetBurning" : "budgetLeaking")} `,
    el("span", { class: "quiet" }, `${shortClock(from)} · ${text("sinceWord")} `, el("span", { class: "since", "data-at": from }, since(from))),
    " ",
    el("a", { href: href({ view: "runbook", name }) }, text("runbook")),
  );
}

async function look() {
  try {
    firing = (await ask("/v1/alerts")).items.filter((alert) => alert.labels.journey);
    redraw("journeys");
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    setTimeout(look, AGAIN_MS);
  }
}

export function paintJourneys(changed) {
  const words = JSON.stringify([firing, document.documentElement.lang]);
  if (words !== drawn) {
    drawn = words;
    $("journeys").hidden = firing.length === 0;
    $("journeys").querySelector("ul").replaceChildren(...firing.map(item));
  }
  if (changed.has("second")) for (const node of $("journeys").querySelectorAll(".since")) write(node, since(node.dataset.at));
}

// An alert that begins or ends stands on the timeline, which the stream brings at once.
export function startJourneys() {
  onChange(() => {
    const newest = known.timeline.find((entry) => entry.kind.startsWith("alert_"))?.id ?? "";
    if (!known.heardAt || newest === looked) return;
    looked = newest;
    look();
  });
}
