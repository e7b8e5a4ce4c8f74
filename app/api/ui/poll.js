// Polls: only while the tab is visible, less and less often after errors, and at once when the network is back.

import { MAX_STALE_SECONDS, Problem, Unreachable, read } from "./api.js";

const MAX_PAUSE_SECONDS = 30;
const KEPT_MILLISECONDS = 1200; // so long the service may answer with what it has read before

const polls = new Set();
const listeners = new Set();

/** Call a function with the state of the connection whenever it changes: `live`, `paused`, or `offline` with the error. */
export function onConnection(listener) {
  listeners.add(listener);
}

let last = "";

function tell(state, error, seconds) {
  const text = JSON.stringify([state, error?.message, seconds]);
  if (text === last) return;
  last = text;
  for (const listener of listeners) listener(state, error, seconds);
}

/** Poll everything now, for instance because a run was started. */
export function pollNow() {
  for (const poll of polls) poll.now();
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    for (const poll of polls) poll.pause();
    tell("paused");
  } else {
    pollNow();
  }
});
window.addEventListener("online", pollNow);
window.addEventListener("offline", () => tell("offline", new Unreachable("This device is offline."), 0));

/** Reads a path again and again, from its construction on. */
export class Poll {
  #path;
  #options;
  #timer = 0;
  #again = 0;
  #failures = 0;
  #request = null;
  #fresh = true;

  /**
   * @param {string} path what to read
   * @param {object} options `query`; `seconds` between two reads; `show`, called with the value and its age in seconds;
   *   `refuse`, called with a Problem (4xx), after which it is asked again only rarely
   */
  constructor(path, options) {
    this.#path = path;
    this.#options = options;
    polls.add(this);
    this.now();
  }

  /** Change how often it reads. */
  set seconds(seconds) {
    this.#options.seconds = seconds;
  }

  /** Read now, and accept no old answer. */
  now() {
    this.#fresh = true;
    this.pause();
    if (!document.hidden) this.#read();
  }

  /** Read now because something was changed, and once more when no answer from before the change is kept. */
  changed() {
    this.now();
    this.#again = setTimeout(() => this.now(), KEPT_MILLISECONDS);
  }

  /** Wait until `now` is called. */
  pause() {
    clearTimeout(this.#timer);
    clearTimeout(this.#again);
    this.#request?.abort();
    this.#request = null;
  }

  stop() {
    polls.delete(this);
    this.pause();
  }

  async #read() {
    const request = (this.#request = new AbortController());
    const { query, show, refuse, seconds } = this.#options;
    const headers = { "Cache-Control": `max-stale=${this.#fresh ? 0 : MAX_STALE_SECONDS}` };
    let pause = seconds;
    try {
      const answer = await read(this.#path, { query, headers, signal: request.signal });
      if (this.#request !== request) return;
      this.#failures = 0;
      this.#fresh = false;
      tell("live");
      show(answer.value, answer.ageSeconds, answer.headers);
      pause = this.#options.seconds;
    } catch (error) {
      if (this.#request !== request || request.signal.aborted) return;
      this.#failures += 1;
      pause = Math.min(MAX_PAUSE_SECONDS, seconds * 2 ** this.#failures);
      if (error instanceof Problem && error.status < 500 && error.status !== 429) {
        tell("live");
        pause = MAX_PAUSE_SECONDS;
        refuse(error);
      } else if (error instanceof Problem || error instanceof Unreachable) {
        pause = Math.max(pause, Math.min(error.retryAfterSeconds ?? 0, MAX_PAUSE_SECONDS));
        tell("offline", error, Math.round(pause));
      } else {
        throw error;
      }
    }
    // Not all pages at the same moments.
    if (this.#request === request) this.#timer = setTimeout(() => this.#read(), pause * 1000 * (0.9 + 0.2 * Math.random()));
  }
}
