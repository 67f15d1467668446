// Draws a figure: its data and titles, put into the specification of its kind (vega.js has those, made by Altair).
"use strict";
(() => {
  const OPTIONS = { ast: true, actions: false, renderer: "svg", defaultStyle: false, tooltip }; // ast: no eval
  const NAMES = { top1: "top-1 (%)", top5: "top-5 (%)", lr: "learning rate", ap: "AP (%)", ap50: "AP50 (%)", ap75: "AP75 (%)" };
  const chosen = {}; // the metric that was chosen in a figure, by the figure's name: it outlives a refresh

  function tooltip(_, event, item, value) { // of a point's data, as plain text
    if (!value) { sasa.hideTip(); return; }
    const { label, result, costs, x, y } = value;
    sasa.showTip(result ? `${label}\n${result}\n${costs}` : `${label}\nepoch ${+x.toPrecision(3)}: ${+y.toPrecision(4)}`, event.clientX, event.clientY);
  }

  function metrics(data) {
    const names = new Map();
    for (const split of ["validation", "train"]) for (const one of data.series) {
      for (const name of Object.keys(one.curves[split] || {})) if (name !== "x") names.set(`${split} ${name}`, [split, name]);
    }
    return names;
  }

  // A single point a row shows little: then the training, which is recorded oftener.
  function preferred(figure, data, known) {
    const wanted = [chosen[figure.dataset.chart], figure.dataset.metric, "validation top1", "validation ap"].find((name) => known.has(name));
    const alone = !chosen[figure.dataset.chart] && data.series.every((one) => (one.curves.validation?.x.length ?? 0) < 2);
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

  function curves(figure, data) {
    const drawn = data.draw || choice(figure, data), values = [];
    for (const one of data.series) for (const [split, name] of drawn) {
      const { x = [], [name]: y = [] } = one.curves[split] || {};
      const names = data.draw ? { series: split, label: split } : { series: one.series, label: one.label, row: one.row, run: one.run };
      y.forEach((value, index) => { if (value !== null && x[index] !== null) values.push({ x: x[index], y: value, ...names }); });
    }
    const every = (field) => [...new Set(data.series.map((one) => one[field]))];
    const domain = data.draw ? { series: drawn.map(([split]) => split) } : { series: every("series"), row: every("row") };
    return { kind: data.kind, x: "epochs", y: NAMES[drawn[0]?.[1]] || drawn[0]?.[1], values, domain };
  }

  // A name has its colour, shape or dash by its place in the domain: the same one in all charts beside each other.
  function specification({ kind, x, y, values, domain }) {
    const made = structuredClone(sasa.specs[kind]);
    for (const { encoding } of made.layer) { encoding.x.title = x; encoding.y.title = y; }
    for (const channel of [made, ...made.layer].flatMap(({ encoding }) => Object.values(encoding))) {
      if (!("legend" in channel)) continue;
      const present = [...new Set(values.map((one) => one[channel.field]))], names = domain?.[channel.field] ?? present;
      channel.scale = { ...channel.scale, domain: names };
      channel.legend = names.length < 2 ? null : { ...channel.legend, values: names.filter((name) => present.includes(name)) };
    }
    return made;
  }

  async function draw(figure, data) {
    const chart = data.series ? curves(figure, data) : data, plot = figure.querySelector(".plot"), { values } = chart;
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
    figure.vega.view.addEventListener("click", (event, item) => {
      const run = (item?.datum?.datum ?? item?.datum)?.run; // the mark, or the cell around it
      if (run) location.href = `${document.documentElement.dataset.root}runs/${run}.html`;
    });
  }

  // Draws the figure, or takes new data into it, after what it is drawing already.
  sasa.chart = (figure, data) => { figure.drawing = (figure.drawing ?? Promise.resolve()).then(() => draw(figure, data)); };
})();
