// Times and durations as people write them, and elements that show them.

import { h } from "./dom.js";

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY_AND_CLOCK = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** Write a duration: `less than 1 s`, `0.4 s`, `42 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`. */
export function duration(milliseconds) {
  const seconds = Math.max(0, milliseconds) / 1000;
  if (seconds < 0.1) return "less than 1 s";
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => whole >= size);
  return parts
    .slice(first, first + 2)
    .map(([size, unit], index) => [index ? Math.floor((whole % parts[first][0]) / size) : Math.floor(whole / size), unit])
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(" ");
}

/** Write a moment of today as a time of day, any other with its day. */
export function moment(milliseconds) {
  const date = new Date(milliseconds);
  return (date.toDateString() === new Date().toDateString() ? CLOCK : DAY_AND_CLOCK).format(date);
}

/** Make an element that says how long ago a moment was, and goes on counting. */
export function ago(milliseconds) {
  const element = h("time", {
    datetime: new Date(milliseconds).toISOString(),
    title: DAY_AND_CLOCK.format(milliseconds),
    data: { since: milliseconds, suffix: " ago" },
  });
  tick(element);
  return element;
}

/** Make an element that says how much time has passed since a moment, and goes on counting. */
export function since(milliseconds) {
  const element = h("span", { class: "counting", data: { since: milliseconds, suffix: "" } });
  tick(element);
  return element;
}

function tick(element) {
  const passed = Math.max(0, Date.now() - Number(element.dataset.since));
  const whole = Math.max(1, Math.floor(passed / 1000)) * 1000;
  const text = passed < 1500 && element.dataset.suffix ? "just now" : duration(whole) + element.dataset.suffix;
  if (element.textContent !== text) element.textContent = text;
}

setInterval(() => {
  if (!document.hidden) document.querySelectorAll("[data-since]").forEach(tick);
}, 1000);

const SIGNS = { Queued: "○", Pending: "◔", Running: "●", Succeeded: "✓", Failed: "✕", ImagePullBackOff: "!" };
const WORDS = { ImagePullBackOff: "Image not pulled" };

/** Name a run's status as people read it. */
export function statusWord(run) {
  return run.Reason === "Deleting" ? "Ending" : (WORDS[run.Status] ?? run.Status);
}

/** Make the chip that shows a run's status. */
export function statusChip(run) {
  return h(
    "span",
    { class: "chip", data: { status: run.Status } },
    h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[run.Status] ?? "·"),
    statusWord(run),
  );
}

/** Return whether a run has ended. */
export function hasEnded(run) {
  return run.Status === "Succeeded" || run.Status === "Failed";
}

/** Write a number with its noun: `1 run`, `2 runs`. */
export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
