// The configuration that runs, as text. It may be long, so it is asked for while somebody looks at it.

import { write } from "/dashboard/dom.js";
import { ask } from "/dashboard/source.js";
import { toml } from "/dashboard/toml.js";

/** Seconds until it is asked for again. */
const EVERY = 15;

const element = (id) => document.getElementById(id);
const details = element("effective");
let asked = -Infinity;

/** Shows it where it is unfolded; `now` is in seconds. */
export async function show(now) {
  if (!details.open || now < asked + EVERY) return;
  asked = now;
  const { digest, configuration } = await ask("/config_dump");
  write(element("effective-digest"), `· digest ${digest}`);
  write(element("effective-text").firstElementChild, toml(configuration));
}

/** Calls `look` when it is unfolded. */
export function onUnfold(look) {
  details.addEventListener("toggle", () => {
    asked = -Infinity;
    if (details.open) look();
  });
}
