// Asks the daemon again and again, and has the page drawn of what it says.

import { onUnfold, show } from "/dashboard/configuration.js";
import { write } from "/dashboard/dom.js";
import { clock } from "/dashboard/format.js";
import { change } from "/dashboard/orders.js";
import { Rates, counters } from "/dashboard/rates.js";
import { ask, Unauthorized, useToken } from "/dashboard/source.js";
import { draw } from "/dashboard/view.js";

/** Milliseconds between two looks. */
const INTERVAL = 1000;
/** Every so many looks the histories are asked for too, which are several times as much as the rest. */
const HISTORIES = 15;

const [pulse, form] = ["pulse", "token"].map((id) => document.getElementById(id));
const rates = new Rates();
let reasons = null;
let status = null;
let told = null;
let looks = 0;
let lost = null;

/** What a status with histories has told, by service and backend. */
function histories(status) {
  const services = new Map(status.services.map((service) => [service.name, service]));
  const history = (service, backend) => services.get(service)?.backends.find(({ name }) => name === backend)?.history;
  return { changes: (service) => services.get(service)?.tables.changes, history, mark: mark(status) };
}

/** Is another as soon as there is something new in a history. */
function mark({ services }) {
  const last = ({ last_change: change }) => change?.at;
  return JSON.stringify(services.map(({ generation, backends }) => [generation, backends.map(last)]));
}

async function look() {
  reasons ??= await ask("/dashboard/reasons.json");
  const wanted = looks++ % HISTORIES === 0 ? "?histories=true" : "";
  status = await ask(`/v1/status${wanted}`);
  if (!wanted && mark(status) !== told?.mark) {
    status = await ask("/v1/status?histories=true");
    told = histories(status);
  } else if (wanted) {
    told = histories(status);
  }
  const now = performance.now() / 1000;
  rates.add(now, counters(status, (name) => reasons[name]?.fate === "drop"));
  draw({ status, rates, now, at: Date.now() / 1000, told, reasons, orders });
  await show(now);
}

function orders(service, backend) {
  const found = status.services.find(({ name }) => name === service)?.backends.find(({ name }) => name === backend);
  if (found) change(service, found, tick);
}

/** Says whether the daemon answers; what it said last stays on the page. */
function say(error) {
  form.hidden = !(error instanceof Unauthorized);
  if (!error) {
    lost = null;
    looks ||= 1;
  } else {
    lost ??= Date.now() / 1000;
    looks = 0;
    rates.interrupt();
  }
  document.body.classList.toggle("lost", error !== null);
  const why = error instanceof TypeError || error?.name === "TimeoutError" ? "the daemon does not answer" : error?.message;
  write(pulse, error ? `since ${clock(lost)}: ${why}` : "live");
}

let timer;

async function tick() {
  clearTimeout(timer);
  try {
    await look();
    say(null);
  } catch (error) {
    say(error);
  }
  timer = setTimeout(tick, INTERVAL);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(form.elements.secret.value.trim());
  form.reset();
  tick();
});

onUnfold(tick);
tick();
