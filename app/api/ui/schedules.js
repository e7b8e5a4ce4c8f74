// The schedules of a definition: when runs start by themselves.

import { Problem, send } from "./api.js";
import { announce, fill, h, showItems } from "./dom.js";
import { confirm } from "./dialog.js";
import { moment } from "./format.js";
import { Poll } from "./poll.js";

const SECONDS = 20;

/**
 * Show the schedules of a definition, and keep them up to date.
 * @param {HTMLElement} section where; it is hidden as long as there are none
 * @param {string} encoded the definition's name as part of a path
 * @param {(action: string) => boolean} may whether the caller may do something
 * @returns {Poll}
 */
export function showSchedules(section, encoded, may) {
  const list = h("ul", { class: "schedule-list" });
  fill(section, h("h2", {}, "Schedules"), list);
  const poll = new Poll(`job-schedules/${encoded}`, {
    seconds: SECONDS,
    show(schedules) {
      section.hidden = !schedules.length;
      showItems(list, schedules, (one) => one.Id, (one) => row(encoded, one, may, () => poll.changed()));
    },
    refuse() {
      section.hidden = true;
    },
  });
  return poll;
}

function row(encoded, schedule, may, changed) {
  const path = `job-schedules/${encoded}/${schedule.Id}`;
  const error = h("span", { class: "error", role: "alert", hidden: true });
  const own = schedule.Source === "Http";
  const says = {
    Active: schedule.NextTimestamp > 0 ? `next ${moment(schedule.NextTimestamp)}` : "no next time",
    Suspended: "paused",
    Refused: `refused: ${schedule.Message}`,
  };
  const pause = async () => {
    error.hidden = true;
    try {
      await send(path, { method: "PATCH", body: { Suspend: !schedule.Suspend } });
      announce(schedule.Suspend ? "Resumed" : "Paused");
      changed();
    } catch (failure) {
      error.textContent = failure.message;
      error.hidden = false;
    }
  };
  const remove = () =>
    confirm({
      title: "Delete this schedule?",
      text: `${schedule.Schedule} starts no runs any more, and its queued runs are deleted. The others stay.`,
      action: "Delete the schedule",
      busy: "Deleting …",
      async run() {
        try {
          await send(path, { method: "DELETE" });
        } catch (failure) {
          if (!(failure instanceof Problem) || failure.status !== 404) throw failure; // 404: it is gone, as wanted
        }
        announce("The schedule is deleted");
        changed();
      },
    });
  return h(
    "li",
    {},
    h("code", {}, schedule.Schedule),
    h("span", { class: "hint" }, schedule.TimeZone),
    h("span", { class: schedule.Status === "Refused" ? "error" : "hint" }, says[schedule.Status] ?? schedule.Status),
    schedule.Args?.length > 0 && h("span", { class: "args hint" }, schedule.Args.join(" ")),
    !own && h("span", { class: "badge" }, schedule.Source === "CronJob" ? "CronJob" : "Configuration"),
    h(
      "span",
      { class: "buttons" },
      own && may("ChangeSchedule") && h("button", { type: "button", class: "small", data: { focus: "pause" }, on: { click: pause } }, schedule.Suspend ? "Resume" : "Pause"),
      own && may("DeleteSchedule") && h("button", { type: "button", class: "small", data: { focus: "delete" }, on: { click: remove } }, "Delete"),
    ),
    error,
  );
}
