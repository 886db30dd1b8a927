// A status, and the rates before it, as the page.

import { line, parts, share, strip } from "/dashboard/charts.js";
import { h, keyed, write } from "/dashboard/dom.js";
import { clock, count, endpoint, lasting, percent, rate, short } from "/dashboard/format.js";
import { PAST, spans, state, words } from "/dashboard/state.js";

/** How many changes of a table are shown. */
const CHANGES = 8;

const element = (id) => document.getElementById(id);
const part = (root, name) => root.querySelector(`.${name}`);
const several = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

/** What the page is drawn from. `told` has histories by service and backend; `orders` is called with a backend. */
export function draw({ status, rates, now, at, told, reasons, orders }) {
  const interfaces = status.interfaces.map(({ name, mode }) => `${name} (${mode})`).join(", ");
  write(element("about"), `${status.version} on ${interfaces}`);
  totals(status, rates, now);
  const service = (card, service) => drawService(card, service, { rates, now, at, told });
  keyed(element("services"), status.services, ({ name }) => name, (service) => makeService(service, orders), service);
  drops(status, rates, now, reasons);
  configuration(status);
}

function totals(status, rates, now) {
  const backends = status.services.flatMap(({ backends }) => backends);
  const up = backends.filter(({ health }) => health === "up").length;
  const { connections, openings } = status.tracking;
  const chart = (name) => (label) => line(label, rates.past(name), now, rates.most([name]));
  const items = [
    { label: "Forwarded", number: rate(rates.now("forwarded")?.packets), unit: "packets/s", chart: chart("forwarded") },
    { label: "Traffic", number: rate(rates.now("forwarded")?.bits), unit: "bit/s" },
    { label: "New flows", number: rate(rates.now("forwarded")?.opened), unit: "flows/s" },
    { label: "Dropped", number: rate(rates.now("dropped")?.packets), unit: "packets/s", chart: chart("dropped") },
    { label: "Backends up", number: `${up}`, unit: `of ${backends.length}`, bad: up < backends.length },
    { label: "Flows remembered", number: count(connections + openings), unit: "" },
  ];
  const make = () => h("div", {}, h("dt"), h("dd", {}, h("b"), " ", h("span")), h("figure"));
  keyed(element("totals"), items, ({ label }) => label, make, (item, { label, number, unit, chart, bad }) => {
    write(item.querySelector("dt"), label);
    write(item.querySelector("b"), number);
    write(item.querySelector("span"), unit);
    item.classList.toggle("bad", bad === true);
    if (chart) item.querySelector("figure").replaceChildren(chart(`${label} in the last 5 minutes: now ${number} ${unit}`));
  });
}

/** The head of a table: for each column what its cells are called, and its title. */
function heads(columns) {
  return h("thead", {}, h("tr", {}, ...columns.map(([name, title]) => h("th", { scope: "col", class: name }, title))));
}

function makeService({ name }, orders) {
  const id = `service-${name}`;
  const backends = h("table", { class: "rows backends", "aria-labelledby": id }, heads([
    ["name", "Backend"], ["state", "State"], ["share", "Share of packets"], ["past", "Last 5 minutes"], ["number", "Packets/s"],
    ["number", "Bit/s"], ["number", "New/s"], ["number", "Flows"], ["history", "Last 30 minutes"], ["orders", h("span", { class: "unseen" }, "Orders")],
  ]), h("tbody"));
  const moves = h("table", { class: "rows moves" }, h("caption", {}, "Slots moved, by generation of the table"), heads([
    ["generation", "Generation"], ["moved", "Part of all slots"], ["number", ""], ["time", "Time"], ["cause", "Cause"],
  ]), h("tbody"));
  const card = h("section", { class: "service", "aria-labelledby": id }, h("h2", { id }, name, " ", h("small")),
    h("p", { class: "facts" }), backends, moves);
  card.orders = orders;
  return card;
}

