// Draws a figure: its data and titles, put into the specification of its kind (vega.js has those, made by Altair).
"use strict";
(() => {
  const OPTIONS = { ast: true, actions: false, renderer: "svg", defaultStyle: false, tooltip }; // ast: no eval
  const NAMES = { top1: "top-1 (%)", top5: "top-5 (%)", lr: "learning rate", ap: "AP (%)", ap50: "AP50 (%)", ap75: "AP75 (%)" };
  const chosen = {}; // the metric that was chosen in a figure, by the figure's name: it outlives a refresh

  function told({ label, result, costs, x, y, low, high }) {
    if (result) return `${label}\n${result}\n${costs}`;
    const [mean, least, most] = [y, low, high].map((value) => +value.toPrecision(4));
    return `${label}\nepoch ${+x.toPrecision(3)}: ${mean}${least < most ? ` (${least} to ${most})` : ""}`;
  }

  function tooltip(_, event, item, value) { // of a point's data, as plain text
    if (!value) { sasa.hideTip(); return; }
    sasa.showTip(told(value), event.clientX, event.clientY);
  }

  function metrics(data) {
    const names = new Map();
    for (const split of ["validation", "train"]) for (const curves of data.series.flatMap((one) => one.curves)) {
      for (const name of Object.keys(curves[split] || {})) if (name !== "x") names.set(`${split} ${name}`, [split, name]);
    }
    return names;
  }

  // A single point a row shows little: then the training, which is recorded oftener.
  function preferred(figure, data, known) {
    const wanted = [chosen[figure.dataset.chart], figure.dataset.metric, "validation top1", "validation ap"].find((name) => known.has(name));
    const alone = !chosen[figure.dataset.chart] && data.series.every((one) => one.curves.every((curves) => (curves.validation?.x.length ?? 0) < 2));
    return (alone && ["train top1", "train loss"].find((name) => known.has(name))) || wanted || known.keys().next().value;
  }

  function choice(figure, data) {
    const known = metrics(data), metric = preferred(figure, data, known), caption = figure.querySelector("figcaption");
    caption.querySelector("select")?.remove();
    const select = sasa.element("select", { "aria-label": "what is drawn" }, caption);
    for (const [name, [split, measure]] of known) sasa.element("option", { value: name }, select, `${split} ${(NAMES[measure] || measure).replace(" (%)", "")}`);
    select.value = metric;
    select.onchange = () => { chosen[figure.dataset.chart] = select.value; sasa.chart(figure, data); };
    return [known.get(metric)].filter(Boolean);
  }

  // One seed's curve as points; smoothed, each is a mean of itself and those before it, which count less the longer ago.
  function points(name, smooth, { x = [], [name]: y = [] } = {}) {
    let mean = 0, weight = 0;
    return x.map((place, index) => [place, y[index] ?? null]).filter((pair) => !pair.includes(null)).map(([place, value]) => {
      [mean, weight] = [smooth * mean + (1 - smooth) * value, smooth * weight + 1 - smooth];
      return { x: place, y: mean / weight };
    });
  }

  // A curve's value at a place in time, between two of its points.
  function at(curve, x) {
    const index = curve.findIndex((one) => one.x >= x), after = curve[index], before = curve[index - 1] ?? after;
    return after === before ? after.y : before.y + (after.y - before.y) * (x - before.x) / (after.x - before.x);
  }

  // The mean over seeds, as far as all of them have come, with the lowest and the highest.
  function together(seeds) {
    const known = seeds.filter((one) => one.length).sort((a, b) => a.at(-1).x - b.at(-1).x);
    return (known[0] ?? []).map(({ x }) => {
      const values = known.map((one) => at(one, x));
      return { x, y: values.reduce((a, b) => a + b) / values.length, low: Math.min(...values), high: Math.max(...values) };
    });
  }

  function curves(figure, data) {
    const drawn = data.draw || choice(figure, data), values = [];
    for (const one of data.series) for (const [split, name] of drawn) {
      const names = data.draw ? { series: split, label: split } : { series: one.series, label: one.label, row: one.row, run: one.run };
      const seeds = one.curves.map((curves) => points(name, data.smooth ?? 0, curves[split]));
      values.push(...together(seeds).map((point) => ({ ...point, ...names })));
    }
    const every = (field) => [...new Set(data.series.map((one) => one[field]))];
    const domain = data.draw ? { series: drawn.map(([split]) => split) } : { series: every("series"), row: every("row") };
    return { kind: data.kind, x: "epochs", y: NAMES[drawn[0]?.[1]] || drawn[0]?.[1], values, domain };
  }

  // A name has its colour, shape or dash by its place in the domain: the same one in all charts beside each other.
  function specification({ kind, x, y, values, domain }) {
    const made = structuredClone(sasa.specs[kind]);
    if (kind === "rows") made.height = Math.min(made.height, 30 + 30 * new Set(values.map((one) => one.y)).size); // a line a row
    for (const { encoding } of made.layer) { encoding.x.title = x; encoding.y.title = y; }
    for (const channel of [made, ...made.layer].flatMap(({ encoding }) => Object.values(encoding))) {
      if (!("legend" in channel)) continue;
      const present = [...new Set(values.map((one) => one[channel.field]))], names = domain?.[channel.field] ?? present;
      channel.scale = { ...channel.scale, domain: names };
      channel.legend = names.length < 2 ? null : { ...channel.legend, values: names.filter((name) => present.includes(name)) };
    }
    return made;
  }

  const open = (run) => { if (run) location.href = `${document.documentElement.dataset.root}runs/${run}.html`; };

  // Left and right go through a chart's points, as the pointer does, up and down through its series, as clicks on the legend
  // do; Enter opens the run of a point.
  function keys(figure, plot, name, names) {
    let place = -1, series = 0;
    const words = `${name}: left and right go through its points${names.length > 1 ? ", up and down through its series" : ""}`;
    Object.entries({ tabindex: 0, role: "group", "aria-label": words }).forEach(([key, value]) => plot.setAttribute(key, value));
    plot.onkeydown = (event) => {
      const turn = names.length > 1 && { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (turn) {
        event.preventDefault();
        series = (series + turn + names.length + 1) % (names.length + 1); // 0: all of them
        figure.vega.view.signal("chosen_series_legend", names[series - 1] ?? null).runAsync();
        const { left, top } = plot.getBoundingClientRect();
        sasa.showTip(names[series - 1] ?? "all", left, top);
      }
      const marks = [...plot.querySelectorAll(".role-mark.mark-symbol path")], step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Enter") open(marks[place]?.__data__.datum.run);
      if (!step || !marks.length) return;
      event.preventDefault();
      marks[place]?.classList.remove("here");
      place = (Math.max(place, step < 0 ? 0 : -1) + step + marks.length) % marks.length;
      marks[place].classList.add("here");
      const { right, top } = marks[place].getBoundingClientRect();
      sasa.showTip(told(marks[place].__data__.datum), right, top);
    };
    plot.onblur = () => { plot.querySelector(".here")?.classList.remove("here"); sasa.hideTip(); };
  }

  // A figure as a file; its colours, which are variables of the page, as they are now.
  async function save(figure, kind) {
    const look = getComputedStyle(document.documentElement), link = sasa.element("a", { download: `${figure.dataset.chart}.${kind}` });
    const svg = (await figure.vega.view.toSVG()).replace(/<svg[^>]*>/, '$&<rect width="100%" height="100%" fill="var(--card)"/>')
      .replaceAll(/var\((--\w+)\)/g, (_, name) => look.getPropertyValue(name).trim());
    link.href = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
    if (kind === "png") {
      const image = new Image(), canvas = document.createElement("canvas"), size = 2; // a pixel of the page is 2 x 2 of the file's
      image.src = link.href;
      await image.decode();
      [canvas.width, canvas.height] = [image.width * size, image.height * size];
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      link.href = canvas.toDataURL();
    }
    link.click();
  }
  function saving(figure, name) {
    const caption = figure.querySelector("figcaption");
    if (caption.querySelector(".save")) return;
    const box = sasa.element("span", { class: "save" }, caption);
    for (const kind of ["svg", "png"]) {
      sasa.element("button", { type: "button", "aria-label": `${kind.toUpperCase()} of ${name}` }, box, kind.toUpperCase()).onclick = () => save(figure, kind);
    }
  }

  async function draw(figure, data) {
    const chart = data.series ? curves(figure, data) : data, plot = figure.querySelector(".plot"), { values } = chart;
    const name = [figure.closest("section")?.querySelector("h2"), figure.querySelector("figcaption").firstChild].filter(Boolean).map((one) => one.textContent).join(": ");
    const made = specification(chart), look = JSON.stringify(made);
    if (figure.vega && figure.look === look && values.length) { // a refresh: the same chart goes on
      await figure.vega.view.data("values", values).runAsync();
      return;
    }
    figure.vega?.finalize();
    figure.vega = null;
    if (!values.length) { plot.textContent = "nothing recorded yet"; return; }
    figure.vega = await vegaEmbed(plot, { ...made, datasets: { values } }, OPTIONS);
    figure.look = look;
    keys(figure, plot, name, [...new Set(values.map((one) => one.series))]);
    saving(figure, name);
    figure.vega.view.addEventListener("click", (event, item) => open((item?.datum?.datum ?? item?.datum)?.run)); // the mark, or the cell around it
  }

  // Draws the figure, or takes new data into it, after what it is drawing already.
  sasa.chart = (figure, data) => { figure.drawing = (figure.drawing ?? Promise.resolve()).then(() => draw(figure, data)); };
})();
