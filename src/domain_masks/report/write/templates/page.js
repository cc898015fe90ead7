"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => { try { return localStorage.getItem("dmg-theme"); } catch { return null; } };
  const show = () => {
    const theme = root.dataset.theme || (dark.matches ? "dark" : "light");
    const other = theme === "dark" ? "light" : "dark";
    button.textContent = theme === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Show the page ${other}`);
    return other;
  };
  const before = stored();
  if (before === "light" || before === "dark") root.dataset.theme = before;
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = show();
    try { localStorage.setItem("dmg-theme", root.dataset.theme); } catch { /* without storage the choice applies to this page only */ }
    show();
  });
  dark.addEventListener("change", show);
  show();

  const valueOf = (row, index) => {
    const cell = row.cells[index];
    const number = Number.parseFloat(cell.dataset.value ?? "");
    return Number.isNaN(number) ? cell.textContent.trim() : number;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === "number") return -1;
    if (typeof b === "number") return 1;
    return a.localeCompare(b, undefined, { numeric: true });
  };
  const isEmpty = (value) => value === "\u2013" || value === "";
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    [...table.tHead.rows[0].cells].forEach((head, index) => {
      const sorter = document.createElement("button");
      sorter.type = "button";
      const detail = head.querySelector("small");
      if (detail) detail.remove();
      sorter.textContent = head.textContent;
      sorter.setAttribute("aria-label", `Sort by ${head.textContent || "this column"}`);
      head.replaceChildren(sorter, ...(detail ? [detail] : []));
      sorter.addEventListener("click", () => {
        const first = head.classList.contains("number") ? "descending" : "ascending";
        const second = first === "ascending" ? "descending" : "ascending";
        const now = head.getAttribute("aria-sort");
        const next = now === null ? first : now === first ? second : null;
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        if (next === null) { body.replaceChildren(...original); return; }
        head.setAttribute("aria-sort", next);
        const sign = next === "ascending" ? 1 : -1;
        const rows = original.map((row) => [valueOf(row, index), row]);
        rows.sort(([a], [b]) => isEmpty(a) - isEmpty(b) || sign * compare(a, b));
        body.replaceChildren(...rows.map(([, row]) => row));
      });
    });
  }

  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  if (location.hash) open();
  addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details.block, main > details.section")) one.open = true; });

  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(encodeURIComponent(entry.target.id))?.setAttribute("aria-current", "true");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  for (const section of document.querySelectorAll("main > section, main > details.section")) watcher.observe(section);
})();
