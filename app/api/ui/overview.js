// All definitions: slots, queues, dependencies and schedules.

import { fill, h, showItems } from "./dom.js";
import { age, dependencies, message, queue, schedules, slots } from "./parts.js";
import { Poll } from "./poll.js";

const SECONDS = 3;

export function showOverview(content) {
  const old = h("span", { class: "hint" });
  const cards = h("ul", { class: "cards" });
  const notice = h("div");
  fill(
    content,
    h("div", { class: "head" }, h("h1", {}, "Definitions"), old),
    notice,
    cards,
    h("p", { class: "loading" }, "Reading the definitions …"),
  );
  const poll = new Poll("jobs/status", {
    seconds: SECONDS,
    show(definitions, ageSeconds) {
      content.querySelector(".loading")?.remove();
      age(old, ageSeconds);
      fill(
        notice,
        !definitions.length &&
          message("No definition", "There is none, or none that you may use. For private definitions, use a token."),
      );
      showItems(cards, definitions, (one) => one.Name, card);
    },
    refuse(problem) {
      content.querySelector(".loading")?.remove();
      fill(cards);
      fill(notice, message("Not shown", problem.message));
    },
  });
  return () => poll.stop();
}

function card(definition) {
  return h(
    "li",
    { class: "card" },
    h(
      "div",
      { class: "card-top" },
      h("h2", {}, h("a", { href: `#/${encodeURIComponent(definition.Name)}`, data: { focus: "open" } }, definition.Name)),
      definition.Visibility === "Private" && h("span", { class: "badge" }, "Private"),
      definition.Source === "CronJob" && h("span", { class: "badge" }, "CronJob"),
    ),
    slots(definition),
    queue(definition),
    dependencies(definition),
    schedules(definition),
    definition.Image && h("p", { class: "image hint" }, definition.Image),
  );
}
