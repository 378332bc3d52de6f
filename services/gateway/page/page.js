// The page: a board by its address, language and theme; everything else is in the boards.
import { ask } from "./ask.js";
import { $, el } from "./elements.js";
import { leadsList, queryOf } from "./leads.js";
import { personalBoard } from "./personal.js";
import { go, href, onMove, where } from "./route.js";
import { timelinessBoard } from "./timeliness.js";
import { language, moment, other, speak, text } from "./words.js";

const THEMES = ["auto", "dark", "light"];
const SPANS = { today: [0, 0], yesterday: [1, 1], days7: [6, 0], days30: [29, 0] };
const DAY_MS = 86_400_000;
let shown = null; // what was answered last, to be drawn anew in another language
let asked = 0;

const viewOf = (place) => (["personal", "leads"].includes(place.view) ? place.view : "timeliness");

async function load(place) {
  const view = viewOf(place);
  const mine = (asked += 1);
  dress(place);
  $("board").setAttribute("aria-busy", "true");
  let answer;
  if (view === "personal") answer = await ask("personal", { person_id: place.person_id });
  else if (view === "leads") answer = await ask("lead-timeliness/leads", queryOf(place));
  else answer = await ask("lead-timeliness", { from: place.from, to: place.to, team_id: place.team_id, owner_id: place.owner_id });
  if (mine !== asked) return; // one has moved on meanwhile
  shown = answer && { view, place, answer };
  paint();
}

function paint() {
  const board = $("board");
  board.setAttribute("aria-busy", "false");
  if (!shown) {
    board.replaceChildren();
    $("as-of").textContent = "";
    return;
  }
  const { view, place, answer } = shown;
  const zone = answer.time_zone ?? localStorage.getItem("zone") ?? "Asia/Shanghai";
  if (answer.time_zone) localStorage.setItem("zone", zone); // the lists behind a board show its zone
  const drawn = view === "personal" ? personalBoard(answer, place) : view === "leads" ? leadsList(answer, place, zone) : timelinessBoard(answer, place);
  const opened = board.querySelector("details")?.open;
  board.replaceChildren(...drawn);
  if (opened && board.querySelector("details")) board.querySelector("details").open = true;
  $("as-of").textContent = answer.as_of ? `${text("at")} ${moment(answer.as_of, zone)} (${zone})` : "";
  if (view === "personal") $("title").textContent = `${text("personal")} · ${answer.name}`;
  if (view === "timeliness") days(answer);
  document.title = `${$("title").textContent} · Breakwater`;
}

// The days that were meant, also where the address names none.
function days(board) {
  const form = $("days");
  form.elements.from.value = board.from;
  form.elements.to.value = board.to;
  const today = new Intl.DateTimeFormat("en-CA", { timeZone: board.time_zone, year: "numeric", month: "2-digit", day: "2-digit" }).format(new Date());
  const before = (count) => new Date(Date.parse(today) - count * DAY_MS).toISOString().slice(0, 10);
  const place = where();
  $("spans").replaceChildren(...Object.entries(SPANS).map(([name, [first, last]]) => {
    const [from, to] = [before(first), before(last)];
    return el("a", { class: "chip", href: href({ ...place, from, to }), "aria-current": from === board.from && to === board.to ? "true" : null }, text(name));
  }));
}

function dress(place = where()) {
  const view = viewOf(place);
  const theme = localStorage.getItem("theme") ?? "auto";
  document.documentElement.dataset.theme = theme;
  speak();
  $("theme").textContent = text(theme);
  $("theme").setAttribute("aria-label", `${text("theme")}: ${text(theme)}`);
  $("language").textContent = language() === "zh" ? "English" : "中文";
  $("language").lang = language() === "zh" ? "en" : "zh";
  for (const link of document.querySelectorAll("header nav a")) {
    const own = link.dataset.view === (view === "leads" ? "timeliness" : view);
    if (own) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  $("title").textContent = text(view === "leads" ? "leadsBehind" : view);
  $("days").hidden = view !== "timeliness";
  const whole = $("whole");
  whole.hidden = !place.team_id && !place.owner_id;
  whole.href = href({ ...place, team_id: "", owner_id: "" });
  whole.textContent = `✕ ${place.owner_id ?? place.team_id ?? ""} → ${text("everybody")}`;
}

$("days").addEventListener("submit", (event) => {
  event.preventDefault();
  const { from, to } = event.target.elements;
  go({ ...where(), from: from.value, to: to.value });
});
$("theme").addEventListener("click", () => {
  const theme = localStorage.getItem("theme") ?? "auto";
  localStorage.setItem("theme", THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]);
  dress();
  paint();
});
$("language").addEventListener("click", () => {
  other();
  dress();
  paint();
});
$("leave").addEventListener("click", async () => {
  await fetch("/boards/session", { method: "DELETE" }).catch(() => null);
  location.reload();
});
onMove((place) => {
  load(place);
  $("main").focus({ preventScroll: true });
});
load(where());
