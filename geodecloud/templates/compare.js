"use strict";
const view = JSON.parse(document.getElementById("view").textContent);
const stage = document.getElementById("stage");
const swipe = document.getElementById("swipe");
const pictures = stage.querySelectorAll(".layer img");
const overlay = document.getElementById("overlay");
const blink = document.getElementById("blink");

// The picture's corner on the stage and its magnification, in CSS pixels.
let left = 0, top_ = 0, zoom = 1, isFitted = true;

function fitZoom() {
  return Math.min(stage.clientWidth / view.width, stage.clientHeight / view.height);
}

function draw() {
  const slackX = stage.clientWidth - view.width * zoom, slackY = stage.clientHeight - view.height * zoom;
  left = slackX > 0 ? slackX / 2 : Math.min(0, Math.max(slackX, left));
  top_ = slackY > 0 ? slackY / 2 : Math.min(0, Math.max(slackY, top_));
  for (const picture of pictures) picture.style.transform = `translate(${left}px, ${top_}px) scale(${zoom})`;
  stage.classList.toggle("near", zoom >= 2);
  drawScale();
}

function fit() { isFitted = true; zoom = fitZoom(); draw(); }

function zoomTo(next, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  next = Math.min(Math.max(next, fitZoom()), Math.max(24, fitZoom()));
  left = x - (x - left) * next / zoom;
  top_ = y - (y - top_) * next / zoom;
  zoom = next;
  isFitted = zoom === fitZoom();
  draw();
}

// The longest of 1, 2, 5 x 10^n that fits in a fifth of the stage.
function drawScale() {
  const bar = document.getElementById("scale"), unit = view.metres_per_px || view.step;
  const most = Math.min(180, stage.clientWidth / 4) / zoom * unit;
  const ten = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].map(n => n * ten).find(n => n <= most);
  const text = !view.metres_per_px ? `${length} px` : length >= 1000 ? `${length / 1000} km` : `${length} m`;
  bar.querySelector("span").textContent = text;
  bar.querySelector("i").style.width = `${length / unit * zoom}px`;
}

function drawPlace(event) {
  const box = stage.getBoundingClientRect();
  const col = (event.clientX - box.left - left) / zoom * view.step;
  const row = (event.clientY - box.top - top_) / zoom * view.step;
  const isInside = col >= 0 && row >= 0 && col < view.shape[1] && row < view.shape[0];
  const [a, b, c, d, e, f] = view.affine, x = a * col + b * row + c, y = d * col + e * row + f;
  const pixel = `row ${Math.floor(row)}, col ${Math.floor(col)}`;
  const ground = view.is_geographic ? `${y.toFixed(5)}°, ${x.toFixed(5)}°  ·  `
    : view.has_crs ? `${Math.round(x)} E, ${Math.round(y)} N  ·  ` : "";
  document.getElementById("place").textContent = isInside ? ground + pixel : "";
}

function move() {
  stage.style.setProperty("--at", `${swipe.value}%`);
  swipe.setAttribute("aria-valuetext", `${Math.round(swipe.value)} % before`);
}

let kept = null;
function setBlink(isOn) {
  if (isOn === (kept !== null)) return;
  if (isOn) { kept = swipe.value; swipe.value = kept >= 50 ? 0 : 100; }
  else { swipe.value = kept; kept = null; }
  blink.setAttribute("aria-pressed", isOn);
  move();
}

function setOverlay(isOn) {
  overlay.setAttribute("aria-pressed", isOn);
  document.getElementById("marks").hidden = !isOn;
}

// One pointer moves the picture, two zoom it; the bar's thumb takes its own.
const pointers = new Map();
stage.addEventListener("pointerdown", event => {
  if (event.target === swipe) { kept = null; blink.setAttribute("aria-pressed", false); return; }
  stage.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, event);
  stage.classList.add("moving");
});
stage.addEventListener("pointermove", event => {
  drawPlace(event);
  const last = pointers.get(event.pointerId);
  if (!last) return;
  if (pointers.size === 1) {
    left += event.clientX - last.clientX; top_ += event.clientY - last.clientY; draw();
  } else {
    const other = [...pointers.values()].find(pointer => pointer.pointerId !== event.pointerId);
    const apart = pointer => Math.hypot(pointer.clientX - other.clientX, pointer.clientY - other.clientY);
    const box = stage.getBoundingClientRect();
    zoomTo(zoom * apart(event) / Math.max(apart(last), 1),
      (event.clientX + other.clientX) / 2 - box.left, (event.clientY + other.clientY) / 2 - box.top);
  }
  pointers.set(event.pointerId, event);
});
for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, event => {
  pointers.delete(event.pointerId);
  if (!pointers.size) stage.classList.remove("moving");
});
stage.addEventListener("pointerleave", () => { document.getElementById("place").textContent = ""; });
stage.addEventListener("wheel", event => {
  event.preventDefault();
  const box = stage.getBoundingClientRect();
  zoomTo(zoom * 2 ** (-event.deltaY / (event.deltaMode ? 10 : 300)), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });
stage.addEventListener("dblclick", event => {
  const box = stage.getBoundingClientRect();
  zoomTo(zoom * 2, event.clientX - box.left, event.clientY - box.top);
});

const actions = {
  "+": () => zoomTo(zoom * 1.5), "=": () => zoomTo(zoom * 1.5), "-": () => zoomTo(zoom / 1.5),
  "0": fit, "1": () => zoomTo(1 / devicePixelRatio), "b": () => setBlink(kept === null),
  "m": () => overlay && setOverlay(overlay.getAttribute("aria-pressed") !== "true"),
};
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const action = actions[event.key.toLowerCase()];
  if (action) { event.preventDefault(); action(); return; }
  // the arrows move the bar wherever the focus is, a tenth of the view with Shift
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  event.preventDefault();
  swipe.value = Number(swipe.value) + step * (event.shiftKey ? 10 : 1);
  move();
});
swipe.addEventListener("input", move);
if (overlay) overlay.addEventListener("click", actions.m);
blink.addEventListener("click", actions.b);
document.getElementById("closer").addEventListener("click", actions["+"]);
document.getElementById("wider").addEventListener("click", actions["-"]);
document.getElementById("whole").addEventListener("click", fit);
document.getElementById("native").addEventListener("click", actions["1"]);
new ResizeObserver(() => isFitted ? fit() : draw()).observe(stage);
move();
fit();
