// The form that starts a run, or makes a schedule: a field for what the definition lets a request set, and a dry run
// while one types.

import { Problem, Unreachable, randomUuid, send } from "./api.js";
import { announce, fill, h } from "./dom.js";
import { openDialog } from "./dialog.js";
import { duration } from "./format.js";
import { rememberStarted } from "./started.js";

const DRY_RUN_PAUSE_MS = 500;
const MAX_TRIES = 4;

/**
 * Open the form that starts a run.
 * @param {object} bounds of the definition, as `GET /job/<name>/definition` tells them
 * @param {(id: string) => void} started called with the id of the run
 */
export function openStart(bounds, started) {
  openForm({
    title: `Start a run of ${bounds.Name}`,
    path: `job/${encodeURIComponent(bounds.Name)}`,
    fields: makeFields(bounds),
    words: { action: "Start", busy: "Starting …", good: "Checked: this run would be accepted.", thing: "run" },
    done(id) {
      rememberStarted(bounds.Name, id);
      announce(`Run ${id} is stored`);
      started(id);
    },
  });
}

/**
 * Open the form that makes a schedule.
 * @param {object} bounds see `openStart`
 * @param {() => void} made called when it is made
 */
export function openSchedule(bounds, made) {
  openForm({
    title: `Add a schedule of ${bounds.Name}`,
    path: `job-schedules/${encodeURIComponent(bounds.Name)}`,
    fields: [...scheduleFields(bounds), ...makeFields(bounds)],
    words: { action: "Add", busy: "Adding …", good: "Checked: this schedule would be accepted.", thing: "schedule" },
    done(id) {
      announce(`Schedule ${id} is stored`);
      made();
    },
  });
}

function openForm({ title, path, fields, words, done }) {
  const key = { body: "", value: "" };
  let dryRun = null;
  let timer = 0;
  const dialog = openDialog(title, (close) => {
    const verdict = h("p", { class: "verdict", role: "status" });
    const button = h("button", { type: "submit", class: "primary" }, words.action);
    const preview = h("pre", { tabindex: 0 });
    const [basic, advanced] = [fields.filter((one) => !one.advanced), fields.filter((one) => one.advanced)];
    const form = h(
      "form",
      { novalidate: true },
      !fields.length && h("p", {}, "A request may set nothing here: all runs of this definition are alike."),
      basic.map((one) => one.element),
      advanced.length > 0 && h("details", {}, h("summary", {}, "More settings"), h("div", { class: "grid" }, advanced.map((one) => one.element))),
      h("details", {}, h("summary", {}, "The request"), preview),
      verdict,
      h("div", { class: "actions" }, h("button", { type: "button", on: { click: close } }, "Back"), button),
    );
    form.addEventListener("input", () => {
      showPreview();
      check();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      submit();
    });
    form.addEventListener("focusout", (event) => {
      const field = fields.find((one) => one.input === event.target);
      if (!field?.isUntouched()) return;
      field.left = true;
      check();
    });

    function showPreview() {
      const body = JSON.stringify(bodyOf(fields));
      const data = body === "{}" ? "" : ` -d ${shellQuote(body)}`;
      preview.textContent = `curl -X POST ${shellQuote(new URL(`../${path}`, import.meta.url).href)}${data}`;
    }

    function check() {
      clearTimeout(timer);
      dryRun?.abort();
      say("", "Checking …");
      timer = setTimeout(async () => {
        const request = (dryRun = new AbortController());
        try {
          await send(path, { method: "POST", query: { dryRun: "true" }, body: bodyOf(fields), signal: request.signal });
          if (request.signal.aborted) return;
          if (faultsOf(fields).length) throw new Problem(422, "", []);
          showErrors(fields, []);
          say("good", words.good);
        } catch (error) {
          if (request.signal.aborted) return;
          refuse(error, "It can't be checked now. ");
        }
      }, DRY_RUN_PAUSE_MS);
    }

    function say(kind, ...text) {
      verdict.dataset.kind = kind;
      fill(verdict, text);
    }

    function refuse(error, before) {
      const errors = [...faultsOf(fields), ...(error instanceof Problem ? error.errors : [])];
      const left = showErrors(fields, errors);
      if (error instanceof Problem && error.status < 500) {
        const needed = fields.filter((field) => field.isUntouched() && errors.some((one) => field.covers(one.pointer)));
        const marked = fields.some((field) => !field.error.hidden);
        if (needed.length && !marked && !left.length) return say("", `Still needed: ${needed.map((field) => field.label).join(", ")}.`);
        say("bad", errors.length ? marked && "See what is marked above. " : error.message, left.map((one) => `${one.pointer}: ${one.message}. `));
      } else {
        say("bad", before, error.message);
      }
    }

    async function submit() {
      clearTimeout(timer);
      dryRun?.abort();
      for (const field of fields) field.left = true;
      if (faultsOf(fields).length) return refuse(new Problem(422, "", []), "");
      button.disabled = true;
      say("", words.busy);
      try {
        const made = await start(bodyOf(fields));
        close();
        done(made.Id);
      } catch (error) {
        button.disabled = false;
        refuse(error, `It is not known whether the ${words.thing} was stored. To try again is safe: it makes no second ${words.thing}. `);
      }
    }

    showPreview();
    check();
    return form;
  });
  dialog.addEventListener("close", () => {
    clearTimeout(timer);
    dryRun?.abort();
  });

  /** Send the request, and again if its answer is lost. The key makes all tries one run. */
  async function start(body) {
    const text = JSON.stringify(body);
    if (key.body !== text) Object.assign(key, { body: text, value: randomUuid() });
    for (let attempt = 1; ; attempt += 1) {
      try {
        const response = await send(path, { method: "POST", body, headers: { "Idempotency-Key": key.value } });
        return await response.json();
      } catch (error) {
        const lost = error instanceof Unreachable || error.status === 503;
        if (!lost || attempt === MAX_TRIES || !dialog.open) throw error;
        await new Promise((resolve) => setTimeout(resolve, 1000 * 2 ** (attempt - 1)));
      }
    }
  }
}

