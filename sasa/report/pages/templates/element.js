// What the other scripts draw with: elements, and the box that tells what the pointer is at.
"use strict";
window.sasa ||= {};

sasa.element = (name, attributes = {}, parent = null, text = "") => {
  const svg = name === "svg" || parent instanceof SVGElement;
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  if (parent) parent.append(made);
  return made;
};

sasa.showTip = (text, x, y) => {
  const box = document.getElementById("tip");
  box.textContent = text;
  box.hidden = false;
  const { width, height } = box.getBoundingClientRect();
  box.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 4))}px`;
  box.style.top = `${y - height - 12 < 4 ? y + 16 : y - height - 12}px`;
};
sasa.hideTip = () => { document.getElementById("tip").hidden = true; };
