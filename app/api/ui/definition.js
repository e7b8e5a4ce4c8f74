// One definition: its state, its runs as a live table, and the start of a run.

import { Problem, read, send } from "./api.js";
import { announce, fill, h, showItems } from "./dom.js";
import { confirm } from "./dialog.js";
import { ago, count, duration, hasEnded, since, statusChip } from "./format.js";
import { age, dependencies, message, path, queue, schedules, slots } from "./parts.js";
import { Poll } from "./poll.js";
import { showSchedules } from "./schedules.js";
import { openSchedule, openStart } from "./start.js";
import { startedHere } from "./started.js";

const RUNS_SECONDS = 2;
const STATUS_SECONDS = 4;
const FILTERS = {
  All: [],
  Queued: ["Queued"],
  Active: ["Pending", "Running", "ImagePullBackOff"],
  Succeeded: ["Succeeded"],
  Failed: ["Failed"],
};
const LIMITS = [50, 100, 200, 500];

export function showDefinition(content, name) {
  const encoded = encodeURIComponent(name);
  const stopped = new AbortController();
  const facts = h("div", { class: "facts" });
  const buttons = h("div", { class: "buttons" });
  const old = h("span", { class: "hint" });
  const list = h("section", { "aria-label": "Runs" });
  const timetable = h("section", { "aria-label": "Schedules", hidden: true });
  fill(
    content,
    path(),
    h("div", { class: "head" }, h("h1", {}, name), buttons),
    facts,
    timetable,
    list,
  );
  let bounds = null;
  let runs = null;
  let schedulesPoll = null;
  const may = (action) => bounds?.Permitted.includes(action) || bounds?.PermittedOnOwn.includes(action);

  const status = new Poll("jobs/status", {
    seconds: STATUS_SECONDS,
    show(definitions) {
      const found = definitions.find((one) => one.Name === name);
      if (found) showFacts(facts, may("ListSchedules") ? { ...found, Schedules: [] } : found);
    },
    refuse() {},
  });

  readBounds();

  async function readBounds() {
    try {
      ({ value: bounds } = await read(`job/${encoded}/definition`, { signal: stopped.signal }));
    } catch (error) {
      if (stopped.signal.aborted) return;
      if (error instanceof Problem && error.status === 404) {
        status.stop();
        fill(facts);
        fill(list, message("Unknown definition", error.message));
        return;
      }
      if (!(error instanceof Problem) || error.status >= 500) {
        setTimeout(() => stopped.signal.aborted || readBounds(), 5000);
        return;
      }
      fill(buttons, h("span", { class: "hint" }, error.message));
    }
    fill(
      buttons,
      may("CreateSchedule") && h("button", { type: "button", on: { click: () => openSchedule(bounds, () => schedulesPoll?.changed()) } }, "Add a schedule"),
      may("Start") && h("button", { type: "button", class: "primary", on: { click: start } }, "Start a run"),
    );
    if (may("ListSchedules")) schedulesPoll = showSchedules(timetable, encoded, may);
    if (bounds && !may("List")) showOwn();
    else showRuns();
  }

  function start() {
    openStart(bounds, (id) => {
      location.hash = `#/${encoded}/${id}`;
    });
  }

  function showRuns() {
    let filter = "All";
    let limit = 0;
    const rows = h("tbody");
    const empty = h("p", { class: "empty", hidden: true });
    const more = h("button", { type: "button", hidden: true, on: { click: () => choose(filter, limit + 1) } }, "Show more");
    const choices = Object.keys(FILTERS).map((choice) =>
      h("button", { type: "button", "aria-pressed": String(choice === filter), on: { click: () => choose(choice, 0) } }, choice),
    );
    const emptyQueue = h("button", { type: "button", class: "quiet", hidden: true, on: { click: () => confirmEmpty() } }, "Empty the queue");
    const table = h(
      "table",
      { class: "runs" },
      h("caption", { class: "visually-hidden" }, `Runs of ${name}, newest first`),
      h("thead", {}, h("tr", {}, ["Status", "Run", "What it waits for, or says", "Queued", "Took", ""].map((text) => h("th", { scope: "col" }, text || h("span", { class: "visually-hidden" }, "Actions"))))),
      rows,
    );
    fill(
      list,
      h("div", { class: "head" }, h("h2", {}, "Runs"), old, h("div", { class: "filter", role: "group", "aria-label": "Show" }, choices)),
      table,
      empty,
      h("div", { class: "below" }, more, emptyQueue),
    );
    table.hidden = true;

    function choose(choice, size) {
      filter = choice;
      limit = size;
      for (const button of choices) button.setAttribute("aria-pressed", button.textContent === filter);
      poll();
    }

    function confirmEmpty() {
      confirm({
        title: "Empty the queue?",
        text: `All queued runs of ${name} are deleted. Runs that have started go on.`,
        action: "Delete the queued runs",
        busy: "Deleting …",
        async run() {
          const response = await send(`job/${encoded}`, { method: "DELETE", query: { status: "Queued" }, timeout: 0 });
          const result = await response.json();
          announce(`${count(result.Deleted, "run")} deleted, ${result.Remaining} remaining`);
          runs.changed();
        },
      });
    }

    function poll() {
      runs?.stop();
      runs = new Poll(`job/${encoded}`, {
        query: { limit: LIMITS[limit], status: FILTERS[filter] },
        seconds: RUNS_SECONDS,
        show(found, ageSeconds, headers) {
          age(old, ageSeconds);
          table.hidden = !found.length;
          empty.hidden = found.length > 0;
          empty.textContent = filter === "All" ? "No runs yet." : `No ${filter.toLowerCase()} runs.`;
          more.hidden = !headers.has("Link") || limit === LIMITS.length - 1;
          emptyQueue.hidden = !bounds?.Permitted.includes("Empty") || !found.some((run) => run.Status === "Queued");
          showItems(rows, found, (run) => run.Id, (run) => row(encoded, run, may("Cancel"), () => runs.changed()));
        },
        refuse(problem) {
          fill(list, message("Runs are not shown", problem.message), openById(encoded));
        },
      });
    }

    poll();
  }

  function showOwn() {
    const own = startedHere(name);
    fill(
      list,
      message(
        "Runs are listed for trusted callers only",
        "You may start runs. With its id you may follow and cancel any of them. A token may open the list.",
      ),
      own.length > 0 && h("h2", {}, "Started in this tab"),
      h("ul", { class: "plain" }, own.map((id) => h("li", {}, h("a", { href: `#/${encoded}/${id}` }, id)))),
      openById(encoded),
    );
  }

  return () => {
    stopped.abort();
    status.stop();
    runs?.stop();
    schedulesPoll?.stop();
  };
}

