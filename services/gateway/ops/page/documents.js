// What is read: a runbook beside the incident it is for, and an incident's report, which can be taken along.
import { $, el, write } from "./elements.js";
import { text } from "./words.js";
import { ask, ProblemError } from "./asks.js";
import { blocks } from "./markdown.js";

let saved = null;

export async function showRunbook({ name = "" }) {
  const answer = await fetch(`/ops/runbooks/${encodeURIComponent(name)}`).catch(() => null);
  const content = answer?.ok ? blocks(await answer.text()) : [el("h2", {}, name), el("p", { class: "quiet" }, text(answer ? "noRunbook" : "noAnswer"))];
  $("runbook").replaceChildren(...content);
}

export async function showReport({ name: id = "" }) {
  const link = $("report-save");
  link.hidden = true;
  write($("report-title"), `${text("report")} ${id}`);
  try {
    const { markdown } = await ask(`/v1/incidents/${encodeURIComponent(id)}/report`);
    if (saved) URL.revokeObjectURL(saved);
    saved = URL.createObjectURL(new Blob([markdown], { type: "text/markdown" }));
    link.href = saved;
    link.download = `${id}.md`;
    link.hidden = false;
    $("report").replaceChildren(...blocks(markdown).slice(1));
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    $("report").replaceChildren(el("p", { class: "quiet" }, error.message));
  }
}
