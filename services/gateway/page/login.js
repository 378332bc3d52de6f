// Trades a caller's token for a session cookie; the token itself is never stored.
const form = document.getElementById("login");
const error = document.getElementById("error");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  error.textContent = "";
  const token = form.elements.token.value.trim();
  const answer = await fetch("/boards/session", { method: "POST", headers: { authorization: `Bearer ${token}` } }).catch(() => null);
  if (answer?.ok) {
    location.reload(); // the address may name a board
    return;
  }
  const problem = await answer?.json().catch(() => null);
  error.textContent = problem?.detail ?? "网关无应答 · The gateway does not answer.";
});
