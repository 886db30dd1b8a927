// What is shown of a backend's state, and how it came to be.

/** How many seconds of the past a strip of states shows. */
export const PAST = 1800;

/** A backend's state in one word: the operator's wish where it is not the usual one, unless it is down. */
export function state({ admin, health }) {
  return health === "down" || admin === "ready" ? health : admin;
}

/** The same in words: both, and why. */
export function words(backend) {
  const wish = backend.admin === "ready" ? [] : [backend.admin + (backend.by_command ? " by command" : "")];
  const why = backend.health === "down" ? backend.reason : backend.held_back;
  return [...wish, backend.health + (why ? `: ${why}` : "")].join(", ");
}

/** What a backend was in the last `PAST` seconds, as spans in parts of them. */
export function spans(history, now) {
  const told = (history ?? []).filter(({ what }) => what === "health" || what === "admin");
  const known = { admin: "ready", health: undefined };
  return told.flatMap((change, at) => {
    known[change.what] = change.is;
    if (known.health === undefined) return [];
    const part = (time) => Math.min(1, Math.max(0, 1 - (now - time) / PAST));
    const [from, to] = [part(change.at), at + 1 < told.length ? part(told[at + 1].at) : 1];
    const why = `${new Date(change.at * 1000).toLocaleTimeString([], { hour12: false })} ${change.what} ${change.is}: ${change.why}`;
    return to > from ? [{ from, to, state: state(known), why }] : [];
  });
}
