// The log of a run, followed while it is printed. The page keeps the end of it, so its memory stays bounded.

import { Problem, send } from "./api.js";
import { fill, h } from "./dom.js";
import { hasEnded } from "./format.js";

const TAIL_LINES = 2000;
const MAX_CHARACTERS = 1_000_000;
const MAX_PIECES = 400;
const MAX_PAUSE_SECONDS = 30;
const NOTHING_YET = "It has printed nothing yet. New lines appear here.";
// Colours and cursor movements of terminals (ECMA-48), and other control characters that would show as boxes.
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-_])|[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;

export class Log {
  #address;
  #request = null;
  #timer = 0;
  #run = null;
  #complete = false;
  #failures = 0;
  #atEnd = true;
  #characters = 0;
  #waiting = "";
  #frame = 0;
  #attempt = "";

  constructor(address) {
    this.#address = address;
    /** Called when the log has ended by itself. */
    this.ended = () => {};
    this.text = h("pre", { class: "log", tabindex: 0, role: "log", "aria-label": "Log", "aria-live": "off" });
    this.notice = h("p", { class: "hint" });
    this.attempts = h("select", { "aria-label": "Attempt", hidden: true, on: { change: () => this.#choose(this.attempts.value) } });
    const wrap = h("button", { type: "button", class: "quiet", "aria-pressed": "false" }, "Wrap lines");
    wrap.addEventListener("click", () => {
      const on = this.text.classList.toggle("wrapped");
      wrap.setAttribute("aria-pressed", on);
    });
    this.toEnd = h("button", { type: "button", class: "quiet", hidden: true, on: { click: () => this.#scroll() } }, "To the end ↓");
    this.element = h(
      "section",
      { class: "log-panel", "aria-label": "Log" },
      h("div", { class: "head" }, h("h2", {}, "Log"), this.attempts, this.toEnd, wrap),
      this.notice,
      this.text,
    );
    this.text.addEventListener("scroll", () => {
      this.#atEnd = this.text.scrollHeight - this.text.scrollTop - this.text.clientHeight < 24;
      this.toEnd.hidden = this.#atEnd;
    });
    this.onVisibility = () => {
      if (document.hidden) this.#pause();
      else this.#begin();
    };
    document.addEventListener("visibilitychange", this.onVisibility);
    window.addEventListener("online", this.onVisibility);
  }

  /** Show the log of the run as it is now. */
  show(run) {
    const before = this.#run;
    this.#run = run;
    if (run.Attempts > 1 && this.attempts.options.length !== run.Attempts + 1) {
      const numbers = Array.from({ length: Math.min(run.Attempts, 100) }, (_, index) => String(index + 1));
      fill(this.attempts, h("option", { value: "" }, "Last attempt"), numbers.map((number) => h("option", { value: number }, `Attempt ${number}`)));
      this.attempts.value = this.#attempt;
      this.attempts.hidden = false;
    }
    if (run.Status === "Queued") this.#say("The run has not started, so it has printed nothing yet.");
    else if (!this.#request && (!this.#complete || (before && !hasEnded(before) && hasEnded(run)))) this.#begin();
  }

  stop() {
    this.#pause();
    this.#run = null;
    document.removeEventListener("visibilitychange", this.onVisibility);
    window.removeEventListener("online", this.onVisibility);
  }

  #choose(attempt) {
    this.#pause();
    this.#attempt = attempt;
    this.#complete = false;
    this.#begin();
  }

  #pause() {
    clearTimeout(this.#timer);
    this.#request?.abort();
    this.#request = null;
  }

  #say(text) {
    if (this.notice.textContent !== text) this.notice.textContent = text;
  }

  async #begin() {
    if (this.#run === null || this.#run.Status === "Queued" || document.hidden || this.#request || this.#complete) return;
    clearTimeout(this.#timer);
    const request = (this.#request = new AbortController());
    const follow = !hasEnded(this.#run) && !this.#attempt;
    // The response begins with the first line, so there may be none for a long time.
    if (follow && !this.#characters) this.#say(NOTHING_YET);
    try {
      const query = { tailLines: TAIL_LINES, ...(follow && { follow: "true" }), ...(this.#attempt && { attempt: this.#attempt }) };
      const response = await send(`${this.#address}/logs`, { query, signal: request.signal, timeout: 0 });
      this.#clear(); // it begins anew, so no line shows twice
      this.#say(follow ? NOTHING_YET : "");
      this.#failures = 0;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        if (this.#request !== request) return;
        this.#add(part.value);
      }
      if (this.#request !== request) return;
      this.#request = null;
      this.#complete = true;
      this.#flush();
      if (!this.#characters) this.#say("It has printed nothing.");
      this.ended();
    } catch (error) {
      if (this.#request !== request || request.signal.aborted) return;
      this.#request = null;
      this.#flush();
      this.#failures += 1;
      const permanent = error instanceof Problem && (error.status === 403 || error.status === 404 || (error.status === 409 && hasEnded(this.#run)));
      if (error instanceof Problem) this.#say(error.status === 429 ? "Too many others read logs. Trying again soon." : error.message);
      else this.#say("The log broke off. Trying again soon.");
      if (permanent) {
        this.#complete = true;
        return;
      }
      const pause = Math.min(MAX_PAUSE_SECONDS, 2 ** this.#failures);
      this.#timer = setTimeout(() => this.#begin(), pause * 1000);
    }
  }

  #clear() {
    fill(this.text);
    this.#characters = 0;
    this.#waiting = "";
  }

  #add(text) {
    this.#waiting += text;
    if (this.#waiting.length > MAX_CHARACTERS) this.#waiting = this.#waiting.slice(-MAX_CHARACTERS);
    this.#frame ||= requestAnimationFrame(() => this.#flush());
  }

  #flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const text = this.#waiting.replace(ESCAPES, "");
    this.#waiting = "";
    if (!text) return;
    if (this.notice.textContent === NOTHING_YET) this.#say("");
    this.text.append(text);
    this.#characters += text.length;
    if (this.text.childNodes.length > MAX_PIECES) this.text.normalize();
    while (this.#characters > MAX_CHARACTERS && this.text.firstChild) {
      const first = this.text.firstChild;
      const removed = Math.min(first.length, this.#characters - MAX_CHARACTERS);
      if (removed === first.length) first.remove();
      else first.deleteData(0, removed);
      this.#characters -= removed;
      this.#say("Only the end of the log is shown.");
    }
    if (this.#atEnd) this.#scroll();
  }

  #scroll() {
    this.text.scrollTop = this.text.scrollHeight;
    this.toEnd.hidden = true;
  }
}
