// Rates and their past, from the differences of counters.

/** How many seconds of the past are kept and drawn. */
export const WINDOW = 300;

/** The rates of everything that counts, by name. */
export class Rates {
  #last = null;
  #past = new Map();

  /** Takes in counters, by name, as of `at` seconds. One that has gone back has begun anew, and has no rate this time. */
  add(at, counters) {
    const last = this.#last;
    for (const name of this.#past.keys()) {
      if (!counters.has(name)) this.#past.delete(name);
    }
    for (const [name, { packets, bytes, opened }] of counters) {
      const before = last?.counters.get(name);
      if (!before || packets < before.packets || at <= last.at) continue;
      const seconds = at - last.at;
      const past = this.#past.get(name) ?? [];
      past.push({
        at,
        packets: (packets - before.packets) / seconds,
        bits: (8 * (bytes - before.bytes)) / seconds,
        opened: opened >= before.opened ? (opened - before.opened) / seconds : undefined,
      });
      while (past[0].at < at - WINDOW) past.shift();
      this.#past.set(name, past);
    }
    this.#last = { at, counters };
  }

  /** Forgets the counters, but not the past: what comes next may be another daemon's. */
  interrupt() {
    this.#last = null;
  }

  /** The rates of the window, the latest last. */
  past(name) {
    return this.#past.get(name) ?? [];
  }

  /** The last rate, or nothing. */
  now(name) {
    return this.past(name).at(-1);
  }

  /** The largest rate of packets in the window, of all these. */
  most(names) {
    return Math.max(0, ...names.flatMap((name) => this.past(name).map(({ packets }) => packets)));
  }
}

/** All counters of a status, by name. */
export function counters(status, isDrop) {
  const all = new Map();
  const none = { packets: 0, bytes: 0, opened: 0 };
  const add = (a, b) => ({ packets: a.packets + b.packets, bytes: a.bytes + b.bytes, opened: a.opened + (b.opened ?? 0) });
  const sum = (parts) => parts.reduce(add, none);
  // Where packets do not tell which of them opens a flow, none is counted.
  const counted = ({ packets, bytes, opened_flows: opened }) => ({ packets, bytes, opened });
  for (const service of status.services) {
    all.set(`service ${service.name}`, counted(service));
    for (const backend of service.backends) all.set(`backend ${service.name}/${backend.name}`, counted(backend));
  }
  const reasons = Object.entries(status.reasons);
  for (const [name, traffic] of reasons) all.set(`reason ${name}`, traffic);
  all.set("forwarded", sum(status.services.map(counted)));
  all.set("dropped", sum(reasons.filter(([name]) => isDrop(name)).map(([, traffic]) => traffic)));
  return all;
}
