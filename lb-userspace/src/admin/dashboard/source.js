// The way to the daemon. A token, where it wants one, is kept for as long as the tab lives.

const KEY = "sluice-token";
const PATIENCE = 5000;

/** The daemon wants a token, or another one. */
export class Unauthorized extends Error {}

export function useToken(token) {
  sessionStorage.setItem(KEY, token);
}

/** Asks for `path`, or sends `body` there. What the daemon refuses is an error with its words. */
export async function ask(path, body) {
  const token = sessionStorage.getItem(KEY);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const request = body ? { method: "POST", body: JSON.stringify(body) } : {};
  const response = await fetch(path, { ...request, headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  if (response.ok) return response.json();
  const refused = await response.json().catch(() => ({}));
  const message = [refused.error ?? `the daemon answered ${response.status}`, refused.remedy].filter(Boolean).join("; ");
  if (response.status === 401) {
    sessionStorage.removeItem(KEY);
    throw new Unauthorized(message);
  }
  throw new Error(message);
}