function drawService(card, service, { rates, now, at, told }) {
  write(card.querySelector("small"), endpoint(service));
  const up = service.backends.filter(({ health }) => health === "up").length;
  const facts = [
    service.available ? undefined : `not available: ${service.unavailable ?? "no backend takes new flows"}`,
    service.probes === "panic" || service.probes === "all_down" ? "probes are not followed, since too many fail" : undefined,
    `${up} of ${service.backends.length} backends up`,
    `${several(service.tracked_flows, "flow")} tracked`,
    `${count(service.moved_slots)} of ${service.slots} slots moved and not settled`,
  ].filter(Boolean);
  write(part(card, "facts"), facts.join(" · "));
  part(card, "facts").classList.toggle("bad", !service.available);
  const name = (backend) => `backend ${service.name}/${backend.name}`;
  const scale = {
    rate: rates.most(service.backends.map(name)),
    share: Math.max(...service.backends.flatMap(({ measured, promised }) => [measured ?? 0, promised]), 0.01),
  };
  const make = (backend) => makeBackend(backend, () => card.orders(service.name, backend.name));
  keyed(part(card, "backends").tBodies[0], service.backends, (backend) => backend.name, make, (row, backend) => {
    const past = { past: rates.past(name(backend)), rate: rates.now(name(backend)), now, at, scale };
    drawBackend(row, backend, past, told?.history(service.name, backend.name));
  });
  drawMoves(part(card, "moves"), told?.changes(service.name) ?? [], service.slots);
}

function makeBackend({ name }, order) {
  const button = h("button", { type: "button", title: `Drain ${name}, or put it back` }, "Change", h("span", { class: "unseen" }, ` ${name}`));
  button.addEventListener("click", order);
  const cell = (name) => h("td", { class: name });
  return h("tr", {}, h("th", { scope: "row" }, h("b"), " ", h("small")), h("td", { class: "state" }, h("i"), h("span")),
    h("td", { class: "share" }, h("figure"), h("span")), cell("past"), cell("number packets"), cell("number bits"),
    cell("number opened"), cell("number flows"), cell("history"), h("td", { class: "orders" }, button));
}

function drawBackend(row, backend, { past, rate: current, now, at, scale }, history) {
  write(row.querySelector("th b"), backend.name);
  write(row.querySelector("th small"), backend.address);
  row.querySelector("i").className = `dot state-${state(backend)}`;
  write(part(row, "state").querySelector("span"), words(backend));
  const measured = backend.measured === null || backend.measured === undefined ? "no packets" : percent(backend.measured);
  const promised = `${measured}, ${percent(backend.promised)} promised`;
  write(part(row, "share").querySelector("span"), promised);
  const label = `${measured} of the last minute's packets, ${percent(backend.promised)} promised`;
  part(row, "share").querySelector("figure").replaceChildren(share(label, backend.measured ?? 0, backend.promised, scale.share));
  part(row, "past").replaceChildren(line(`packets a second of ${backend.name}: now ${rate(current?.packets)}`, past, now, scale.rate));
  write(part(row, "packets"), rate(current?.packets));
  write(part(row, "bits"), rate(current?.bits));
  write(part(row, "opened"), rate(current?.opened));
  write(part(row, "flows"), count(backend.tracked_flows));
  const last = backend.last_change;
  const since = last ? `${last.what} ${last.is} for ${lasting(at - last.at)}` : words(backend);
  part(row, "history").replaceChildren(strip(`${backend.name}: ${since}`, spans(history, at)), h("small", {}, since));
}

