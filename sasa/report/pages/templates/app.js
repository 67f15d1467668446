// Starts what a page holds; light and dark; and, where the page is served, its refresh while runs go on.
"use strict";
(() => {
  const root = document.documentElement, every = 1500;

  function remembered(value) {
    try {
      if (value !== undefined) localStorage.setItem("sasa-theme", value);
      return localStorage.getItem("sasa-theme") || "auto";
    } catch { return value || "auto"; }
  }
  function theme(value) {
    value === "auto" ? root.removeAttribute("data-theme") : root.setAttribute("data-theme", value);
    document.querySelector("#theme span").textContent = value;
  }
  theme(remembered());
  document.getElementById("theme").onclick = () => {
    const order = ["auto", "light", "dark"];
    theme(remembered(order[(order.indexOf(document.querySelector("#theme span").textContent) + 1) % 3]));
  };

  function start(within, changed) {
    within.querySelectorAll("figure.chart > script").forEach((script) => sasa.chart(script.parentElement, JSON.parse(script.textContent)));
    within.querySelectorAll(".attention > script").forEach((script) => sasa.attention(script.parentElement, JSON.parse(script.textContent)));
    within.querySelectorAll("[data-copy]").forEach((button) => {
      button.onclick = async () => {
        await navigator.clipboard?.writeText(document.getElementById(button.dataset.copy).textContent);
        button.textContent = "copied";
      };
    });
    within.querySelectorAll("select#variant").forEach((select) => { select.onchange = () => { location.href = select.value; }; });
    if (within.querySelector("#all-runs") || changed) sasa.compare(changed);
  }

  let stamp = null;
  const sections = new Map(); // each section's text as it came, so that only what has changed is replaced

  function keep(figure) { // a drawn figure goes on with the new data
    const old = document.querySelector(`figure[data-chart="${figure.dataset.chart}"]`);
    if (!old) return;
    old.querySelector("script").textContent = figure.querySelector("script").textContent;
    figure.replaceWith(old);
  }

  function take(text) {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    const known = sections.size > 0, main = document.querySelector("main");
    for (const section of fresh.querySelectorAll("main > section")) {
      const old = document.getElementById(section.id), html = section.outerHTML;
      if (known && sections.get(section.id) === html && old) continue;
      sections.set(section.id, html);
      if (!known && old) continue;
      section.querySelectorAll("figure[data-chart]").forEach(keep);
      section.querySelectorAll("details[id]").forEach((one) => { one.open ||= document.getElementById(one.id)?.open || false; });
      const places = [...old?.querySelectorAll(".scroll") ?? []].map((box) => [box.scrollLeft, box.scrollTop]);
      old ? old.replaceWith(section) : main.append(section);
      section.querySelectorAll(".scroll").forEach((box, index) => { [box.scrollLeft, box.scrollTop] = places[index] ?? [0, 0]; });
      if (section.id !== "comparison") start(section, section.id === "runs");
    }
  }

  async function refresh() {
    const sign = document.querySelector(".live");
    try {
      const answer = await fetch(`${root.dataset.root}changes`, { cache: "no-store" });
      const newest = await answer.text();
      if (newest !== stamp) {
        const page = await fetch(location.pathname, { cache: "no-store" });
        if (page.ok) { take(await page.text()); stamp = newest; }
      }
      sign.classList.remove("off"); sign.lastChild.textContent = "live";
    } catch { sign.classList.add("off"); sign.lastChild.textContent = "stopped"; }
    setTimeout(refresh, every);
  }

  start(document, false);
  if (root.hasAttribute("data-live")) { document.querySelector(".live").hidden = false; refresh(); }
})();
