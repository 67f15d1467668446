// Points and lines in SVG, drawn at the size that there is: axes, legend, and values for whatever is pointed at.
"use strict";
window.sasa = window.sasa || {};

(() => {
  const SVG = "http://www.w3.org/2000/svg", HEIGHT = 250, LEFT = 44, RIGHT = 12, TOP = 8, BOTTOM = 40;
  const kept = {}; // what a user chose in a chart, by the chart's name: it outlives a refresh

  function element(name, attributes = {}, parent = null, text = "") {
    const made = name === "svg" || parent instanceof SVGElement ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }
  const colour = (index) => `var(--c${index % 8})`;
  const dash = (index) => ["", "6 3", "2 3", "9 3 2 3", "1 2"][index % 5];
  const number = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 10 ? value.toFixed(1) : String(+value.toPrecision(3)));

  function mark(index, x, y, size, hollow, parent) {
    const s = size, shapes = [
      `M${x - s},${y}a${s},${s} 0 1,0 ${2 * s},0a${s},${s} 0 1,0 ${-2 * s},0`,
      `M${x - s * .9},${y - s * .9}h${s * 1.8}v${s * 1.8}h${-s * 1.8}z`,
      `M${x},${y - s * 1.15}L${x + s * 1.1},${y + s * .85}H${x - s * 1.1}z`,
      `M${x},${y - s * 1.25}L${x + s * 1.25},${y}L${x},${y + s * 1.25}L${x - s * 1.25},${y}z`,
    ];
    return element("path", { class: "mark", d: shapes[index % 4], fill: hollow ? "var(--card)" : colour(index), stroke: colour(index), "stroke-width": 1.6 }, parent);
  }

  function scale(values, from, to, ticks, least = 0) {
    let low = Math.min(...values), high = Math.max(...values);
    const pad = Math.max((high - low) * .08, least, 1e-9);
    low -= pad; high += pad;
    const raw = (high - low) / ticks, power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find((factor) => power * factor >= raw);
    const marks = [];
    for (let at = Math.ceil(low / step); at * step <= high; at++) marks.push(+(at * step).toPrecision(12));
    return { at: (value) => from + (value - low) / (high - low) * (to - from), marks };
  }

  function axes(svg, width, x, y, labels, xs) {
    for (const value of y.marks) {
      element("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y.at(value), y2: y.at(value) }, svg);
      element("text", { x: LEFT - 6, y: y.at(value) + 4, "text-anchor": "end" }, svg, number(value));
    }
    const room = (width - LEFT - RIGHT) / Math.max(labels.length, 1);
    for (const [value, text] of labels.length ? labels : x.marks.map((v) => [v, number(v)])) {
      const most = Math.floor(room / 6.2), short = labels.length && text.length > most ? text.slice(0, Math.max(most - 1, 1)) + "…" : text;
      const label = element("text", { x: x.at(value), y: HEIGHT - BOTTOM + 17, "text-anchor": "middle" }, svg, short);
      if (short !== text) element("title", {}, label, text);
    }
    if (xs) element("text", { x: width - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, svg, xs);
  }

  const tip = () => document.getElementById("tip");
  sasa.showTip = (text, x, y) => {
    const box = tip();
    box.textContent = text; box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    box.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 4))}px`;
    box.style.top = `${y - height - 12 < 4 ? y + 16 : y - height - 12}px`;
  };
  sasa.hideTip = () => { tip().hidden = true; };

  function keys(figure, names, state, redraw) {
    const box = element("div", { class: "keys" }, figure);
    for (const [name, index, hollow, pattern] of names) {
      const button = element("button", { type: "button", "aria-pressed": String(!state.off.has(name)) }, box);
      const icon = element("svg", { width: 18, height: 12 }, button);
      if (hollow === null) element("line", { x1: 1, x2: 17, y1: 6, y2: 6, stroke: colour(index), "stroke-width": 2.4, "stroke-dasharray": dash(pattern) }, icon);
      else mark(index, 9, 6, 4, hollow, icon);
      button.append(name);
      button.onclick = () => { state.off.has(name) ? state.off.delete(name) : state.off.add(name); redraw(); };
    }
  }

  function frame(figure, data, title) {
    figure.querySelectorAll("svg, .keys, .none").forEach((old) => old.remove());
    const width = Math.max(figure.clientWidth, 240);
    return [element("svg", { width, height: HEIGHT, role: "img", "aria-label": title }, figure), width];
  }
  const page = (run) => `${document.documentElement.dataset.root}runs/${run}.html`;

  function points(figure, data, state, redraw) {
    const [svg, width] = frame(figure, data, `${data.title}: ${data.y} against ${data.x || "row"}`);
    const shown = data.series.filter((one) => !state.off.has(one.name) && one.points.length);
    const all = (shown.length ? shown : data.series).flatMap((one) => one.points);
    const ticks = data.ticks.length ? data.ticks : [];
    const x = scale(ticks.length ? ticks.map(([at]) => at) : all.map((p) => p.x), LEFT + 4, width - RIGHT - 4, width < 360 ? 4 : 6, ticks.length ? .5 : 0.02);
    const y = scale(all.flatMap((p) => [p.y - (p.spread || 0), p.y + (p.spread || 0)]), HEIGHT - BOTTOM, TOP, 5, .3);
    axes(svg, width, x, y, ticks, data.x);
    element("text", { x: LEFT + 2, y: TOP + 8 }, svg, data.y);
    const targets = [];
    for (const one of shown) {
      const sorted = [...one.points].sort((a, b) => a.x - b.x);
      if (one.joined && sorted.length > 1) element("path", { class: "line", d: "M" + sorted.map((p) => `${x.at(p.x)},${y.at(p.y)}`).join("L"), stroke: colour(one.colour), "stroke-dasharray": one.hollow ? "4 4" : "" }, svg);
      for (const p of sorted) {
        const px = x.at(p.x), py = y.at(p.y);
        const text = `${one.name === "ours" || one.name === "paper" ? `${one.name}: ` : ""}${p.label}\n${p.y.toFixed(1)}${p.spread === null ? "" : ` ± ${p.spread.toFixed(1)}`} %` + (data.x ? `\n${data.x.split(" (")[0]} ${number(p.x)}` : "");
        const place = p.run ? element("a", { href: page(p.run), "aria-label": text }, svg) : element("g", {}, svg);
        if (p.spread) element("line", { class: "error", x1: px, x2: px, y1: y.at(p.y - p.spread), y2: y.at(p.y + p.spread), stroke: colour(one.colour) }, place);
        mark(one.colour, px, py, 4.6, one.hollow, place);
        const tell = () => { const box = svg.getBoundingClientRect(); sasa.showTip(text, box.left + px, box.top + py); };
        place.onfocus = tell; place.onblur = sasa.hideTip;
        targets.push({ px, py, tell });
      }
    }
    svg.onpointermove = (event) => {
      const box = svg.getBoundingClientRect(), mx = event.clientX - box.left, my = event.clientY - box.top;
      let best = null, least = 32;
      for (const target of targets) {
        const distance = Math.hypot(target.px - mx, target.py - my);
        if (distance < least) [best, least] = [target, distance];
      }
      best ? best.tell() : sasa.hideTip();
    };
    svg.onpointerleave = sasa.hideTip;
    const named = data.series.filter((one) => one.points.length).map((one) => [one.name, one.colour, one.hollow]);
    if (named.length > 1) keys(figure, named, state, redraw);
  }

  const METRICS = { top1: "top-1 (%)", top5: "top-5 (%)", loss: "loss", lr: "learning rate" };
  function choices(data) {
    const found = new Map();
    for (const split of ["validation", "train"]) for (const one of data.series)
      for (const name of Object.keys(one.curves[split] || {})) if (name !== "x") found.set(`${split} ${name}`, [split, name]);
    return found;
  }
  function drawn(data, choice) { // a run's page draws validation and training together: its two figures are named for the measure
    return choice === "accuracy" ? [["validation", "top1"], ["train", "top1"]] : choice === "loss" ? [["validation", "loss"], ["train", "loss"]] : [choices(data).get(choice)];
  }

  function lines(figure, data, state, redraw) {
    const metrics = choices(data), pair = ["accuracy", "loss"].includes(figure.dataset.chart);
    if (!pair && !metrics.has(state.metric)) state.metric = metrics.keys().next().value;
    const choice = pair ? figure.dataset.chart : state.metric;
    const caption = figure.querySelector("figcaption");
    caption.querySelector("select")?.remove();
    if (!pair && metrics.size > 1) {
      const select = element("select", { "aria-label": "what is drawn" }, caption);
      for (const name of metrics.keys()) element("option", { value: name }, select, name.replace("top1", "top-1").replace("top5", "top-5"));
      select.value = choice;
      select.onchange = () => { state.metric = select.value; redraw(); };
    }
    const curves = [];
    for (const one of data.series) for (const [split, name] of drawn(data, choice).filter(Boolean)) {
      const found = one.curves[split];
      if (!found || !found[name]) continue;
      const at = found.x.map((value, index) => [value, found[name][index]]).filter(([a, b]) => a !== null && b !== null);
      const index = pair ? (split === "train" ? 4 : 0) : one.colour;
      if (at.length) curves.push({ key: pair ? split : one.name, label: pair ? split : one.label, index, dash: pair ? 0 : one.dash ?? Math.floor(one.colour / 8), at, run: one.run });
    }
    const [svg, width] = frame(figure, data, choice);
    const shown = curves.filter((curve) => !state.off.has(curve.key));
    if (!curves.length) { svg.remove(); element("p", { class: "quiet none" }, figure, "nothing recorded yet"); return; }
    const at = (shown.length ? shown : curves).flatMap((curve) => curve.at);
    const x = scale([0, ...at.map((p) => p[0])], LEFT + 4, width - RIGHT - 4, width < 360 ? 4 : 6);
    const y = scale(at.map((p) => p[1]), HEIGHT - BOTTOM, TOP, 5);
    x.marks = x.marks.filter((value) => value >= 0);
    axes(svg, width, x, y, [], "epochs");
    const metric = drawn(data, choice)[0]?.[1];
    element("text", { x: LEFT + 2, y: TOP + 8 }, svg, METRICS[metric] || metric || "");
    for (const curve of shown) {
      curve.path = element("path", { class: "line", d: "M" + curve.at.map((p) => `${x.at(p[0]).toFixed(1)},${y.at(p[1]).toFixed(1)}`).join("L"), stroke: colour(curve.index), "stroke-dasharray": dash(curve.dash) }, svg);
      if (curve.at.length < 16) curve.at.forEach((p) => element("circle", { cx: x.at(p[0]), cy: y.at(p[1]), r: 2.4, fill: colour(curve.index) }, svg));
    }
    const dot = element("circle", { r: 4.5, fill: "none", "stroke-width": 2.5, visibility: "hidden" }, svg);
    const still = () => { shown.forEach((curve) => curve.path.classList.remove("faded", "strong")); dot.setAttribute("visibility", "hidden"); sasa.hideTip(); };
    svg.onpointermove = (event) => {
      const box = svg.getBoundingClientRect(), mx = event.clientX - box.left, my = event.clientY - box.top;
      let best = null, least = 60;
      for (const curve of shown) for (const p of curve.at) {
        const distance = Math.hypot((x.at(p[0]) - mx) * 1.5, y.at(p[1]) - my);
        if (distance < least) [best, least] = [{ curve, p }, distance];
      }
      if (!best) { still(); return; }
      const px = x.at(best.p[0]), py = y.at(best.p[1]);
      for (const curve of shown) { curve.path.classList.toggle("faded", curve.key !== best.curve.key); curve.path.classList.toggle("strong", curve === best.curve); }
      for (const [key, value] of Object.entries({ cx: px, cy: py, stroke: colour(best.curve.index), visibility: "visible" })) dot.setAttribute(key, value);
      sasa.showTip(`${best.curve.label}\nepoch ${number(best.p[0])}: ${number(best.p[1])}`, box.left + px, box.top + py);
      svg.style.cursor = best.curve.run ? "pointer" : "";
      svg.onclick = () => { if (best.curve.run) location.href = page(best.curve.run); };
    };
    svg.onpointerleave = still;
    const names = new Map(curves.map((curve) => [curve.key, [curve.index, null, curve.dash]]));
    if (names.size > 1) keys(figure, [...names].map(([name, look]) => [name, ...look]), state, redraw);
  }

  const watch = new ResizeObserver((entries) => entries.forEach(({ target }) => { if (target.drawnAt !== target.clientWidth) target.redraw?.(); }));

  sasa.chart = (figure, data) => {
    const state = kept[figure.dataset.chart] ||= { off: new Set(), metric: figure.dataset.metric || "validation top1" };
    figure.redraw = () => { figure.drawnAt = figure.clientWidth; (data.kind === "points" ? points : lines)(figure, data, state, figure.redraw); };
    figure.redraw();
    watch.observe(figure);
  };
  sasa.element = element;
  sasa.colour = colour;
})();