function drawMoves(table, changes, slots) {
  const shown = changes.slice(-CHANGES).reverse();
  table.hidden = shown.length === 0;
  const make = () => h("tr", {}, h("td", { class: "generation" }), h("td", { class: "moved" }), h("td", { class: "number part" }), h("td", { class: "time" }), h("td", { class: "cause" }));
  keyed(table.tBodies[0], shown, ({ generation, at }) => `${generation} ${at}`, make, (row, change) => {
    const whole = change.slots || slots;
    const [moved, collateral] = [change.moved_slots / whole, (change.collateral_slots ?? 0) / whole];
    const beside = change.collateral_slots ? `, ${change.collateral_slots} of them collateral` : "";
    const label = `${change.moved_slots} of ${whole} slots moved${beside}`;
    write(part(row, "generation"), String(change.generation));
    part(row, "moved").replaceChildren(parts(label, moved, collateral));
    write(part(row, "part"), percent(moved));
    write(part(row, "time"), clock(change.at));
    write(part(row, "cause"), change.cause + (collateral ? ` (${percent(collateral)} collateral)` : ""));
  });
}

function drops(status, rates, now, reasons) {
  const dropped = Object.entries(status.reasons).filter(([name, { packets }]) => reasons[name]?.fate === "drop" && packets > 0);
  dropped.sort(([, one], [, other]) => other.packets - one.packets);
  const names = dropped.map(([name]) => `reason ${name}`);
  const all = Object.values(status.reasons).reduce((sum, { packets }) => sum + packets, 0);
  const sum = dropped.reduce((sum, [, { packets }]) => sum + packets, 0);
  write(element("drops-facts"), sum === 0 ? "Nothing was dropped." : `${several(sum, "packet")} of ${short(all)}, by reason`);
  const table = part(element("drops"), "drops");
  table.hidden = sum === 0;
  const make = () => h("tr", {}, h("th", { scope: "row" }), h("td", { class: "past" }), h("td", { class: "number rate" }), h("td", { class: "number packets" }), h("td", { class: "number bytes" }));
  const most = rates.most(names);
  keyed(table.tBodies[0], dropped, ([name]) => name, make, (row, [name, { packets, bytes }]) => {
    const key = `reason ${name}`;
    write(row.querySelector("th"), name);
    part(row, "past").replaceChildren(line(`packets a second dropped by ${name}: now ${rate(rates.now(key)?.packets)}`, rates.past(key), now, most));
    write(part(row, "rate"), rate(rates.now(key)?.packets));
    write(part(row, "packets"), count(packets));
    write(part(row, "bytes"), count(bytes));
  });
}

function configuration(status) {
  const { used, slots } = status.arena;
  const peers = status.fleet?.peers ?? [];
  const fleet = peers.length ? [`${peers.filter(({ heard }) => heard).length} of ${several(peers.length, "peer")} heard`] : [];
  write(element("configuration-facts"), [status.config, `arena ${percent(used / slots)} full`, ...fleet].join(" · "));
  const make = ({ name }) => {
    const head = heads([["name", "Backend"], ["address", "Address"], ["number", "Weight"], ["way", "Way"], ["hop", "Next hop"], ["more", "More"]]);
    return h("details", {}, h("summary", {}, h("b", {}, name), " ", h("span"), " ", h("code")),
      h("table", { class: "rows configured" }, head, h("tbody")));
  };
  keyed(element("configured"), status.services, ({ name }) => name, make, (details, service) => {
    write(details.querySelector("summary span"), `generation ${service.generation}, ${service.slots} slots, digest`);
    write(details.querySelector("summary code"), service.digest);
    const row = () => h("tr", {}, h("th", { scope: "row" }), ...["address", "number weight", "way", "hop", "more"].map((name) => h("td", { class: name })));
    keyed(details.querySelector("tbody"), service.backends, ({ name }) => name, row, (row, backend) => {
      write(row.querySelector("th"), backend.name);
      write(part(row, "address"), backend.address);
      write(part(row, "weight"), String(backend.weight));
      write(part(row, "way"), backend.forwarding);
      write(part(row, "hop"), backend.next_hop);
      const more = [backend.version && `version ${backend.version}`, backend.location, backend.priority && `priority ${backend.priority}`];
      write(part(row, "more"), more.filter(Boolean).join(", "));
    });
  });
}
