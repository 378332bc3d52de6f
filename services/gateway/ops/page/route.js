// What is looked at stands in the address, so that every view can be sent to somebody.
const listeners = [];

export const where = () => Object.fromEntries(new URLSearchParams(location.search));

export function href(place) {
  const query = new URLSearchParams(Object.entries(place).filter(([, value]) => value));
  return query.size ? `/ops?${query}` : "/ops";
}

export function go(place, { quietly = false } = {}) {
  if (href(place) === location.pathname + location.search) return;
  history[quietly ? "replaceState" : "pushState"](null, "", href(place));
  for (const listener of listeners) listener(where());
}

export function onMove(listener) {
  listeners.push(listener);
  listener(where());
}

// A link of the page itself moves without loading it anew.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='/ops?'], a[href='/ops']");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  go(Object.fromEntries(new URL(link.href?.baseVal ?? link.href, location.href).searchParams));
});
addEventListener("popstate", () => listeners.forEach((listener) => listener(where())));
