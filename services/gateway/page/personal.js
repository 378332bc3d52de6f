// One person's day: what is to be done, and where their open leads are.
import { ring } from "./charts.js";
import { el } from "./elements.js";
import { href, where } from "./route.js";
import { count, moment, percent, points, stage, text } from "./words.js";

const STAGES = ["new", "contacted", "qualified"];
const LEVELS = 5;
const VIEWS = ["industry-stage", "amount-stage", "industry-amount"];

export function personalBoard(board, place) {
  const due = board.actions.length - board.actions.filter((each) => each.overdue).length;
  const figure = (title, value, level = "") => el("li", { class: "tile" }, el("div", {}, el("h2", {}, title), el("p", { class: "figure" }, el("strong", { class: level }, count(value)))));
  return [
    el("ul", { class: "tiles" }, figure(text("overdue"), board.overdue, board.overdue ? "bad" : "good"), figure(text("dueToday"), due), figure(text("open"), board.open_leads),
      el("li", { class: "tile gauge" }, el("div", {}, el("h2", {}, text("onTime30")), ring(board.timeliness.on_time, null), el("p", { class: "figure" }, el("strong", {}, percent(board.timeliness.on_time))),
        el("p", { class: "quiet" }, `${count(board.timeliness.on_time.met)} / ${count(board.timeliness.on_time.of)}`),
        el("p", { class: "quiet" }, `${text("points")} ${points(board.timeliness)} / ${Math.round(100 * board.measures.on_time_weight)}`)))),
    el("div", { class: "columns" }, actions(board), heat(board, place)),
  ];
}

function actions(board) {
  const line = (each) => el("li", { class: each.overdue ? "overdue" : "" },
    el("span", { class: "when" }, each.overdue && el("b", { class: "mark" }, text("overdue")), moment(each.due_at, board.time_zone)),
    el("span", { class: "name" }, each.action ?? text("claim")), el("span", { class: "quiet" }, [each.company, each.name, stage(each.stage)].filter(Boolean).join(" · ")));
  return el("section", { "aria-labelledby": "actions-title" }, el("h2", { id: "actions-title" }, `${text("actions")} · ${count(board.actions.length)}`),
    board.actions.length ? el("ol", { class: "actions" }, board.actions.map(line)) : el("p", { class: "empty good" }, text("nothingDue")));
}

function heat(board, place) {
  const view = VIEWS.includes(place.heat) ? place.heat : VIEWS[0];
  const [down, across] = view.split("-");
  const values = (axis) => (axis === "stage" ? STAGES : axis === "amount" ? board.amounts : [...new Set(board.cells.map((cell) => cell.industry))]);
  const cells = new Map();
  for (const cell of board.cells) {
    const key = `${cell[down]}\n${cell[across]}`;
    const sum = cells.get(key) ?? { leads: 0, overdue: 0 };
    cells.set(key, { leads: sum.leads + cell.leads, overdue: sum.overdue + cell.overdue });
  }
  const most = Math.max(1, ...[...cells.values()].map((cell) => cell.leads));
  const said = (axis, value) => (axis === "stage" ? stage(value) : text(value));
  const square = (row, column) => {
    const cell = cells.get(`${row}\n${column}`);
    if (!cell) return el("td", { class: "heat0" }, el("span", { class: "hidden" }, "0"));
    const label = `${count(cell.leads)}${cell.overdue ? `, ${text("overdue")} ${count(cell.overdue)}` : ""}`;
    return el("td", { class: `heat${Math.ceil((LEVELS * cell.leads) / most)}`, title: label }, count(cell.leads), cell.overdue ? el("b", { class: "mark" }, el("span", { class: "hidden" }, `${text("overdue")} `), count(cell.overdue)) : null);
  };
  return el("section", { "aria-labelledby": "heat-title" }, el("h2", { id: "heat-title" }, text("heat")),
    el("p", { class: "chips", role: "group", "aria-label": text("by") }, VIEWS.map((each) => el("a", { class: "chip", href: href({ ...where(), heat: each }), "aria-current": each === view ? "true" : null }, text(each)))),
    board.cells.length ? el("div", { class: "scroll", tabindex: 0, role: "group", "aria-labelledby": "heat-title" }, el("table", { class: "heat" },
      el("thead", {}, el("tr", {}, el("td"), values(across).map((column) => el("th", { scope: "col" }, said(across, column))))),
      el("tbody", {}, values(down).map((row) => el("tr", {}, el("th", { scope: "row" }, said(down, row)), values(across).map((column) => square(row, column))))))) : el("p", { class: "empty" }, text("none")));
}
