// Charts, drawn by hand: each is one small SVG with a text for those who do not see it.

import { s } from "/dashboard/dom.js";
import { WINDOW } from "/dashboard/rates.js";

/** A picture that says `label`, of `width` by `height` units, as wide as there is room. */
function picture(label, width, height, ...children) {
  const viewBox = `0 0 ${width} ${height}`;
  return s("svg", { viewBox, role: "img", "aria-label": label, preserveAspectRatio: "none" }, s("title", {}, label), ...children);
}

/** Rates of the window as a line over an area. All that are to be compared get the same `most`. */
export function line(label, past, now, most) {
  const [width, height] = [WINDOW, 36];
  const x = ({ at }) => (width - (now - at)).toFixed(1);
  const y = ({ packets }) => (height - 1 - (most > 0 ? packets / most : 0) * (height - 3)).toFixed(1);
  const base = s("path", { class: "base", d: `M0 ${height - 0.5}H${width}` });
  if (past.length < 2) return picture(label, width, height, base);
  const points = past.map((rate) => `${x(rate)} ${y(rate)}`).join("L");
  const area = `M${x(past[0])} ${height - 1}L${points}L${x(past.at(-1))} ${height - 1}Z`;
  return picture(label, width, height, base, s("path", { class: "area", d: area }), s("path", { class: "line", d: `M${points}` }));
}

/** A part as a bar, and the part that was promised as a mark. */
export function share(label, part, promised, most) {
  const at = (part) => ((most > 0 ? part / most : 0) * 98).toFixed(2);
  const track = s("rect", { class: "track", x: 0, y: 3, width: 100, height: 8 });
  const bar = s("rect", { class: "bar", x: 0, y: 3, width: at(part), height: 8 });
  const mark = s("rect", { class: "mark", x: at(promised), y: 0, width: 1.4, height: 14 });
  return picture(label, 100, 14, track, bar, mark);
}

/** States that followed each other: `spans` of `{from, to, state}`, in parts of the whole. */
export function strip(label, spans) {
  const track = s("rect", { class: "track", x: 0, y: 0, width: 100, height: 14 });
  const drawn = spans.map(({ from, to, state, why }) =>
    s("rect", { class: `state-${state}`, x: 100 * from, y: 0, width: Math.max(0.4, 100 * (to - from)), height: 14 }, s("title", {}, why)));
  return picture(label, 100, 14, track, ...drawn);
}

/** A part of a whole, some of which is of another kind. */
export function parts(label, part, other) {
  const bar = s("rect", { class: "bar", x: 0, y: 3, width: (100 * part).toFixed(2), height: 8 });
  const rest = s("rect", { class: "other", x: 0, y: 3, width: (100 * other).toFixed(2), height: 8 });
  return picture(label, 100, 14, s("rect", { class: "track", x: 0, y: 3, width: 100, height: 8 }), bar, rest);
}
