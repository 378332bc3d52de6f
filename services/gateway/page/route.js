// What is looked at stands in the address, so that every board and every list behind a figure can be sent to somebody.
const listeners = [];

export const where = () => Object.fromEntries(new URLSearchParams(location.search));

export function href(place) {
  const query = new URLSearchParams(Object.entries(place).filter(([, value]) => value !== undefined && value !== null && value !== ""));
  return query.size ? `/boards?${query}` : "/boards";
}

export function go(place) {
  if (href(place) !== location.pathname + location.search) history.pushState(null, "", href(place));
  moved();
}

export const onMove = (listener) => listeners.push(listener);
const moved = () => listeners.forEach((listener) => listener(where()));

// A link of the page itself moves without loading it anew.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='/boards?'], a[href='/boards']");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  go(Object.fromEntries(new URL(link.href?.baseVal ?? link.href, location.href).searchParams));
});
addEventListener("popstate", moved);
