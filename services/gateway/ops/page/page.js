// The page: views by their address, the keyboard, language and theme; everything else is in the views.
import { $, isSeen, mark } from "./elements.js";
import { onChange, redraw } from "./feed.js";
import { go, href, onMove, where } from "./route.js";
import { language, other, speak, text } from "./words.js";
import { openOverride } from "./actions.js";
import { hideDetail, paintDetail, showDetail } from "./detail.js";
import { showReport, showRunbook } from "./documents.js";
import { paintGraph, showGraph } from "./graph.js";
import { paintIncidents } from "./incidents.js";
import { paintJourneys, startJourneys } from "./journeys.js";
import { focusedRow, focusRow, paintList, setFilter, walk } from "./list.js";
import { startPlaybooks } from "./playbooks.js";
import { paintTimeline, showTimeline } from "./timeline.js";
import { paintVerdict } from "./verdict.js";
import { hideWaiting, paintWaiting, showWaiting } from "./waiting.js";

const VIEWS = ["edges", "graph", "timeline", "waiting"];
const PLACES = [...VIEWS, "edge", "runbook", "report"];
const THEMES = ["auto", "dark", "light"];
let left = null; // the edge that was looked at last

const viewOf = (place) => (PLACES.includes(place.view) ? place.view : "edges");

function show(place) {
  const view = viewOf(place);
  const held = document.activeElement; // until something is hidden
  for (const each of PLACES) $(`view-${each}`).hidden = each !== view;
  for (const link of document.querySelectorAll("header nav a")) {
    const own = link.dataset.view === view || (view === "edge" && link.dataset.view === "edges");
    link.toggleAttribute("aria-current", own);
    if (own) link.setAttribute("aria-current", "page");
  }
  const filter = $(`filter-${view}`);
  if (filter && filter !== document.activeElement) filter.value = place.q ?? "";
  if (view !== "edge") hideDetail();
  if (view !== "waiting") hideWaiting();
  if (view === "edges") setFilter(place.q ?? "", place.level ?? "");
  if (view === "edge") showDetail(place);
  if (view === "graph") showGraph();
  if (view === "timeline") showTimeline();
  if (view === "waiting") showWaiting();
  if (view === "runbook") showRunbook(place);
  if (view === "report") showReport(place);
  redraw("rows", "all", "second");
  if (held !== document.body) settle(view, held);
  if (view === "edge") left = place;
}

// The keyboard goes on where one reads on, not nowhere, when what it was on is hidden: in the row that was left, or in the view.
function settle(view, held = document.activeElement) {
  if (held !== document.body && isSeen(held)) return;
  if (view !== "edges" || !left || !focusRow(left.caller, left.dependency)) $(`view-${view}`).focus({ preventScroll: true });
}

function dress() {
  const theme = localStorage.getItem("theme") ?? "auto";
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = text(theme);
  mark($("theme"), "aria-label", `${text("theme")}: ${text(theme)}`);
  $("language").textContent = language() === "zh" ? "English" : "中文";
  $("language").lang = language() === "zh" ? "en" : "zh";
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.matches("input, textarea, select") && isSeen(event.target);
  if (event.key === "Escape") {
    if (typing) event.target.blur();
    else if (where().view) go({});
    return;
  }
  const inList = event.target.closest?.("#edges");
  if (inList && ["ArrowDown", "ArrowUp"].includes(event.key)) {
    event.preventDefault();
    walk(event.key === "ArrowDown" ? 1 : -1);
    return;
  }
  if (typing || localStorage.getItem("keys") === "off") return;
  const act = {
    j: () => walk(1),
    k: () => walk(-1),
    o: () => openFocused(),
    "/": () => $(`filter-${where().view ?? "edges"}`)?.focus(),
    "?": () => $("help").showModal(),
    ...Object.fromEntries(VIEWS.map((view, index) => [`${index + 1}`, () => go(view === "edges" ? {} : { view })])),
  }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

function openFocused() {
  const { view, caller, dependency } = where();
  const row = view === "edge" ? { caller, dependency } : focusedRow();
  if (row) openOverride(row);
}

function draw(changed) {
  paintVerdict(changed);
  paintIncidents(changed);
  paintJourneys(changed);
  paintList(changed);
  if (!$("view-edge").hidden && (changed.has("all") || changed.has("rows"))) paintDetail();
  paintGraph();
  paintTimeline(changed);
  paintWaiting(changed);
}

for (const link of document.querySelectorAll("header nav a")) link.href = href(link.dataset.view === "edges" ? {} : { view: link.dataset.view });
for (const view of ["edges", "graph", "timeline"]) {
  $(`filter-${view}`).addEventListener("input", (event) => go({ ...where(), q: event.target.value }, { quietly: true }));
}
$("language").addEventListener("click", () => {
  other();
  speak();
  dress();
  show(where());
});
$("theme").addEventListener("click", () => {
  const theme = localStorage.getItem("theme") ?? "auto";
  localStorage.setItem("theme", THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]);
  dress();
});
$("keys").checked = localStorage.getItem("keys") !== "off";
$("keys").addEventListener("change", (event) => localStorage.setItem("keys", event.target.checked ? "on" : "off"));
$("help-open").addEventListener("click", () => $("help").showModal());
$("leave").addEventListener("click", async () => {
  await fetch("/ops/session", { method: "DELETE" });
  location.assign("/ops");
});
addEventListener("keydown", press);
for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("close", () => settle(viewOf(where())));

onChange(draw);
speak();
dress();
onMove(show);
startPlaybooks();
startJourneys();
