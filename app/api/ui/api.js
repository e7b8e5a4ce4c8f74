// Calls the service. Paths are relative to where this file was served, so the page works behind any path prefix.

const ROOT = new URL("../", import.meta.url);
const TIMEOUT_MS = 40_000;

/** How much older than a second an answer to a poll may be: the service shares one list a second among all who poll. */
export const MAX_STALE_SECONDS = 110;

// In the memory of this tab only: it is gone when the tab is closed or reloaded.
let token = "";

export function setToken(text) {
  token = text.trim();
}

export function hasToken() {
  return token !== "";
}

/** The service has answered with an error (RFC 9457). */
export class Problem extends Error {
  constructor(status, detail, errors = [], retryAfterSeconds = 0) {
    super(detail);
    this.status = status;
    this.errors = errors;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** The service can't be reached, or something between it and this page has answered. */
export class Unreachable extends Error {}

/**
 * Send a request, and return the response if it is a success.
 * @param {string} path relative to the API's root, such as `job/fibonacci`
 * @param {object} [options] `method`, `query`, `body` (sent as JSON), `headers`, `signal`, `timeout` in milliseconds
 */
export async function send(path, { method = "GET", query = {}, body, headers = {}, signal, timeout = TIMEOUT_MS } = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) for (const one of [value].flat()) url.searchParams.append(name, one);
  const sent = new Headers(headers);
  if (token) sent.set("Authorization", `Bearer ${token}`);
  if (body !== undefined) sent.set("Content-Type", "application/json");
  const signals = [signal, timeout ? AbortSignal.timeout(timeout) : undefined].filter(Boolean);
  let response;
  try {
    response = await fetch(url, {
      method,
      headers: sent,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.any(signals),
      cache: "no-store",
      redirect: "manual",
      referrerPolicy: "no-referrer",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable("The service can't be reached.");
  }
  if (response.type === "opaqueredirect") throw new Unreachable("A proxy redirects the request, perhaps to a sign-in. Reload the page.");
  if (!response.ok) throw await readProblem(response);
  return response;
}

/** Send a request, and return the JSON of its response and how old that is in seconds. */
export async function read(path, options) {
  const response = await send(path, options);
  try {
    return { value: await response.json(), ageSeconds: Number(response.headers.get("Age") ?? 0), headers: response.headers };
  } catch (error) {
    if (options?.signal?.aborted) throw error;
    throw new Unreachable("Something other than the service has answered.");
  }
}

async function readProblem(response) {
  const retryAfter = Number(response.headers.get("Retry-After"));
  try {
    const problem = await response.json();
    return new Problem(response.status, String(problem.detail), problem.errors ?? [], Number.isFinite(retryAfter) ? retryAfter : 0);
  } catch {
    // Not the service's own: that of a proxy, which can't reach it.
    if (response.status >= 500) return new Unreachable(`A proxy answers with status ${response.status}.`);
    return new Problem(response.status, `The response has status ${response.status}.`);
  }
}

/** Make a random UUID. `crypto.randomUUID` exists over HTTPS and on localhost only. */
export function randomUuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
