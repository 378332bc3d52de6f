// Playbooks that fit an open incident: a preview first, then the run, followed to its end.
import { $, el, write } from "./elements.js";
import { known, onChange, redraw } from "./feed.js";
import { text } from "./words.js";
import { ask, ProblemError } from "./asks.js";

const AGAIN_MS = 5000;
const FOLLOW_MS = 500;
const PATIENCE_MS = 2000;
let playbooks = [];
let timer = null;
const answered = new Set(); // what incidents were when it was last told which playbooks fit them

const natureOf = ({ id, alert, dependency }) => [id, alert, dependency].join(" ");

// Until then nobody knows what stands first beside it.
export const isAnswered = (incident) => answered.has(natureOf(incident));

export function fitting(incident) {
  return playbooks.filter((each) => each.fits && (!each.alert || each.alert === incident.alert) && (!each.dependency || each.dependency === incident.dependency));
}

async function look() {
  const natures = known.incidents.map(natureOf);
  if (!natures.length) return;
  const settle = () => {
    for (const nature of natures) answered.add(nature);
    redraw("incidents");
  };
  const late = setTimeout(settle, PATIENCE_MS); // an answer that does not come keeps no button back
  try {
    playbooks = (await ask("/v1/playbooks")).items;
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    playbooks = [];
    // An ops process without playbooks is not asked again.
    if (error.status === 404) clearInterval(timer);
  }
  clearTimeout(late);
  settle();
}

async function follow(run) {
  let now = run;
  for (;;) {
    $("playbook-lines").replaceChildren(...now.lines.map((line) => el("li", {}, line)));
    write($("playbook-outcome"), text(`outcome-${now.outcome}`));
    if (now.outcome !== "running") return;
    await new Promise((done) => setTimeout(done, FOLLOW_MS));
    now = await ask(`/v1/playbooks/runs/${encodeURIComponent(now.id)}`);
  }
}

export async function openPlaybook(playbook, incident) {
  const dialog = $("playbook");
  const form = dialog.querySelector("form");
  const path = `/v1/playbooks/${encodeURIComponent(playbook.name)}/runs`;
  const trying = async (work) => {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      write($("playbook-outcome"), error.message);
    }
  };
  write($("playbook-title"), playbook.title);
  write($("playbook-why"), playbook.why);
  $("playbook-lines").replaceChildren();
  write($("playbook-outcome"), "");
  form.elements.why.value = incident.id;
  $("playbook-run").hidden = false;
  dialog.showModal();
  form.onsubmit = (event) => {
    if (event.submitter?.value !== "run") return;
    event.preventDefault();
    $("playbook-run").hidden = true;
    trying(async () => follow((await ask(path, { method: "POST", body: { dry_run: false, reason: form.elements.why.value } })).run));
  };
  await trying(async () => {
    const { preview } = await ask(path, { method: "POST", body: { dry_run: true, reason: "" } });
    $("playbook-lines").replaceChildren(...preview.lines.map((line) => el("li", {}, line)));
    write($("playbook-outcome"), preview.refused.join("; "));
    $("playbook-run").hidden = preview.refused.length > 0;
  });
}

export function startPlaybooks() {
  timer = setInterval(() => document.hidden || look(), AGAIN_MS);
  // At once where an incident is new, or is another now: its buttons wait for the answer, lest one changes under somebody's finger.
  let looked = "";
  onChange(() => {
    const open = known.incidents.map(natureOf).join();
    if (open === looked) return;
    looked = open;
    look();
  });
}