function bodyOf(fields) {
  const body = {};
  for (const field of fields) field.put(body);
  return body;
}

/** Return what can be seen to be wrong without asking the service, in the form of its errors. */
function faultsOf(fields) {
  return fields.flatMap((field) => field.faults());
}

/** Show the errors at their fields, except at those that nobody has filled in yet; return those that belong to none. */
function showErrors(fields, errors) {
  const left = errors.filter((error) => !fields.some((field) => field.covers(error.pointer)));
  for (const field of fields) {
    const own = field.isUntouched() ? [] : errors.filter((error) => field.covers(error.pointer));
    field.error.textContent = own.map((error) => field.describe(error)).join(" ");
    field.error.hidden = !own.length;
    if (own.length) {
      field.input.setAttribute("aria-invalid", "true");
      field.input.closest("details")?.setAttribute("open", "");
    } else {
      field.input.removeAttribute("aria-invalid");
    }
  }
  return left;
}

class Field {
  /**
   * @param {object} options `name` (a key of the request), `pointer` (of the errors about it), `label`, `hint`, `input`,
   *   `put` (writes its value into a body, or nothing if it is empty), `advanced`, `required`, and `faults` (see `faultsOf`)
   */
  constructor({ name, pointer = `/${name}`, label, hint = "", input, put, advanced = false, required = false, faults = () => [], describe = (error) => sentence(error.message) }) {
    const id = `field-${pointer.slice(1).replaceAll("/", "-").replaceAll(".", "_")}`;
    this.pointer = pointer;
    this.label = label;
    this.required = required;
    this.left = false;
    this.faults = faults;
    this.input = input;
    this.put = put;
    this.advanced = advanced;
    this.describe = describe;
    this.error = h("span", { class: "error", id: `${id}-error`, hidden: true });
    input.id = id;
    input.setAttribute("aria-describedby", `${id}-hint ${id}-error`);
    this.element = h("div", { class: "field" }, h("label", { for: id }, label), input, h("span", { class: "hint", id: `${id}-hint` }, hint), this.error);
  }

  /** Return whether it has to be filled in, and nobody has tried yet. */
  isUntouched() {
    return this.required && !this.left && !this.input.value;
  }

  covers(pointer) {
    return pointer === this.pointer || pointer.startsWith(`${this.pointer}/`);
  }
}

