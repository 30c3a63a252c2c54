
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;
  const sections = [...document.querySelectorAll("details.slo")];
  const table = byId("table");
  const rows = table ? [...table.tBodies[0].rows] : [];

  // The theme: what the system says, until the button says otherwise.
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const stored = (value) => {
    try {
      if (value) localStorage.setItem("sloctl-theme", value);
      return localStorage.getItem("sloctl-theme");
    } catch (_) { return value || null; }
  };
  const before = stored();
  if (before === "dark" || before === "light") root.dataset.theme = before;
  byId("theme").hidden = false;
  byId("theme").addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    stored(root.dataset.theme);
  });

  // A link to an SLO opens it.
  const reveal = () => {
    const target = location.hash && byId(location.hash.slice(1));
    const section = target && target.closest("details.slo");
    if (!section) return;
    section.hidden = false;
    section.open = true;
    target.scrollIntoView();
    section.querySelector("summary").focus({ preventScroll: true });
  };
  addEventListener("hashchange", reveal);
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest('a[href^="#slo-"]');
    if (link && link.hash === location.hash) reveal();
  });
  reveal();

  const openAll = (open) => sections.forEach((section) => { section.open = open; });
  if (byId("buttons")) {
    byId("buttons").hidden = false;
    byId("open-all").addEventListener("click", () => openAll(true));
    byId("close-all").addEventListener("click", () => openAll(false));
  }
  let opened = [];
  addEventListener("beforeprint", () => { opened = sections.filter((item) => item.open); openAll(true); });
  addEventListener("afterprint", () => { openAll(false); opened.forEach((item) => { item.open = true; }); });

  // Filter: a row and its section go together.
  if (table) {
    const sectionOf = new Map(rows.map((row) => [row, byId(row.dataset.of).closest("details")]));
    const textOf = new Map(rows.map((row) => [
      row, `${row.textContent} ${sectionOf.get(row).querySelector(".facts").textContent}`.toLowerCase(),
    ]));
    const filter = () => {
      const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
      const status = byId("status").value;
      let shown = 0;
      for (const row of rows) {
        const fits = (!status || row.dataset.status === status) && words.every((word) => textOf.get(row).includes(word));
        row.hidden = !fits;
        sectionOf.get(row).hidden = !fits;
        shown += fits;
      }
      byId("shown").textContent = shown === rows.length ? "" : `${shown} of ${rows.length} shown`;
    };
    byId("controls").hidden = false;
    byId("controls").addEventListener("submit", (event) => event.preventDefault());
    byId("filter").addEventListener("input", filter);
    byId("status").addEventListener("input", filter);

    // Sort: numbers by value, what is not known last. The first order is the worst first.
    const heads = [...table.tHead.rows[0].cells];
    const first = new Map(rows.map((row, number) => [row, number]));
    const value = (row, column) => {
      const text = row.cells[column].textContent.trim();
      if (column === 0) return first.get(row);
      if (text === "–") return null;
      if (!heads[column].classList.contains("number") || /^\d{4}-\d\d-\d\d/.test(text)) return text;
      const number = parseFloat(text.replace(/[,<]/g, ""));
      return Number.isNaN(number) ? text : text.startsWith("<") ? number / 2 : number;
    };
    const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en");
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", direction);
        const sign = direction === "ascending" ? 1 : -1;
        const sorted = [...rows].sort((a, b) => {
          const [x, y] = [value(a, column), value(b, column)];
          if (x === null || y === null) return (x === null) - (y === null) || first.get(a) - first.get(b);
          return sign * compare(x, y) || first.get(a) - first.get(b);
        });
        table.tBodies[0].append(...sorted);
      });
    });
  }

  // What a plot says at a place: by mouse as its own tip, by touch in the line below.
  document.addEventListener("pointerdown", (event) => {
    const area = event.target.closest && event.target.closest(".areas path");
    if (!area) return;
    area.closest("svg").querySelectorAll(".on").forEach((other) => other.classList.remove("on"));
    area.classList.add("on");
    const figure = area.closest("figure").querySelector("figcaption").textContent;
    area.closest(".inside").querySelector(".readout").textContent = `${figure}, ${area.querySelector("title").textContent}`;
  });
})();
