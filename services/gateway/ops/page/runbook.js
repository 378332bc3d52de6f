// A runbook beside the incident it is for. The Markdown that runbooks use: headings, lists, code, tables as text, links.
import { $, el } from "/ops/assets/elements.js";
import { text } from "/ops/assets/words.js";

function inline(words) {
  return words.split(/(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\([^)]+\))/).filter(Boolean).map((part) => {
    if (part.startsWith("`")) return el("code", {}, part.slice(1, -1));
    if (part.startsWith("**")) return el("b", {}, part.slice(2, -2));
    const [, label, target] = part.match(/^\[([^\]]+)\]\(([^)]+)\)$/) ?? [];
    if (!label) return part;
    // Other runbooks are here; what else is linked lies in the repository.
    const name = target.match(/^(?:\.\/)?(\w+)\.md$/)?.[1];
    return name ? el("a", { href: `/ops?view=runbook&name=${name}` }, label) : `${label} (${target})`;
  });
}

function blocks(markdown) {
  return markdown.split(/(^```[\s\S]*?^```)/m).flatMap((part) => {
    if (part.startsWith("```")) return [el("pre", {}, el("code", {}, part.split("\n").slice(1, -1).join("\n")))];
    return part.split(/\n\s*\n/).filter((each) => each.trim()).flatMap((each) => block(each.trim().split("\n")));
  });
}

function block(lines) {
  const heading = lines[0].match(/^(#+) (.*)/);
  if (heading) return [el(heading[1].length === 1 ? "h2" : "h3", {}, inline(heading[2])), ...(lines.length > 1 ? block(lines.slice(1)) : [])];
  if (lines[0].startsWith("|")) return [tableOf(lines)];
  if (/^([-*]|\d+\.) /.test(lines[0])) return [listOf(lines)];
  return [el("p", {}, inline(lines.join(" ")))];
}

function listOf(lines) {
  const items = [];
  for (const line of lines) {
    const own = line.match(/^\s*(?:[-*]|\d+\.) (.*)/);
    if (own) items.push(own[1]);
    else items[items.length - 1] += ` ${line.trim()}`;
  }
  const [first] = lines[0].match(/^\d+/) ?? [];
  return el(first ? "ol" : "ul", { start: first }, items.map((item) => el("li", {}, inline(item))));
}

function tableOf(lines) {
  const cells = (line) => line.split("|").slice(1, -1).map((cell) => inline(cell.trim()));
  const [head, , ...rest] = lines;
  return el("table", {}, el("thead", {}, el("tr", {}, cells(head).map((cell) => el("th", { scope: "col" }, cell)))), el("tbody", {}, rest.map((line) => el("tr", {}, cells(line).map((cell) => el("td", {}, cell))))));
}

export async function showRunbook({ name = "" }) {
  const answer = await fetch(`/ops/runbooks/${encodeURIComponent(name)}`).catch(() => null);
  const content = answer?.ok ? blocks(await answer.text()) : [el("h2", {}, name), el("p", { class: "quiet" }, text(answer ? "noRunbook" : "noAnswer"))];
  $("runbook").replaceChildren(...content);
}
