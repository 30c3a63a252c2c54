"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;

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

  // A page that stays open ages, and says so. Counted from when it came, whatever this machine's clock says.
  const time = byId("as-of");
  if (time) {
    const [began, ticks] = [Date.now(), performance.now()];  // the one may be set, the other stands still in sleep
    const text = byId("age").textContent;
    const units = { d: 86400, h: 3600, m: 60, s: 1 };
    const start = [...text.matchAll(/(\d+)([dhms])/g)].reduce((sum, [, number, unit]) => sum + number * units[unit], 0);
    const said = (seconds) => seconds < 120 ? `${seconds}s` : seconds < 7200 ? `${Math.floor(seconds / 60)}m` : `${Math.floor(seconds / 3600)}h`;
    const tick = () => {
      const age = start + Math.floor(Math.max(Date.now() - began, performance.now() - ticks) / 1000);
      byId("age").textContent = age === start ? text : said(age);
      if (age > Number(time.dataset.late) && byId("old").hidden) {
        byId("old").hidden = false;
        document.body.classList.add("stale");
        document.title = `OLD: ${document.title}`;
      }
    };
    setInterval(tick, 1000);
  }

  for (const button of document.querySelectorAll("[data-copy]")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(byId(button.dataset.copy).textContent);
      button.textContent = "Copied";
    });
  }

  // What a plot says at a place: by mouse as its own tip, by touch in the line below.
  document.addEventListener("pointerdown", (event) => {
    const area = event.target.closest && event.target.closest(".areas path");
    if (!area) return;
    area.closest("svg").querySelectorAll(".on").forEach((other) => other.classList.remove("on"));
    area.classList.add("on");
    const figure = area.closest("figure").querySelector("figcaption").textContent;
    area.closest("section").querySelector(".readout").textContent = `${figure}, ${area.querySelector("title").textContent}`;
  });
})();
