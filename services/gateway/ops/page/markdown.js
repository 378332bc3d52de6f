// The Markdown that runbooks and reports use: headings, lists, code, tables, links, and what is escaped.
import { el } from "./elements.js";

function inline(words) {
  return words.split(/(\\[\\`*_[\]<>|#~]|`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\([^)]+\))/).filter(Boolean).map((part) => {
    if (part.startsWith("\\")) return part.slice(1);
    if (part.startsWith("`")) return el("code", {}, part.slice(1, -1));
    if (part.startsWith("**")) return el("b", {}, part.slice(2, -2));
    const [, label, target] = part.match(/^\[([^\]]+)\]\(([^)]+)\)$/) ?? [];
    if (!label) return part;
    // Other runbooks are here; what else is linked lies in the repository.
    const name = target.match(/^(?:\.\/)?(\w+)\.md$/)?.[1];
    return name ? el("a", { href: `/ops?view=runbook&name=${name}` }, label) : `${label} (${target})`;
  });
}

export function blocks(markdown) {
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
  const cells = (line) => line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => inline(cell.trim()));
  const [head, , ...rest] = lines;
  const heads = cells(head);
  const named = heads.some((cell) => cell.length);
  const row = (line) => cells(line).map((cell, index) => (named || index ? el("td", {}, cell) : el("th", { scope: "row" }, cell)));
  return el("table", {}, named ? el("thead", {}, el("tr", {}, heads.map((cell) => el("th", { scope: "col" }, cell)))) : null, el("tbody", {}, rest.map((line) => el("tr", {}, row(line)))));
}
