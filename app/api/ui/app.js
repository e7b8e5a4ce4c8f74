// The page's frame: which view the address names, the state of the connection, and the token.

import { hasToken, setToken } from "./api.js";
import { fill, h } from "./dom.js";
import { openDialog } from "./dialog.js";
import { showDefinition } from "./definition.js";
import { showOverview } from "./overview.js";
import { onConnection, pollNow } from "./poll.js";
import { showRun } from "./run.js";

const content = document.getElementById("content");
const banner = document.getElementById("banner");
const state = document.getElementById("state");

let stop = () => {};

function route(event) {
  stop();
  fill(content);
  const [name, id, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decode);
  const view = name === "" || rest.length ? { title: "Definitions", stop: showOverview(content) }
    : id ? { title: `${name} ${id}`, stop: showRun(content, name, id) }
    : { title: name, stop: showDefinition(content, name) };
  stop = view.stop;
  document.title = `${view.title} – SlimFaas Jobs`;
  if (event) {
    window.scrollTo(0, 0);
    content.focus({ preventScroll: true });
  }
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

const WORDS = { live: "Live", paused: "Paused", offline: "Offline", starting: "Starting" };
let countdown = 0;

onConnection((word, error, seconds) => {
  clearInterval(countdown);
  state.dataset.state = word;
  document.getElementById("state-text").textContent = WORDS[word];
  banner.hidden = word !== "offline";
  document.body.classList.toggle("offline", word === "offline");
  if (word !== "offline") return;
  const remaining = h("span");
  let left = seconds;
  const tick = () => (remaining.textContent = left > 0 ? ` Trying again in ${left--} s. ` : " Trying again as soon as possible. ");
  tick();
  countdown = setInterval(tick, 1000);
  fill(
    banner,
    h("strong", {}, error.message),
    " What you see may be out of date.",
    h("span", { "aria-hidden": "true" }, remaining),
    h("button", { type: "button", on: { click: pollNow } }, "Try now"),
  );
});

const tokenButton = document.getElementById("token");
tokenButton.addEventListener("click", () => {
  openDialog("Token", (close) => {
    const field = h("input", { type: "password", id: "token-field", autocomplete: "off", spellcheck: "false", autofocus: true });
    const use = (text) => {
      setToken(text);
      tokenButton.textContent = hasToken() ? "Token ✓" : "Token";
      close();
      route();
    };
    return h(
      "form",
      {
        on: {
          submit: (event) => {
            event.preventDefault();
            use(field.value);
          },
        },
      },
      h("label", { for: "token-field" }, "Bearer token, for private definitions"),
      field,
      h(
        "p",
        { class: "hint" },
        "It stays in the memory of this tab until the tab is closed or reloaded, and is sent to this service only. ",
        h("code", {}, "kubectl create token NAME --audience slimfaas-jobs"),
        " makes one.",
      ),
      h(
        "div",
        { class: "actions" },
        hasToken() && h("button", { type: "button", on: { click: () => use("") } }, "Forget it"),
        h("button", { type: "submit", class: "primary" }, "Use it"),
      ),
    );
  });
});

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the view
  content.focus();
});

window.addEventListener("hashchange", route);
route();
