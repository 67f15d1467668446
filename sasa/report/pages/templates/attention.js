// What each head looks at: choose an image and a pixel; every layer shows its heads over the image in grey.
"use strict";
(() => {
  const SIDE = 116, chosen = { image: 0, pixel: 0 };

  function tile(data, layer, image, pixel, head, parent) {
    const svg = sasa.element("svg", { width: SIDE, height: SIDE, viewBox: `0 0 ${layer.width} ${layer.height}`, preserveAspectRatio: "none" }, parent);
    const [row, column] = layer.pixels[pixel], source = `data:image/png;base64,${data.images[image].png}`;
    const picture = sasa.element("image", { href: source, width: layer.width, height: layer.height, preserveAspectRatio: "none" }, svg);
    if (head !== null) {
      const cells = new Map(), at = [0, 0]; // down and right of the pixel in the frame, which the arrow keys move
      picture.setAttribute("style", "filter: grayscale(1) brightness(.5)");
      const weights = layer.weights[image][pixel][head], most = Math.max(...weights, 1), k = layer.extent, pad = (k - 1) / 2;
      weights.forEach((weight, index) => {
        const dy = Math.floor(index / k) - pad, dx = index % k - pad;
        if (row + dy < 0 || row + dy >= layer.height || column + dx < 0 || column + dx >= layer.width) return;
        const cell = sasa.element("rect", { x: column + dx, y: row + dy, width: 1, height: 1, fill: "#ffb000", "fill-opacity": (.92 * weight / most).toFixed(3) }, svg);
        const place = `${dy > 0 ? "+" : ""}${dy} down, ${dx > 0 ? "+" : ""}${dx} right`;
        const tell = ({ clientX, clientY }) => sasa.showTip(`head ${head + 1}: ${(100 * weight / data.unit).toFixed(1)} %\n${place}`, clientX, clientY);
        cell.onpointermove = tell;
        cell.onpointerleave = sasa.hideTip;
        cells.set(`${dy},${dx}`, () => { const { right, top } = cell.getBoundingClientRect(); tell({ clientX: right, clientY: top }); });
      });
      Object.entries({ tabindex: 0, role: "group", "aria-label": `${layer.name}, head ${head + 1}: the arrow keys go through its weights` }).forEach(([key, value]) => svg.setAttribute(key, value));
      svg.onkeydown = (event) => {
        const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
        const tell = cells.get(`${at[0] + down},${at[1] + right}`);
        if (!(down || right) || !tell) return;
        event.preventDefault();
        at[0] += down; at[1] += right;
        tell();
      };
      svg.onblur = sasa.hideTip;
    }
    const line = layer.width / SIDE * 2;
    sasa.element("rect", { x: column + line / 2, y: row + line / 2, width: 1 - line, height: 1 - line, fill: "none", stroke: "#00e5ff", "stroke-width": line, "pointer-events": "none" }, svg);
    return svg;
  }

  sasa.attention = (box, data) => {
    const draw = () => {
      box.querySelector(".looks")?.remove();
      const looks = sasa.element("div", { class: "looks" }, box), pickers = sasa.element("div", { class: "pickers" }, looks);
      data.images.forEach((image, number) => data.layers[0].pixels.forEach((_, pixel) => {
        const here = number === chosen.image && pixel === chosen.pixel;
        const button = sasa.element("button", { type: "button", class: "picker", "aria-pressed": String(here) }, pickers);
        tile(data, data.layers[0], number, pixel, null, button);
        sasa.element("span", {}, button, image.title);
        button.onclick = () => { Object.assign(chosen, { image: number, pixel }); draw(); };
      }));
      const heads = sasa.element("div", { class: "heads" }, looks);
      for (const layer of data.layers) {
        const row = sasa.element("div", { class: "row" }, heads);
        sasa.element("b", {}, row, layer.name);
        sasa.element("span", { class: "quiet" }, row, `  ${layer.height}×${layer.width} pixels, k = ${layer.extent}`);
        const tiles = sasa.element("div", { class: "tiles" }, row);
        layer.weights[chosen.image][chosen.pixel].forEach((_, head) => {
          const figure = sasa.element("figure", {}, tiles);
          tile(data, layer, chosen.image, chosen.pixel, head, figure);
          sasa.element("figcaption", {}, figure, `head ${head + 1}`);
        });
      }
    };
    if (data.images[chosen.image] === undefined) chosen.image = 0;
    draw();
  };
})();
