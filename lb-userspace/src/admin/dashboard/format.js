// Numbers and times as people read them at a glance.

const STEPS = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/** Three digits and what they are multiplied by. */
export function short(number) {
  const [by, unit] = STEPS.find(([by]) => number >= by * 0.9995) ?? [1, ""];
  const part = number / by;
  if (part < 0.05) return "0";
  const digits = unit ? (part < 9.995 ? 2 : part < 99.95 ? 1 : 0) : part < 9.95 ? 1 : 0;
  return `${part.toFixed(digits)}${unit && ` ${unit}`}`;
}

/** A count: whole where it is short. */
export const count = (number) => (number < 10_000 ? String(number) : short(number));

/** A rate, or a dash where there is none yet. */
export const rate = (number) => (number === undefined ? "–" : short(number));

/** A part of a whole. */
export const percent = (part) => `${(part * 100).toFixed(1)} %`;

/** The time of day, here. */
export const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false });

/** How long something lasts. */
export function lasting(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 129_600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`;
}

/** VIP, port and protocol. */
export function endpoint({ address, port, protocol }) {
  const host = address.includes(":") ? `[${address}]` : address;
  return `${host}:${port === 0 ? "any" : port}/${protocol}`;
}
