// Questions to the ops process. An answer is what it says, or throws its problem in words.
import { text } from "./words.js";

export class ProblemError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = body ? { "content-type": "application/json" } : {};
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ProblemError(text("noAnswer"));
  }
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const problem = await answer.json().catch(() => ({}));
  const fields = (problem.errors ?? []).map((error) => `${error.field}: ${error.reason}`);
  throw new ProblemError([problem.detail ?? `${answer.status}`, ...fields].join(" "), answer.status);
}
