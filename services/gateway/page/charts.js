// Charts in SVG, drawn by hand: a ring for a share, bars for counts, a line from median to p90 for a spread.
import { svg } from "./elements.js";
import { long, text } from "./words.js";

export function ring(share, goal) {
  const around = 2 * Math.PI * 26;
  const value = share.share ?? 0;
  const turn = (part) => `rotate(${360 * part - 90} 32 32)`;
  const level = share.share === null ? "none" : goal === null ? "" : value >= goal ? "good" : value >= goal - 0.1 ? "near" : "bad";
  return svg("svg", { class: `ring ${level}`, viewBox: "0 0 64 64", width: 56, height: 56, "aria-hidden": "true" },
    svg("circle", { class: "track", cx: 32, cy: 32, r: 26 }),
    svg("circle", { class: "value", cx: 32, cy: 32, r: 26, "stroke-dasharray": `${(around * value).toFixed(2)} ${around.toFixed(2)}`, transform: turn(0) }),
    goal === null ? null : svg("path", { class: "goal", d: "M54 32h8", transform: turn(goal) }));
}

export function bar(value, most, level = "") {
  const width = most ? Math.max((100 * value) / most, value ? 1.5 : 0) : 0;
  return svg("svg", { class: `bar ${level}`, viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "track", width: 100, height: 8, rx: 2 }), svg("rect", { class: "value", width: width.toFixed(2), height: 8, rx: 2 }));
}

// The mean as a dot on a line from the median to p90.
export function spread(value, most) {
  const label = value ? `${text("mean")} ${long(value.mean_s)}, ${text("median")} ${long(value.p50_s)}, P90 ${long(value.p90_s)}` : text("none");
  const x = (seconds) => (4 + (192 * seconds) / Math.max(most, 1)).toFixed(1);
  return svg("svg", { class: "spread", viewBox: "0 0 200 20", role: "img", "aria-label": label },
    svg("path", { class: "grid", d: "M4 10h192" }),
    value && [
      svg("path", { class: "range", d: `M${x(value.p50_s)} 10H${x(value.p90_s)}` }),
      svg("path", { class: "tick", d: `M${x(value.p50_s)} 4v12M${x(value.p90_s)} 4v12` }),
      svg("circle", { class: "mean", cx: x(value.mean_s), cy: 10, r: 4.5 }),
    ]);
}
