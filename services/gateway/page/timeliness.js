// 线索时效看板: figures, teams, who is late, which leads were lost. Every figure is a link to the leads behind it.
import { bar, ring, spread } from "./charts.js";
import { el } from "./elements.js";
import { href } from "./route.js";
import { count, long, percent, points, text } from "./words.js";

export function timelinessBoard(board, place) {
  const days = { from: board.from, to: board.to, team_id: place.team_id, owner_id: place.owner_id };
  const behind = (figure, more = {}) => href({ view: "leads", ...days, ...more, figure });
  if (!board.total.leads && !board.lost.leads && !board.unassigned) return [el("p", { class: "empty" }, text("noLeads"))];
  return [tiles(board, behind), el("div", { class: "columns" }, teams(board, days, behind), late(board, days, behind)), lost(board, behind), people(board, days, behind)];
}

function tiles({ total, unassigned, lost: gone, measures }, behind) {
  const minutes = measures.assigned_within_s / 60;
  const hours = measures.contact_within_s / 3_600;
  const english = document.documentElement.lang === "en";
  const within = (number, words) => (english ? `< ${number} ${words}` : `${number} ${words}`);
  return el("ul", { class: "tiles" },
    tile(text("first"), behind("responded"), [el("strong", {}, long(total.business?.mean_s)), el("small", {}, text("businessTime"))],
      `${text("median")} ${long(total.business?.p50_s)} · P90 ${long(total.business?.p90_s)}`, `${text("wallTime")} ${long(total.wall?.mean_s)} · P90 ${long(total.wall?.p90_s)}`, "wide"),
    gauge(text("onTime"), behind("late"), total.on_time, null, `${text("late")} ${count(total.late)}`, `${text("weight")} ${Math.round(100 * measures.on_time_weight)}%`),
    gauge(within(minutes, text("assigned")), behind("assigned_late"), total.assigned_in_time, measures.assigned_share_min),
    gauge(within(hours, text("contacted")), behind("contacted_late"), total.contacted_in_time, measures.contact_share_min),
    tile(english ? `> ${measures.unassigned_after_s / 3_600} ${text("unassigned")}` : `${measures.unassigned_after_s / 3_600} ${text("unassigned")}`, behind("unassigned"),
      [el("strong", { class: unassigned ? "bad" : "good" }, count(unassigned))], text("unassignedNote")),
    tile(text("leads"), behind("leads"), [el("strong", {}, count(total.leads))], `${text("responded")} ${count(total.responded)}`),
    tile(text("lost"), behind("lost"), [el("strong", {}, count(gone.leads))]));
}

function tile(title, link, figure, ...notes) {
  const wide = notes.at(-1) === "wide" && notes.pop();
  return el("li", { class: wide ? "tile wide" : "tile" }, el("a", { href: link }, el("h2", {}, title), el("p", { class: "figure" }, figure), notes.map((note) => el("p", { class: "quiet" }, note))));
}

function gauge(title, link, share, goal, ...notes) {
  const counts = `${count(share.met)} / ${count(share.of)}`;
  const goals = goal === null ? [] : [`${text("goal")} ${Math.round(100 * goal)}%`];
  return el("li", { class: "tile gauge" }, el("a", { href: link }, el("h2", {}, title), ring(share, goal),
    el("p", { class: "figure" }, el("strong", {}, percent(share))), [counts, ...goals, ...notes].map((note) => el("p", { class: "quiet" }, note))));
}

function teams(board, days, behind) {
  const most = Math.max(...board.teams.map((team) => Math.max(team.business?.p90_s ?? 0, team.business?.mean_s ?? 0)));
  const row = (team) => el("tr", {},
    el("th", { scope: "row" }, team.id ? el("a", { href: href({ ...days, team_id: team.id }) }, team.name) : text("noTeam")),
    el("td", { class: "number" }, count(team.leads)),
    el("td", { class: "drawn" }, spread(team.business, most)),
    el("td", { class: "number" }, long(team.business?.mean_s)),
    el("td", { class: "number quiet" }, long(team.wall?.mean_s)),
    el("td", { class: "number" }, percent(team.on_time)),
    el("td", { class: "number" }, team.id && team.late ? el("a", { class: "bad", href: behind("late", { team_id: team.id }) }, count(team.late)) : count(team.late)));
  return el("section", { "aria-labelledby": "teams-title" }, el("h2", { id: "teams-title" }, text("teams")),
    el("div", { class: "scroll", tabindex: 0, role: "group", "aria-labelledby": "teams-title" }, el("table", {},
      el("thead", {}, el("tr", {}, head(text("team")), head(text("leads"), "number"), head(text("spread")), head(text("businessTime"), "number"), head(text("wallTime"), "number"), head(text("onTime"), "number"), head(text("late"), "number"))),
      el("tbody", {}, board.teams.map(row)))));
}

