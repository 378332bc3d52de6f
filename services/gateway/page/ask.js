// Asks the gateway; the session's cookie goes along. Who is signed in no more is shown the way in.
import { $ } from "./elements.js";
import { text } from "./words.js";

export async function ask(board, query) {
  const known = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
  const answer = await fetch(`/v1/boards/${board}?${known}`).catch(() => null);
  if (answer?.status === 401) {
    location.reload();
    return null;
  }
  const content = await answer?.json().catch(() => null);
  if (answer?.ok && content) {
    $("problem").textContent = "";
    return content;
  }
  const reasons = content?.errors?.map((each) => `${each.field} ${each.reason}`).join("; ");
  $("problem").textContent = [content?.detail ?? text("noAnswer"), reasons].filter(Boolean).join(" — ");
  return null;
}
