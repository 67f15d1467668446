// The table of all runs, its filter, and runs side by side.
// The address's hash holds the choice: #runs=a,b&filter=...&sort=test,descending&smooth=0.6&only=1
"use strict";
(() => {
  const loaded = {}; // runs whose script has come, by id
  const state = { runs: [], filter: "", sort: "", smooth: 0, only: false };
  const $ = (id) => document.getElementById(id);
  const rows = () => [...$("all-runs").tBodies[0].rows];
  const headers = () => [...$("all-runs").tHead.rows[0].cells];

  function fromAddress() {
    const hash = new URLSearchParams(location.hash.slice(1));
    const runs = (hash.get("runs") || "").split(",").filter((id) => /^[0-9a-f]{12}$/.test(id));
    Object.assign(state, { runs, filter: hash.get("filter") || "", sort: hash.get("sort") || "", smooth: Math.min(.98, Math.max(0, +hash.get("smooth") || 0)), only: hash.has("only") });
  }
  function toAddress() {
    const parts = [];
    if (state.runs.length) parts.push(`runs=${state.runs.join(",")}`);
    for (const name of ["filter", "sort", "smooth"]) if (state[name]) parts.push(`${name}=${encodeURIComponent(state[name])}`);
    if (state.only) parts.push("only=1");
    const hash = `#${parts.join("&")}`;
    if (hash !== (location.hash || "#")) history.replaceState(null, "", hash);
  }

  // What the filter can ask of a run, by field: its cells' values and its row's data.
  function fields(row) {
    if (!row.fields) {
      const { id, name, ...known } = row.dataset;
      headers().forEach(({ dataset }, index) => { if (dataset.field) known[dataset.field] = row.cells[index].dataset.value ?? row.cells[index].textContent.trim(); });
      const { scale, overrides, status, seed, host } = known;
      Object.defineProperty(row, "fields", { value: { known, names: `${name} ${scale} ${overrides} ${status} ${host} seed=${seed}` } });
    }
    return row.fields;
  }
  const number = (text) => parseFloat(text) * ({ k: 1e3, M: 1e6, G: 1e9 }[text.at(-1)] ?? 1);
  const pattern = (text) => text.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", "[^ =,]*");
  const SIGNS = {
    "=": (own, text) => text.split(",").some((one) => RegExp(`^${pattern(one)}$`, "i").test(own) || (own !== "" && +own === number(one))),
    "~": (own, text) => own.toLowerCase().includes(text.toLowerCase()),
    ">": (own, text) => parseFloat(own) > number(text),
    "<": (own, text) => parseFloat(own) < number(text),
    ">=": (own, text) => parseFloat(own) >= number(text),
    "<=": (own, text) => parseFloat(own) <= number(text),
  };
  // Whether a row is what one word of the filter asks for.
  function matches(row, word) {
    const [, minus, rest] = /^(-?)(.*)$/.exec(word), [, field, sign, text] = /^(\w+)(>=|<=|=|~|>|<)(.*)$/.exec(rest) || [];
    const { known, names } = fields(row);
    const asked = field && (field in known || sign !== "=");
    const found = asked ? SIGNS[sign](known[field] ?? "", text) : RegExp(`(^|[^a-z0-9])${pattern(rest)}($|[^a-z0-9])`, "i").test(names);
    return found !== Boolean(minus);
  }
  function filterRows() {
    const words = state.filter.split(/\s+/).filter((word) => word.replace(/^-/, "")), all = rows();
    for (const row of all) row.hidden = !words.every((word) => matches(row, word));
    const shown = all.filter((row) => !row.hidden).length;
    $("shown").textContent = shown === all.length ? `${shown} runs` : `${shown} of ${all.length} runs`;
    $("all-shown").disabled = !shown;
  }

  function sortRows() {
    const [name, order] = state.sort.split(","), cells = headers(), column = cells.findIndex((cell) => cell.dataset.field === name);
    cells.forEach((cell) => cell.removeAttribute("aria-sort"));
    if (column < 0) return;
    const direction = order === "descending" ? -1 : 1, numeric = cells[column].classList.contains("number");
    cells[column].setAttribute("aria-sort", direction < 0 ? "descending" : "ascending");
    const sorted = rows().map((row) => [fields(row).known[name], row]);
    sorted.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === ""); // what has no value comes last, whatever the order
      return direction * (numeric ? parseFloat(a) - parseFloat(b) : a.localeCompare(b, undefined, { numeric: true }));
    });
    $("all-runs").tBodies[0].append(...sorted.map(([, row]) => row));
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
  sasa.addRun = (run) => {
    loaded[run.id] = run;
    if (!state.runs.some((id) => loaded[id] === null)) sideBySide(); // the last one that was asked for
  };

  function sideBySide() {
    const chosen = state.runs.map((id) => loaded[id]).filter(Boolean), box = $("chosen");
    if (!box) return;
    const told = ["overrides", "scale"].filter((name) => new Set(chosen.map((run) => run.facts[name])).size > 1); // else they tell nothing apart
    const called = (run, title) => [title, ...told.map((name) => run.facts[name])].filter(Boolean).join(", ");
    const groups = new Map(); // the finished seeds of a row are one line; any other run is one by itself
    for (const run of chosen) {
      const name = run.status === "finished" ? called(run, run.row) : `${called(run, run.title)}, ${run.status}`;
      groups.set(name, [...groups.get(name) ?? [], run]);
    }
    const labels = new Map([...groups].map(([name, runs]) => [name, runs[0].status === "finished" ? `${name}, seed${runs.length > 1 ? "s" : ""} ${runs.map((run) => run.facts.seed).join(" ")}` : name]));
    box.replaceChildren();
    [...groups].forEach(([name, runs], index) => {
      const chip = sasa.element("button", { type: "button", class: "chip", title: "take out" }, box);
      sasa.element("i", {}, chip).style.background = `var(--c${index % 8})`;
      chip.append(`${labels.get(name)} ×`);
      chip.onclick = () => { state.runs = state.runs.filter((id) => !runs.some((run) => run.id === id)); update(); };
    });
    $("comparison").hidden = !chosen.length;
    if (!chosen.length) return;
    const series = [...groups].map(([name, runs]) => ({ series: name, label: labels.get(name), run: runs[0].id, curves: runs.map((run) => run.curves) }));
    for (const metric of ["validation top1", "train loss"]) {
      const name = `compare-${metric.split(" ")[0]}`;
      let figure = $("overlaid").querySelector(`[data-chart="${name}"]`);
      if (!figure) {
        figure = sasa.element("figure", { class: "chart", "data-chart": name, "data-metric": metric }, $("overlaid"));
        sasa.element("figcaption", {}, figure, "curves");
        sasa.element("div", { class: "plot" }, figure);
      }
      sasa.chart(figure, { kind: "curves", series, smooth: state.smooth });
    }
    table([...groups.values()].flat());
  }

  function table(chosen) {
    const side = $("side");
    side.replaceChildren();
    const head = sasa.element("tr", {}, sasa.element("thead", {}, side));
    sasa.element("th", { scope: "col" }, head, "value");
    chosen.forEach((run) => sasa.element("a", { href: `runs/${run.id}.html` }, sasa.element("th", { scope: "col" }, head), run.title));
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
    for (const row of rows()) row.cells[0].firstChild.checked = state.runs.includes(row.dataset.id);
    $("only").checked = state.only;
    $("smooth").value = state.smooth;
    if ($("filter").value !== state.filter) $("filter").value = state.filter;
    filterRows(); fetchRuns(); sideBySide();
  }

  sasa.compare = (changed) => {
    if (!$("all-runs")) return;
    if (changed) for (const id of Object.keys(loaded)) delete loaded[id];
    else fromAddress();
    $("fields").textContent = rows().length ? [...new Set(rows().flatMap((row) => Object.keys(fields(row).known)))].join(", ") : "";
    $("filter").oninput = () => { state.filter = $("filter").value; toAddress(); filterRows(); };
    $("only").onchange = () => { state.only = $("only").checked; update(); };
    $("smooth").oninput = () => { state.smooth = +$("smooth").value; update(); };
    $("clear").onclick = () => { state.runs = []; update(); };
    $("all-shown").onclick = () => { state.runs = [...new Set([...state.runs, ...rows().filter((row) => !row.hidden).map((row) => row.dataset.id)])]; update(); };
    $("all-runs").tBodies[0].onchange = ({ target }) => {
      const { id } = target.closest("tr").dataset;
      state.runs = target.checked ? [...state.runs, id] : state.runs.filter((other) => other !== id);
      update();
    };
    $("all-runs").tHead.onclick = ({ target }) => {
      const cell = target.closest("th[data-field]");
      if (!cell) return;
      state.sort = `${cell.dataset.field},${cell.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending"}`;
      toAddress(); sortRows();
    };
    sortRows(); update();
    if (!changed && state.runs.length) { $("comparison").hidden = false; $("comparison").scrollIntoView(); } // what the link was for
  };
  addEventListener("hashchange", () => { if ($("all-runs")) { fromAddress(); sortRows(); update(); } });
})();
