// How numbers and moments are written, the same everywhere.
import { language, text } from "./words.js";

export const NONE = "–";

export function count(value) {
  if (value === null || value === undefined) return NONE;
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)}M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)}k`;
  return value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1);
}

export function ms(value) {
  if (value === null || value === undefined) return NONE;
  if (value >= 10_000) return `${(value / 1000).toFixed(1)}s`;
  return value >= 100 ? value.toFixed(0) : value.toFixed(1);
}

// A share near 1 is told by its nines: 99.95 is not 100.
export function percent(value) {
  if (value === null || value === undefined) return NONE;
  if (value === 1 || value === 0) return `${100 * value}%`;
  const digits = value > 0.999 ? 3 : value > 0.99 ? 2 : 1;
  return `${Math.min(100 * value, 99.999).toFixed(digits)}%`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

const locale = () => (language() === "zh" ? "zh-CN" : "en-GB");
export const clock = (moment) => new Date(moment).toLocaleTimeString(locale(), { hour12: false });
export const shortClock = (moment) => new Date(moment).toLocaleTimeString(locale(), { hour12: false, hour: "2-digit", minute: "2-digit" });
export const date = (moment) => new Date(moment).toLocaleString(locale(), { hour12: false, month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });
export const since = (moment) => duration(Math.max(0, (Date.now() - new Date(moment)) / 1000));

// [ [name, count], ... ] of what went wrong, the most first.
export function errorsOf(row) {
  return Object.entries({ ...row.errors, injected: row.injected }).filter(([, number]) => number > 0).sort((a, b) => b[1] - a[1]);
}
export const errorText = (row) => errorsOf(row).map(([kind, number]) => `${count(number)} ${text(kind)}`).join(" · ");
