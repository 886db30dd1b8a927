// Elements, made and kept.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element with attributes and children. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element with attributes and children. */
export function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

/** Writes a text where it is another, so that what somebody has selected stays selected. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Gives `parent` a child for each item, in order. A child is kept for as long as its item's key is there, so that
 * focus and open details live on.
 */
export function keyed(parent, items, key, make, update) {
  const kept = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const children = items.map((item) => {
    const child = kept.get(key(item)) ?? make(item);
    child.dataset.key = key(item);
    update(child, item);
    return child;
  });
  const same = children.length === parent.children.length && children.every((child, at) => child === parent.children[at]);
  if (!same) parent.replaceChildren(...children);
}
