
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;
  const table = byId("table");
  const rows = table ? [...table.tBodies[0].rows] : [];
  const idOf = (row) => row.querySelector("a").hash.slice(1);
  const place = new Map(rows.map((row, number) => [idOf(row), number]));
  const all = () => [...document.querySelectorAll("details.slo")];

  // What is packed is unpacked when somebody wants it.
  const unpack = (template) => {
    const bytes = Uint8Array.from(atob(template.content.textContent), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
  };
  let whole = async () => {
    const more = byId("rows-data") ? unpack(byId("rows-data")) : "";
    const made = (async () => {
      table.tBodies[0].insertAdjacentHTML("beforeend", await more);
      for (const row of [...table.tBodies[0].rows].slice(rows.length)) place.set(idOf(row), rows.push(row) - 1);
      if (byId("more")) byId("more").parentNode.remove();
    })();
    whole = () => made;
    return made;
  };

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

  // The address: an anchor, and after a question mark what is filtered.
  const [, start = "", query = ""] = /^#([^?]*)\??(.*)$/.exec(location.hash) || [];
  let anchor = start;
  let asked = new URLSearchParams(query);

  // SLOs stay in the order of the table.
  const packs = [...document.querySelectorAll("template.packed")];
  const plain = all().length;
  const unpacked = new Map();
  const sectionOf = async (id) => {
    const there = byId(id);
    if (!there && table && id.startsWith("slo-")) await whole();
    const number = place.get(id);
    if (there || number === undefined) return there && there.closest("details.slo");
    const pack = Math.floor((number - plain) / 25);
    if (!unpacked.has(pack)) {
      unpacked.set(pack, unpack(packs[pack]).then((text) => {
        const made = document.createElement("template");
        made.innerHTML = text;
        return new Map([...made.content.children].map((one) => [one.querySelector(".inside").id, one]));
      }));
    }
    const section = (await unpacked.get(pack)).get(id);
    if (!byId(id)) {
      const after = all().find((one) => place.get(one.querySelector(".inside").id) > number);
      byId("slos").insertBefore(section, after || null);
    }
    return section;
  };

  // A link to an SLO opens it.
  const reveal = async () => {
    const section = await sectionOf(anchor);
    if (!section) return;
    section.hidden = false;
    section.open = true;
    byId(anchor).scrollIntoView();
    section.querySelector("summary").focus({ preventScroll: true });
  };
  const write = () => {
    const text = asked.toString();
    history.replaceState(null, "", `#${anchor}${text && `?${text}`}`);
  };
  addEventListener("hashchange", () => {
    const [, to = "", filter = null] = /^#([^?]*)(?:\?(.*))?$/.exec(location.hash) || [];
    anchor = to;
    if (filter === null) write();
    else { asked = new URLSearchParams(filter); show(); }
    reveal();
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest('a[href^="#slo-"]');
    if (link && link.hash.slice(1) === anchor) reveal();
  });

  const openAll = (open) => all().forEach((section) => { section.open = open; });
  if (byId("buttons")) {
    byId("buttons").hidden = false;
    byId("open-all").addEventListener("click", () => openAll(true));
    byId("close-all").addEventListener("click", () => openAll(false));
  }

  // Filter: a row and its section go together. What is asked is in the address.
  let show = () => {};
  if (table) {
    const heads = [...table.tHead.rows[0].cells];
    const column = (title) => heads.findIndex((head) => head.textContent.trim() === title);
    const owners = column("owner");
    const ownerOf = (row) => owners < 0 ? "" : row.cells[owners].textContent.trim();
    const texts = new Map();
    const textOf = (row) => texts.get(row) || texts.set(row, row.textContent.toLowerCase()).get(row);
    const fields = ["filter", "status", "owner", "group"].map(byId).filter(Boolean);
    const body = table.tBodies[0];
    let sorted = rows;
    const grouped = () => {
      body.querySelectorAll(".group").forEach((row) => row.remove());
      if (!byId("group") || !byId("group").checked) return body.append(...sorted);
      const groups = new Map();
      for (const row of sorted) {
        const owner = ownerOf(row);
        groups.set(owner, [...(groups.get(owner) || []), row]);
      }
      for (const [owner, members] of groups) {
        const shown = members.filter((row) => !row.hidden);
        const head = document.createElement("tr");
        head.className = "group";
        head.hidden = !shown.length;
        const cell = head.appendChild(document.createElement("th"));
        cell.colSpan = heads.length;
        cell.scope = "rowgroup";
        cell.textContent = owner === "–" ? "no owner" : owner;
        const numbers = new Map();
        for (const row of shown) {
          const word = row.querySelector(".badge").textContent.trim().replace(/^\S /, "");
          numbers.set(word, (numbers.get(word) || 0) + 1);
        }
        cell.appendChild(document.createElement("span")).textContent = [...numbers].map(([word, number]) => `${number} ${word}`).join(", ");
        body.append(head, ...members);
      }
    };
    const filter = async () => {
      await whole();
      const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
      const status = byId("status").value;
      const owner = byId("owner") ? byId("owner").value : "";
      let shown = 0;
      for (const row of rows) {
        const fits = (!status || row.dataset.status === status) && (!owner || ownerOf(row) === owner)
          && words.every((word) => textOf(row).includes(word));
        row.hidden = !fits;
        shown += fits;
      }
      for (const section of all()) section.hidden = rows[place.get(section.querySelector(".inside").id)].hidden;
      byId("shown").textContent = shown === rows.length ? "" : `${shown} of ${rows.length} shown`;
      grouped();
    };
    show = () => {
      for (const field of fields) {
        const value = asked.get(field.id) || "";
        if (field.type === "checkbox") field.checked = value === "1";
        else field.value = value;
      }
      filter();
    };
    const told = () => {
      asked = new URLSearchParams();
      for (const field of fields) {
        const value = field.type === "checkbox" ? (field.checked ? "1" : "") : field.value;
        if (value) asked.set(field.id, value);
      }
      write();
      filter();
    };
    byId("controls").hidden = false;
    if (byId("more")) {
      byId("more").hidden = false;
      byId("more").addEventListener("click", () => whole());
    }
    byId("controls").addEventListener("submit", (event) => event.preventDefault());
    fields.forEach((field) => field.addEventListener("input", told));
    if ([...asked].length) show();

    // The rows that are shown, in their order, as --format csv writes them.
    byId("csv").addEventListener("click", async () => {
      const [head, ...lines] = (await unpack(byId("csv-data"))).split("\n");
      await whole();
      const wanted = [...body.rows].filter((row) => !row.hidden && !row.classList.contains("group"));
      const text = [head, ...wanted.map((row) => lines[place.get(idOf(row))]), ""].join("\n");
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
      link.download = "budgets.csv";
      link.click();
      URL.revokeObjectURL(link.href);
    });

    // Sort: numbers by value, what is not known last. The first order is the worst first.
    const first = (row) => place.get(idOf(row));
    const value = (row, column) => {
      const text = row.cells[column].textContent.trim();
      if (column === 0) return first(row);
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
      button.addEventListener("click", async () => {
        await whole();
        const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", direction);
        const sign = direction === "ascending" ? 1 : -1;
        const keys = new Map(rows.map((row) => [row, value(row, column)]));
        sorted = [...rows].sort((a, b) => {
          const [x, y] = [keys.get(a), keys.get(b)];
          if (x === null || y === null) return (x === null) - (y === null) || first(a) - first(b);
          return sign * compare(x, y) || first(a) - first(b);
        });
        grouped();
      });
    });
  }
  reveal();

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
