// Parts that several views show: slots, dependencies, schedules, and messages in place of a view.

import { h } from "./dom.js";
import { count, moment } from "./format.js";

const MAX_SEGMENTS = 20;

/** Show how many slots are in use. */
export function slots(definition) {
  const { ActiveRuns: used, NumberParallelJob: all } = definition;
  const text = `${used} of ${count(all, "slot")} in use`;
  const bar = h("span", { class: "slots", "aria-hidden": "true", data: { over: used > all ? "yes" : "no" } });
  if (all <= MAX_SEGMENTS) {
    for (let index = 0; index < all; index += 1) bar.append(h("span", { class: index < used ? "slot used" : "slot" }));
  } else {
    const whole = h("span", { class: "slot whole" });
    whole.style.setProperty("--used", `${Math.min(100, (100 * used) / all)}%`);
    bar.append(whole);
  }
  return h("div", { class: "slots-line" }, bar, h("span", {}, text));
}

/** Show how many runs are queued. */
export function queue(definition) {
  const { QueueLength: length, MaxQueued: most } = definition;
  if (length === undefined) return null;
  const text = length ? `${length} queued` : "Queue empty";
  return h("span", { class: length ? "queue waiting" : "queue" }, text, most === null ? "" : ` (at most ${most})`);
}

/** Show what runs depend on, and whether that is ready. */
export function dependencies(definition) {
  if (!definition.DependsOn?.length) return null;
  return h(
    "ul",
    { class: "dependencies", "aria-label": "Dependencies" },
    definition.DependsOn.map((one) =>
      h(
        "li",
        { class: "dependency", data: { ready: one.Ready ? "yes" : "no" }, title: one.Message },
        h("span", { class: "sign", "aria-hidden": "true" }, one.Ready ? "✓" : "○"),
        h("span", { class: "name" }, one.Name),
        h("span", { class: "hint" }, one.Ready ? "ready" : one.Message),
      ),
    ),
  );
}

/** Show when runs start by themselves. */
export function schedules(definition) {
  if (!definition.Schedules?.length) return null;
  return h(
    "ul",
    { class: "schedules", "aria-label": "Schedules" },
    definition.Schedules.map((one) =>
      h(
        "li",
        { class: "schedule" },
        h("code", {}, String(one.Schedule ?? one.Id ?? "")),
        one.TimeZone ? ` ${one.TimeZone}` : "",
        one.Suspend || one.Suspended ? h("span", { class: "hint" }, " suspended") : null,
        Number(one.NextTimestamp) > 0 ? h("span", { class: "hint" }, ` next ${moment(one.NextTimestamp)}`) : null,
      ),
    ),
  );
}

/** Show a message in place of something, with an action or none. */
export function message(title, text, action) {
  return h("div", { class: "message" }, h("h2", {}, title), h("p", {}, text), action);
}

/** Show where the view is, as links to the views above it. */
export function path(...steps) {
  return h(
    "nav",
    { class: "path", "aria-label": "Path" },
    h("a", { href: "#/" }, "Definitions"),
    steps.map((name) => [h("span", { "aria-hidden": "true" }, "/"), h("a", { href: `#/${encodeURIComponent(name)}` }, name)]),
  );
}

/** Show how old the data is, where it is older than usual. */
export function age(element, seconds) {
  element.textContent = seconds >= 5 ? `as of ${seconds} s ago` : "";
}