function showFacts(facts, definition) {
  fill(
    facts,
    slots(definition),
    queue(definition),
    dependencies(definition),
    schedules(definition),
    definition.Image && h("p", { class: "image hint" }, definition.Image),
  );
}

function openById(encoded) {
  const field = h("input", { id: "run-id", autocomplete: "off", spellcheck: "false", pattern: "[a-z2-7]{12}", required: true, placeholder: "flskh5ipglrj" });
  return h(
    "form",
    {
      class: "open",
      on: {
        submit: (event) => {
          event.preventDefault();
          location.hash = `#/${encoded}/${encodeURIComponent(field.value.trim())}`;
        },
      },
    },
    h("label", { for: "run-id" }, "Open a run by its id"),
    h("span", { class: "joined" }, field, h("button", { type: "submit" }, "Open")),
  );
}

function row(encoded, run, mayCancel, changed) {
  const ended = hasEnded(run);
  const says = run.Message || (ended ? run.Result : "") || run.Reason;
  return h(
    "tr",
    {},
    h("td", { class: "status" }, statusChip(run)),
    h("td", { class: "id" }, h("a", { href: `#/${encoded}/${run.Id}`, data: { focus: "open" } }, run.Id), run.Args?.length ? h("span", { class: "args hint" }, run.Args.join(" ")) : null),
    h("td", { class: "says" }, run.Status === "Queued" && run.PositionInQueue > 0 && h("span", { class: "position" }, `#${run.PositionInQueue}`), says),
    h("td", { class: "queued", data: { label: "Queued" } }, ago(run.InQueueTimestamp)),
    h(
      "td",
      { class: "took", data: { label: "Took" } },
      ended ? (run.RunDurationMilliseconds < 0 ? "–" : duration(run.RunDurationMilliseconds)) : run.StartTimestamp > 0 ? since(run.StartTimestamp) : "–",
    ),
    h("td", { class: "act" }, mayCancel && run.Reason !== "Deleting" && cancelButton(encoded, run, changed)),
  );
}

/** Make the button that cancels a run, or removes one that has ended. */
export function cancelButton(encoded, run, changed) {
  const ended = hasEnded(run);
  const verb = ended ? "Remove" : "Cancel";
  const ask = () =>
    confirm({
      title: `${verb} this run?`,
      text: ended
        ? `${run.Id} and its log are deleted.`
        : run.Status === "Queued"
          ? `${run.Id} is deleted from the queue.`
          : `${run.Id} is ended and deleted, with its log. It keeps its slot until its pod is gone.`,
      action: `${verb} the run`,
      busy: ended ? "Removing …" : "Cancelling …",
      async run() {
        try {
          await send(`job/${encoded}/${run.Id}`, { method: "DELETE" });
        } catch (error) {
          if (!(error instanceof Problem) || error.status !== 404) throw error; // 404: it is gone, as wanted
        }
        announce(`${run.Id}: ${ended ? "removed" : "cancelled"}`);
        changed();
      },
    });
  return h("button", { type: "button", class: "small", "aria-label": `${verb} ${run.Id}`, data: { focus: "cancel" }, on: { click: ask } }, verb);
}
