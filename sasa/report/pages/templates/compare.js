// Runs side by side. The address's hash holds the choice: #runs=a,b&filter=...&sort=name,descending&only=1
"use strict";
(() => {
  const loaded = {}; // runs whose script has come, by id
  const state = { runs: [], filter: "", sort: "", only: false };
  const $ = (id) => document.getElementById(id);

  function fromAddress() {
    const hash = new URLSearchParams(location.hash.slice(1));
    Object.assign(state, { runs: (hash.get("runs") || "").split(",").filter((id) => /^[0-9a-f]{12}$/.test(id)), filter: hash.get("filter") || "", sort: hash.get("sort") || "", only: hash.has("only") });
  }
  function toAddress() {
    const parts = [];
    if (state.runs.length) parts.push(`runs=${state.runs.join(",")}`);
    if (state.filter) parts.push(`filter=${encodeURIComponent(state.filter)}`);
    if (state.sort) parts.push(`sort=${encodeURIComponent(state.sort)}`);
    if (state.only) parts.push("only=1");
    const hash = `#${parts.join("&")}`;
    if (hash !== (location.hash || "#")) history.replaceState(null, "", hash);
  }

  function filterRows() {
    const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    const rows = $("all-runs").tBodies[0].rows;
    for (const row of rows) {
      const [, run, scale, seed] = row.cells;
      const text = `${row.textContent} seed=${seed.textContent} scale=${scale.textContent} ${run.textContent}`.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    $("shown").textContent = shown === rows.length ? `${shown} runs` : `${shown} of ${rows.length} runs`;
  }

  function sortRows() {
    const [name, order] = state.sort.split(",");
    const headers = [...$("all-runs").tHead.rows[0].cells], column = headers.findIndex((cell) => cell.dataset.sort === name);
    headers.forEach((cell) => cell.removeAttribute("aria-sort"));
    if (column < 0) return;
    const direction = order === "descending" ? -1 : 1;
    headers[column].setAttribute("aria-sort", direction < 0 ? "descending" : "ascending");
    const value = (row) => { const cell = row.cells[column]; return cell.dataset.value ?? cell.textContent.trim(); };
    const body = $("all-runs").tBodies[0], numeric = headers[column].dataset.sort && body.rows[0]?.cells[column].classList.contains("number");
    const rows = [...body.rows].map((row) => [value(row), row]);
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === ""); // what has no value comes last, whatever the order
      return direction * (numeric ? parseFloat(a) - parseFloat(b) : a.localeCompare(b, undefined, { numeric: true }));
    });
    body.append(...rows.map(([, row]) => row));
  }

  function fetchRuns() {
    for (const id of state.runs) {
      if (id in loaded || !document.querySelector(`tr[data-id="${id}"]`)) continue;
      loaded[id] = null;
      const script = document.createElement("script");
      script.src = `runs/${id}.js${document.documentElement.hasAttribute("data-live") ? `?${Date.now()}` : ""}`;
      document.head.append(script);
    }
  }
  sasa.addRun = (run) => { loaded[run.id] = run; sideBySide(); };

  function sideBySide() {
    const chosen = state.runs.map((id) => loaded[id]).filter(Boolean), box = $("chosen");
    if (!box) return;
    box.replaceChildren();
    const names = [...new Set(chosen.map((run) => run.name))]; // runs of one name share its curve's colour
    chosen.forEach((run) => {
      const chip = sasa.element("button", { type: "button", class: "chip", title: "take it out" }, box);
      sasa.element("i", {}, chip).style.background = `var(--c${names.indexOf(run.name) % 8})`;
      chip.append(`${run.name} ×`);
      chip.onclick = () => { state.runs = state.runs.filter((id) => id !== run.id); update(); };
    });
    $("comparison").hidden = !chosen.length;
    if (!chosen.length) return;
    const series = chosen.map((run) => ({ series: run.name, label: run.name, run: run.id, curves: run.curves }));
    for (const metric of ["validation top1", "train loss"]) {
      const name = `compare-${metric.split(" ")[0]}`;
      let figure = $("overlaid").querySelector(`[data-chart="${name}"]`);
      if (!figure) {
        figure = sasa.element("figure", { class: "chart", "data-chart": name, "data-metric": metric }, $("overlaid"));
        sasa.element("figcaption", {}, figure, "curves");
        sasa.element("div", { class: "plot" }, figure);
      }
      sasa.chart(figure, { kind: "curves", series });
    }
    table(chosen);
  }

  function table(chosen) {
    const side = $("side");
    side.replaceChildren();
    const head = sasa.element("tr", {}, sasa.element("thead", {}, side));
    sasa.element("th", {}, head);
    chosen.forEach((run) => sasa.element("a", { href: `runs/${run.id}.html` }, sasa.element("th", {}, head), run.name));
    const body = sasa.element("tbody", {}, side);
    const line = (name, values, marked) => {
      const differs = new Set(values).size > 1;
      if (state.only && !differs) return;
      const row = sasa.element("tr", marked && differs ? { class: "differs" } : {}, body);
      sasa.element(marked ? "code" : "span", {}, sasa.element("td", {}, row), name);
      values.forEach((value) => sasa.element("td", {}, row, value ?? "–"));
    };
    const names = (field) => [...new Set(chosen.flatMap((run) => Object.keys(run[field])))];
    for (const name of names("facts")) line(name, chosen.map((run) => run.facts[name]), false);
    const settings = names("settings").map((name) => [name, chosen.map((run) => run.settings[name])]);
    const differs = ([, values]) => new Set(values).size > 1;
    for (const [name, values] of [...settings.filter(differs), ...settings.filter((one) => !differs(one))]) line(name, values, true);
  }

  function update() {
    toAddress();
    for (const row of $("all-runs").tBodies[0].rows) row.cells[0].firstChild.checked = state.runs.includes(row.dataset.id);
    $("only").checked = state.only;
    if ($("filter").value !== state.filter) $("filter").value = state.filter;
    filterRows(); fetchRuns(); sideBySide();
  }

  sasa.compare = (changed) => {
    if (!$("all-runs")) return;
    if (changed) for (const id of Object.keys(loaded)) delete loaded[id];
    else fromAddress();
    $("filter").oninput = () => { state.filter = $("filter").value; toAddress(); filterRows(); };
    $("only").onchange = () => { state.only = $("only").checked; update(); };
    $("clear").onclick = () => { state.runs = []; update(); };
    $("all-runs").tBodies[0].onchange = ({ target }) => {
      const { id } = target.closest("tr").dataset;
      state.runs = target.checked ? [...state.runs, id] : state.runs.filter((other) => other !== id);
      update();
    };
    $("all-runs").tHead.onclick = ({ target }) => {
      const cell = target.closest("th[data-sort]");
      if (!cell) return;
      state.sort = `${cell.dataset.sort},${cell.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending"}`;
      toAddress(); sortRows();
    };
    sortRows(); update();
  };
  addEventListener("hashchange", () => { if ($("all-runs")) { fromAddress(); sortRows(); update(); } });
})();