const head = (words, kind = "") => el("th", { scope: "col", class: kind }, words);

function late(board, days, behind) {
  const most = Math.max(1, ...board.late.map((each) => each.late));
  const names = Object.fromEntries(board.teams.map((team) => [team.id, team.name]));
  return el("section", { "aria-labelledby": "late-title" }, el("h2", { id: "late-title" }, text("lateTop")),
    board.late.length ? el("ol", { class: "late" }, board.late.map((each) => el("li", {}, el("a", { href: behind("late", { owner_id: each.id }) },
      el("span", { class: "name" }, each.name), el("span", { class: "quiet" }, names[each.team_id] ?? ""), el("strong", { class: "bad" }, `${count(each.late)} ${text("each")}`),
      bar(each.late, most, "bad"), el("span", { class: "quiet" }, `${text("onTime")} ${percent(each.on_time)} · ${text("mean")} ${long(each.business?.mean_s)}`)))))
      : el("p", { class: "empty good" }, text("nobodyLate")));
}

function lost(board, behind) {
  const profile = board.lost;
  const part = (kind, values) => {
    const most = Math.max(1, ...values.map((each) => each.leads));
    return el("div", {}, el("h3", {}, text(kind)), el("ul", { class: "bars" }, values.map((each) => {
      const line = [el("span", { class: "name" }, text(each.value)), bar(each.leads, most), el("span", { class: "number" }, count(each.leads))];
      // Others are several values: no one filter names them.
      return el("li", {}, each.leads && each.value !== "其他" ? el("a", { href: behind("lost", { [kind]: each.value }) }, line) : el("span", { class: "line" }, line));
    })));
  };
  return el("section", { "aria-labelledby": "lost-title" }, el("h2", { id: "lost-title" }, `${text("lostTitle")} · ${count(profile.leads)}`),
    profile.leads ? el("div", { class: "columns three" }, part("industry", profile.by_industry), part("source", profile.by_source), part("dwell", profile.by_dwell)) : el("p", { class: "empty good" }, text("noLost")));
}

function people(board, days, behind) {
  const row = (each) => el("tr", {},
    el("th", { scope: "row" }, el("a", { href: href({ view: "personal", person_id: each.id }) }, each.name)),
    el("td", { class: "number" }, el("a", { href: behind("leads", { owner_id: each.id }) }, count(each.leads))),
    el("td", { class: "number" }, count(each.responded)), el("td", { class: "number" }, long(each.business?.mean_s)), el("td", { class: "number" }, long(each.business?.p90_s)),
    el("td", { class: "number" }, percent(each.on_time)), el("td", { class: "number" }, points(each)), el("td", { class: "number" }, each.late ? el("a", { class: "bad", href: behind("late", { owner_id: each.id }) }, count(each.late)) : "0"));
  return el("section", {}, el("details", {}, el("summary", {}, el("h2", { id: "people-title" }, `${text("people")} · ${count(board.people.length)}`)),
    el("div", { class: "scroll", tabindex: 0, role: "group", "aria-labelledby": "people-title" }, el("table", {},
      el("thead", {}, el("tr", {}, head(text("person")), head(text("leads"), "number"), head(text("responded"), "number"), head(text("mean"), "number"), head("P90", "number"), head(text("onTime"), "number"), head(`${text("points")} / ${Math.round(100 * board.measures.on_time_weight)}`, "number"), head(text("late"), "number"))),
      el("tbody", {}, board.people.map(row))))));
}
