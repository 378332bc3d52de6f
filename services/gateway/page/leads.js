// The leads behind a figure, a page at a time.
import { ask } from "./ask.js";
import { el } from "./elements.js";
import { href } from "./route.js";
import { long, moment, stage, text } from "./words.js";

const ASKED = ["from", "to", "team_id", "owner_id", "figure", "industry", "source", "dwell"];

export const queryOf = (place) => Object.fromEntries(ASKED.filter((name) => place[name]).map((name) => [name, place[name]]));

export function leadsList(page, place, zone) {
  const back = { from: place.from, to: place.to, team_id: place.team_id, owner_id: place.owner_id };
  const body = el("tbody", {}, page.items.map((lead) => row(lead, zone)));
  const more = el("button", { type: "button", hidden: !page.next_cursor }, text("more"));
  let cursor = page.next_cursor;
  more.addEventListener("click", async () => {
    more.disabled = true;
    const next = await ask("lead-timeliness/leads", { ...queryOf(place), cursor });
    more.disabled = false;
    if (!next) return;
    cursor = next.next_cursor;
    more.hidden = !cursor;
    body.append(...next.items.map((lead) => row(lead, zone)));
  });
  const narrowed = ["industry", "source", "dwell"].filter((name) => place[name]).map((name) => ` · ${text(place[name])}`);
  const columns = ["lead", "owner", "captured", "due", "response", "stage", "source"];
  return [el("p", {}, el("a", { href: href(back) }, `← ${text("back")}`)),
    el("section", {}, el("h2", { id: "leads-title" }, text(`figure${place.figure}`), narrowed),
      page.items.length ? el("div", { class: "scroll", tabindex: 0, role: "group", "aria-labelledby": "leads-title" }, el("table", {}, el("thead", {}, el("tr", {}, columns.map((name) => el("th", { scope: "col" }, text(name))))), body)) : el("p", { class: "empty" }, text("noLeads")), more)];
}

function row(lead, zone) {
  const late = lead.due_at && (lead.responded_at ?? new Date().toISOString()) > lead.due_at;
  return el("tr", {}, el("th", { scope: "row" }, lead.name ?? el("i", { class: "quiet" }, text("moved")), lead.company && el("small", { class: "quiet" }, ` ${lead.company}`)),
    el("td", {}, lead.owner_name ?? text("noTeam")), el("td", {}, moment(lead.captured_at, zone)), el("td", {}, moment(lead.due_at, zone)),
    el("td", { class: late ? "bad" : "" }, lead.responded_at ? `${moment(lead.responded_at, zone)} · ${long(lead.business_s)}` : text("unanswered")),
    el("td", {}, stage(lead.stage)), el("td", {}, lead.source));
}
