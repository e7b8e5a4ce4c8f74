// Dialogs: the browser's own, so that Escape, the focus and screen readers work as people expect.

import { fill, h } from "./dom.js";

/**
 * Open a dialog.
 * @param {string} title its heading
 * @param {(close: () => void) => Node[]} content makes its content
 * @returns {HTMLDialogElement}
 */
export function openDialog(title, content) {
  const heading = h("h2", { id: "dialog-title" }, title);
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" });
  const close = () => dialog.close();
  const top = h(
    "div",
    { class: "dialog-top" },
    heading,
    h("button", { type: "button", class: "quiet close", "aria-label": "Close", on: { click: close } }, "✕"),
  );
  fill(dialog, top, content(close));
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("mousedown", (event) => {
    if (event.target === dialog) close(); // the backdrop
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Ask for a confirmation, carry it out, and show an error if that fails.
 * @param {object} question `title`, `text`, `action` (the button's text), `busy` (the text meanwhile), and `run`, which
 *   carries it out
 */
export function confirm({ title, text, action, busy, run }) {
  openDialog(title, (close) => {
    const error = h("p", { class: "error", role: "alert", hidden: true });
    const button = h("button", { type: "button", class: "danger" }, action);
    button.addEventListener("click", async () => {
      button.disabled = true;
      button.textContent = busy;
      error.hidden = true;
      try {
        await run();
        close();
      } catch (failure) {
        error.textContent = failure.message;
        error.hidden = false;
        button.disabled = false;
        button.textContent = action;
      }
    });
    const back = h("button", { type: "button", autofocus: true, on: { click: close } }, "Back");
    return [h("p", {}, text), error, h("div", { class: "actions" }, back, button)];
  });
}
