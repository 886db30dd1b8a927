// TOML of what JSON has told.

const isTable = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isTables = (value) => Array.isArray(value) && value.length > 0 && value.every(isTable);
const name = (key) => (/^[\w-]+$/.test(key) ? key : JSON.stringify(key));

/** A table and those below it, each after its own keys. */
export function toml(table, path = []) {
  const entries = Object.entries(table);
  const own = entries.filter(([, value]) => !isTable(value) && !isTables(value));
  const below = entries.filter(([, value]) => isTable(value) || isTables(value));
  const lines = own.map(([key, value]) => `${name(key)} = ${JSON.stringify(value)}\n`);
  const tables = below.flatMap(([key, value]) => {
    const inside = [...path, name(key)];
    const one = (head) => (table) => `\n${head}\n${toml(table, inside)}`;
    return isTables(value) ? value.map(one(`[[${inside.join(".")}]]`)) : [one(`[${inside.join(".")}]`)(value)];
  });
  return [...lines, ...tables].join("").replace(/^\n/, "");
}
