// One run: its timeline, its facts, its log.

import { Problem, read } from "./api.js";
import { announce, fill, h } from "./dom.js";
import { cancelButton } from "./definition.js";
import { duration, hasEnded, moment, since, statusChip, statusWord } from "./format.js";
import { Log } from "./log.js";
import { age, message, path } from "./parts.js";
import { Poll } from "./poll.js";

const ACTIVE_SECONDS = 2;
const ENDED_SECONDS = 20;

export function showRun(content, name, id) {
  const encoded = encodeURIComponent(name);
  const address = `job/${encoded}/${encodeURIComponent(id)}`;
  const stopped = new AbortController();
  const chip = h("span");
  const old = h("span", { class: "hint" });
  const buttons = h("div", { class: "buttons" });
  const body = h("div");
  const timeline = h("ol", { class: "timeline", "aria-label": "Timeline" });
  const facts = h("dl", { class: "details" });
  const result = h("section", { class: "result", hidden: true });
  const log = new Log(address);
  fill(
    content,
    path(name),
    h("div", { class: "head" }, h("h1", { class: "id" }, id), chip, old, buttons),
    body,
  );
  let shown = "";
  let status = "";
  let own = ""; // what the person at this page has done to end it
  let permissions = null;

  read(`job/${encoded}/definition`, { signal: stopped.signal }).then(
    ({ value }) => {
      permissions = value;
      poll.now();
    },
    () => {},
  );

  function mayCancel() {
    return permissions === null || permissions.Permitted.includes("Cancel") || permissions.PermittedOnOwn.includes("Cancel");
  }

  function deleted(text) {
    own = text;
    poll.changed();
  }

  const poll = new Poll(address, {
    seconds: ACTIVE_SECONDS,
    show(run, ageSeconds) {
      age(old, ageSeconds);
      const text = JSON.stringify([run, permissions !== null]);
      if (text === shown) return;
      shown = text;
      if (!timeline.isConnected) fill(body, timeline, h("div", { class: "columns" }, h("div", {}, facts, result), log.element));
      fill(chip, statusChip(run));
      fill(buttons, mayCancel() && run.Reason !== "Deleting" && cancelButton(encoded, run, () => deleted(hasEnded(run) ? "You removed it." : "You cancelled it.")));
      showTimeline(timeline, run);
      showFacts(facts, run);
      result.hidden = !run.Result;
      if (run.Result) fill(result, h("h2", {}, "Result"), h("pre", { tabindex: 0 }, run.Result));
      log.show(run);
      poll.seconds = hasEnded(run) ? ENDED_SECONDS : ACTIVE_SECONDS;
      const word = statusWord(run);
      if (status && status !== word) announce(`The run is ${word}`);
      status = word;
    },
    refuse(problem) {
      log.stop();
      shown = "";
      const gone = problem.status === 404 && status;
      fill(chip);
      fill(buttons);
      fill(body, message(gone ? "This run is gone" : "Not shown", gone ? own || "It was deleted: by its time to live, or by somebody." : problem.message));
      if (problem instanceof Problem && problem.status === 404) poll.stop();
    },
  });
  log.ended = () => poll.now();

  return () => {
    stopped.abort();
    poll.stop();
    log.stop();
  };
}

function showTimeline(timeline, run) {
  const ended = hasEnded(run);
  const started = run.StartTimestamp > 0;
  const reason = run.Reason ? `${run.Reason}${run.Message ? ": " : ""}` : "";
  const now = h("span", { class: "now" }, `${reason}${run.Message}`);
  fill(
    timeline,
    step(
      "done",
      "Queued",
      moment(run.InQueueTimestamp),
      started ? `waited ${duration(run.QueueDurationMilliseconds)}` : ended ? "never started" : ["for ", since(run.InQueueTimestamp), run.PositionInQueue > 0 ? `, position ${run.PositionInQueue}` : ""],
      !started && !ended && now,
    ),
    step(
      started ? "done" : ended ? "skipped" : "next",
      "Started",
      started ? moment(run.StartTimestamp) : "",
      started && (ended ? `ran ${duration(run.RunDurationMilliseconds)}` : ["for ", since(run.StartTimestamp)]),
      started && !ended && (run.Reason || run.Message) && now,
    ),
    step(
      ended ? (run.Status === "Succeeded" ? "good" : "bad") : "next",
      ended ? run.Status : "Ended",
      ended && run.EndTimestamp > 0 ? moment(run.EndTimestamp) : "",
      ended && run.ExitCode >= 0 && `exit code ${run.ExitCode}`,
      ended && (run.Reason || run.Message) && now,
    ),
  );
}

function step(state, title, when, detail, now) {
  return h(
    "li",
    { data: { step: state } },
    h("strong", {}, title),
    when && h("span", { class: "when" }, when),
    detail && h("span", { class: "hint" }, detail),
    now,
  );
}

function showFacts(facts, run) {
  const amounts = (part) => Object.entries(run.Resources[part]).map(([resource, amount]) => `${resource} ${amount}`).join(", ");
  const rows = [
    ["Image", h("code", {}, run.Image)],
    ["Arguments", run.Args === null ? "the image's own" : run.Args.length ? h("code", { class: "args" }, run.Args.map(quote).join(" ")) : "none"],
    ["Attempts", run.Attempts > 1 ? String(run.Attempts) : ""],
    ["Depends on", run.DependsOn === null ? "a faulty list" : run.DependsOn.join(", ")],
    ["Requests", amounts("Requests")],
    ["Limits", amounts("Limits")],
    ["Variables", run.Environments.join(", ")],
    ["Started by", run.StartedBy],
    ["Schedule", run.Schedule ?? ""],
    ["Notification", run.Notification],
    ["Job", h("code", {}, run.Name)],
  ];
  fill(facts, rows.filter(([, value]) => value !== "").map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value))));
}

function quote(argument) {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", String.raw`'\''`)}'`;
}
