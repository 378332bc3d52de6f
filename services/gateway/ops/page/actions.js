// What a person does from the page: overrides with a reason and an end, acknowledging, replaying. Refusals are said where they are met.
import { $ } from "./elements.js";
import { ask, ProblemError } from "./asks.js";
import { clock } from "./figures.js";
import { text } from "./words.js";

const pathOf = (dependency) => `/v1/dependencies/${encodeURIComponent(dependency)}/override`;

export function say(words) {
  $("said").textContent = words;
}

export async function trying(work) {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    say(error.message);
    return null;
  }
}

export function lift(row) {
  const { caller } = row.override;
  const query = caller ? `?caller=${encodeURIComponent(caller)}` : "";
  return trying(() => ask(pathOf(row.dependency) + query, { method: "DELETE" }));
}

export const acknowledge = (incident) => trying(() => ask(`/v1/incidents/${encodeURIComponent(incident.id)}/ack`, { method: "POST" }));

export function openHandOver(incident) {
  const dialog = $("hand-over");
  const form = dialog.querySelector("form");
  $("hand-over-incident").textContent = `${incident.id}: ${incident.title}`;
  $("hand-over-error").textContent = "";
  form.reset();
  dialog.showModal();
  form.elements.to.focus();
  form.onsubmit = async (event) => {
    if (event.submitter?.value !== "set") return;
    event.preventDefault();
    const body = { to: form.elements.to.value, note: form.elements.note.value };
    try {
      await ask(`/v1/incidents/${encodeURIComponent(incident.id)}/hand-over`, { method: "POST", body });
      dialog.close();
      say(`${incident.id}: ${text("handedOverTo")} ${body.to}`);
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      $("hand-over-error").textContent = error.message;
    }
  };
}

function faultOf({ kind, percent, p50, code }) {
  const fault = { kind: kind.value, share: Number(percent.value) / 100 };
  if (["latency", "slow-body"].includes(kind.value)) fault.latency_p50_s = Number(p50.value);
  if (kind.value === "error") fault.code = code.value;
  return fault;
}

function arrangeFault() {
  const { mode, kind } = $("override").querySelector("form").elements;
  $("fault").hidden = mode.value !== "chaos";
  for (const label of $("fault").querySelectorAll("[data-of]")) label.hidden = !label.dataset.of.split(" ").includes(kind.value);
}

export function openOverride({ caller, dependency }, { mode = "fallback", reason = "" } = {}) {
  const dialog = $("override");
  const form = dialog.querySelector("form");
  $("override-edge").textContent = `${caller} → ${dependency}`;
  $("override-error").textContent = "";
  form.elements.mode.value = mode;
  form.elements.reason.value = reason;
  form.elements.wide.checked = false;
  arrangeFault();
  dialog.showModal();
  form.elements.reason.focus();
  form.onsubmit = async (event) => {
    if (event.submitter?.value !== "set") return;
    event.preventDefault();
    const { mode: chosen, reason: why, minutes, wide } = form.elements;
    const body = { mode: chosen.value, reason: why.value, ttl_s: 60 * Number(minutes.value) };
    if (!wide.checked) body.caller = caller;
    if (chosen.value === "chaos") body.fault = faultOf(form.elements);
    try {
      const laid = await ask(pathOf(dependency), { method: "PUT", body });
      dialog.close();
      say(`${dependency}: ${laid.override.mode}, ${text("until")} ${clock(laid.override.expires_at)}`);
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      $("override-error").textContent = error.message;
    }
  };
}

$("override").addEventListener("input", arrangeFault);
