"use strict";
(() => {
  // Behind a proxy that terminates TLS or adds a prefix, only the browser knows the URL that clients use.
  const server = location.origin + location.pathname.replace(/\/docs\/?$/, "");
  if (/^https?:\/\/([\w.-]+|\[[0-9a-f:.]+\])(:\d+)?(\/[\w.~-]+)*$/i.test(server)) {
    for (const element of document.querySelectorAll(".server")) element.textContent = server;
  }

  const input = document.getElementById("filter");
  const matches = document.getElementById("matches");
  const groups = document.querySelectorAll("[data-group]");
  const entries = [...document.querySelectorAll("nav li[data-operation]")].map((item) => {
    const article = document.getElementById(item.dataset.operation);
    const names = [...article.querySelectorAll("th code")].map((name) => name.textContent);
    return { item, article, text: [item.textContent, ...names].join(" ").toLowerCase() };
  });

  function apply() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const { item, article, text } of entries) {
      const found = words.every((word) => text.includes(word));
      item.hidden = article.hidden = !found;
      count += found;
    }
    for (const group of groups) group.hidden = !group.querySelector("[data-operation]:not([hidden])");
    matches.textContent = words.length ? `${count} of ${entries.length} operations` : "";
  }

  // A link to an operation that the filter hides clears the filter.
  addEventListener("hashchange", () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target?.closest("[hidden]")) return;
    input.value = "";
    apply();
    target.scrollIntoView();
  });
  input.addEventListener("input", apply);
  input.parentElement.hidden = false;
  apply();
})();
