// The dialogue that changes what is wanted of a backend. Nothing is sent before it is chosen and confirmed.

import { write } from "/dashboard/dom.js";
import { ask } from "/dashboard/source.js";
import { words } from "/dashboard/state.js";

const element = (id) => document.getElementById(id);

/** Opens it for a backend, and calls `done` once the daemon has followed. */
export function change(service, backend, done) {
  const [dialog, button] = [element("change"), element("change-do")];
  const form = dialog.querySelector("form");
  form.reset();
  button.disabled = true;
  write(element("change-title"), `${service}/${backend.name}`);
  write(element("change-now"), `It is ${words(backend)}.`);
  write(element("change-error"), "");
  form.onchange = () => {
    button.disabled = form.elements.state.value === backend.admin;
  };
  form.onsubmit = async (event) => {
    if (event.submitter !== button) return;
    event.preventDefault();
    button.disabled = true;
    try {
      const path = [service, backend.name].map(encodeURIComponent);
      await ask(`/v1/services/${path[0]}/backends/${path[1]}/admin`, { state: form.elements.state.value });
      dialog.close();
      done();
    } catch (error) {
      write(element("change-error"), error.message);
      button.disabled = false;
    }
  };
  dialog.showModal();
}
