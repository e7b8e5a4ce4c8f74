// Builds and updates elements. Text from outside only ever becomes a text node, never markup.

/**
 * Make an element.
 * @param {string} tag its name
 * @param {object} [properties] `class`, `data`, `on` (listeners) and attributes; false, null and undefined leave one out
 * @param {...(Node|string|number|null|undefined|false|Array)} children text becomes text nodes
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...nodes(children));
  return element;
}

/** Replace the children of an element. */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

/**
 * Show a list of items as children of an element. Children of items that have not changed stay as they are, and the
 * keyboard focus stays on the item that had it.
 * @param {Element} container whose children are shown
 * @param {Array} items what to show
 * @param {(item) => string} keyOf names an item
 * @param {(item) => Element} render makes the child of an item; its part with the focus has a `data-focus`
 */
export function showItems(container, items, keyOf, render) {
  const shown = new Map([...container.children].map((child) => [child.dataset.key, child]));
  const focus = document.activeElement;
  let next = container.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const text = JSON.stringify(item);
    let child = shown.get(key);
    shown.delete(key);
    if (child === undefined || child.dataset.item !== text) {
      const made = render(item);
      made.dataset.key = key;
      made.dataset.item = text;
      if (child !== undefined) {
        const name = child.contains(focus) ? focus.dataset.focus : undefined;
        if (next === child) next = made;
        child.replaceWith(made);
        if (name) made.querySelector(`[data-focus="${name}"]`)?.focus();
      }
      child = made;
    }
    if (child === next) next = child.nextElementSibling;
    else container.insertBefore(child, next);
  }
  for (const child of shown.values()) child.remove();
}

/** Tell people who use a screen reader what has happened. */
export function announce(text) {
  document.getElementById("news").textContent = text;
}