function sentence(text) {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`;
}

function makeFields(bounds) {
  const may = new Set(bounds.Overridable);
  const text = (properties) => h("input", { autocomplete: "off", autocapitalize: "off", spellcheck: "false", ...properties });
  const fields = [];
  if (may.has("Args")) fields.push(argsField(bounds));
  if (may.has("Image") && bounds.ImagesWhitelist.length) {
    const input = text({ placeholder: bounds.Image });
    fields.push(
      new Field({
        name: "Image",
        label: "Image",
        hint: `Empty: the one that is shown. Allowed: ${bounds.ImagesWhitelist.join(", ")}`,
        input,
        put: (body) => input.value.trim() && (body.Image = input.value.trim()),
      }),
    );
  }
  if (may.has("Environments") && bounds.EnvironmentsWhitelist?.length !== 0) fields.push(variablesField(bounds));
  if (may.has("DependsOn")) {
    const input = text({ placeholder: bounds.DependsOn.join(" ") || "none" });
    fields.push(
      new Field({
        name: "DependsOn",
        label: "Depends on",
        hint: `Deployments or StatefulSets that must be ready first, with spaces between. Empty: ${bounds.DependsOn.length ? "as shown" : "none"}.`,
        input,
        advanced: true,
        put: (body) => input.value.trim() && (body.DependsOn = input.value.trim().split(/[\s,]+/)),
      }),
    );
  }
  if (may.has("Resources")) fields.push(...resourceFields(bounds, text));
  const numbers = [
    ["BackoffLimit", "Retries", bounds.BackoffLimit, bounds.MaxBackoffLimit, (number) => String(number)],
    ["QueueTimeoutSeconds", "Longest time in the queue, in seconds", bounds.QueueTimeoutSeconds, bounds.QueueTimeoutSeconds, inWords],
    ["PendingTimeoutSeconds", "Longest time to start, in seconds", bounds.PendingTimeoutSeconds, bounds.PendingTimeoutSeconds, inWords],
    ["TimeoutSeconds", "Longest time to run, in seconds", bounds.TimeoutSeconds, bounds.TimeoutSeconds, inWords],
    ["TtlSecondsAfterFinished", "Kept after its end, in seconds", bounds.TtlSecondsAfterFinished, bounds.TtlSecondsAfterFinished, inWords],
  ];
  for (const [name, label, given, most, words] of numbers) {
    if (!may.has(name)) continue;
    const input = text({ inputmode: "numeric", placeholder: given ?? "no limit" });
    fields.push(
      new Field({
        name,
        label,
        hint: most === null ? "The definition sets no limit." : `At most ${words(most)}.`,
        input,
        advanced: true,
        put: (body) => input.value.trim() && (body[name] = numberOr(input.value.trim())),
      }),
    );
  }
  if (may.has("Priority")) {
    const named = bounds.Priority || "Kueue's default";
    const input = h("select", {}, h("option", { value: "" }, `As defined: ${named}`), bounds.PrioritiesWhitelist.map((one) => h("option", { value: one }, one)));
    fields.push(
      new Field({
        name: "Priority",
        label: "Priority",
        hint: `How queue ${bounds.Queue} of Kueue ranks the run.`,
        input,
        advanced: true,
        put: (body) => input.value && (body.Priority = input.value),
      }),
    );
  }
  if (may.has("RestartPolicy")) {
    const input = h("select", {}, h("option", { value: "" }, `As defined: ${bounds.RestartPolicy}`), ["Never", "OnFailure"].map((one) => h("option", { value: one }, one)));
    fields.push(
      new Field({
        name: "RestartPolicy",
        label: "A retry is",
        hint: "Never: a new pod. OnFailure: a restart in the same pod.",
        input,
        advanced: true,
        put: (body) => input.value && (body.RestartPolicy = input.value),
      }),
    );
  }
  return fields;
}

function inWords(seconds) {
  return `${seconds} (${duration(seconds * 1000)})`;
}

function scheduleFields(bounds) {
  // Schedules of a public definition must not pile up runs, so the service allows no "Allow" there.
  const first = bounds.Visibility === "Public" ? [["", "Forbid: none starts"]] : [["", "Allow: one more starts"], ["Forbid", "Forbid: none starts"]];
  const schedule = h("input", { autocomplete: "off", spellcheck: "false", placeholder: "0 6 * * 1-5", autofocus: true });
  const zone = h("input", { autocomplete: "off", autocapitalize: "off", spellcheck: "false", placeholder: "Etc/UTC" });
  const policy = h(
    "select",
    {},
    [...first, ["Replace", "Replace: the earlier one is deleted"]].map(([value, text]) => h("option", { value }, text)),
  );
  return [
    new Field({
      name: "Schedule",
      label: "At these times",
      hint: "A cron expression: minute, hour, day, month, weekday. Or @hourly, @daily, @every 90m.",
      input: schedule,
      required: true,
      put: (body) => (body.Schedule = schedule.value.trim()),
    }),
    new Field({
      name: "TimeZone",
      label: "Time zone",
      hint: `Such as ${Intl.DateTimeFormat().resolvedOptions().timeZone}. Empty: UTC.`,
      input: zone,
      put: (body) => zone.value.trim() && (body.TimeZone = zone.value.trim()),
    }),
    new Field({
      name: "ConcurrencyPolicy",
      label: "If an earlier run is not finished",
      input: policy,
      put: (body) => policy.value && (body.ConcurrencyPolicy = policy.value),
    }),
  ];
}

/** Return a number for digits; other text stays as it is, so that the service says what is wrong with it. */
function numberOr(text) {
  return /^-?\d{1,15}$/.test(text) ? Number(text) : text;
}

function argsField(bounds) {
  const input = h("textarea", { rows: 3, autocomplete: "off", autocapitalize: "off", spellcheck: "false", autofocus: true, placeholder: (bounds.Args ?? []).join("\n") });
  return new Field({
    name: "Args",
    label: "Arguments, one on each line",
    hint: bounds.Args === null ? "Empty: the image's own." : "Empty: the definition's, as shown.",
    input,
    put: (body) => input.value && (body.Args = input.value.replace(/\n$/, "").split("\n")),
    describe: (error) => lineOf(error, "/Args"),
  });
}

function variablesField(bounds) {
  const input = h("textarea", { rows: 2, autocomplete: "off", autocapitalize: "off", spellcheck: "false", placeholder: "NAME=value" });
  const lines = () => input.value.split("\n").filter((line) => line.trim());
  const which = bounds.EnvironmentsWhitelist ? `Allowed: ${bounds.EnvironmentsWhitelist.join(", ")}. ` : "";
  const defined = bounds.Environments.length ? `Defined: ${bounds.Environments.join(", ")}.` : "";
  return new Field({
    name: "Environments",
    label: "Environment variables, one NAME=value on each line",
    hint: which + defined,
    input,
    put(body) {
      if (!lines().length) return;
      body.Environments = lines().map((line) => {
        const [name, ...value] = line.split("=");
        return { Name: name.trim(), Value: value.join("=") };
      });
    },
    faults: () => lines().flatMap((line, index) => (line.includes("=") ? [] : [{ pointer: `/Environments/${index}`, message: "write NAME=value" }])),
    describe: (error) => lineOf(error, "/Environments"),
  });
}

/** Say which line an error is about. */
function lineOf(error, pointer) {
  const index = error.pointer.slice(pointer.length + 1).split("/")[0];
  return index ? `Line ${Number(index) + 1}: ${error.message}.` : sentence(error.message);
}

function resourceFields(bounds, text) {
  return ["Requests", "Limits"].flatMap((part) =>
    Object.entries(bounds.Resources[part]).map(([resource, most]) => {
      const input = text({ placeholder: most });
      return new Field({
        name: "Resources",
        pointer: `/Resources/${part}/${resource.replaceAll("~", "~0").replaceAll("/", "~1")}`,
        label: `${part === "Requests" ? "Requested" : "Limit of"} ${resource}`,
        hint: `At most ${most}.`,
        input,
        advanced: true,
        put(body) {
          if (!input.value.trim()) return;
          body.Resources ??= {};
          body.Resources[part] ??= {};
          body.Resources[part][resource] = input.value.trim();
        },
      });
    }),
  );
}

function shellQuote(text) {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
