// The maps: each layer is drawn on a canvas of its own, and recoloured when a switch is turned.
const geometry = data.geometry;
const maps = byId("maps");
const MARGIN = 0.02, CLOSEST = 24, FADED = 0.12;
const figures = geometry ? [...maps.querySelectorAll("figure")].map((figure) => ({
  layer: figure.dataset.layer, figure, box: figure.querySelector(".canvas"),
  panes: [...figure.querySelectorAll(".paint")].map((canvas) => ({ canvas, layer: canvas.dataset.paints })),
  mark: figure.querySelector(".mark"),
})) : [];
const paths = [], boxes = [], centres = [];
const borders = geometry ? new Path2D() : null;
const trace = (path, steps, close) => {
  let x = steps[0], y = steps[1], left = x, top = y, right = x, bottom = y;
  path.moveTo(x, y);
  for (let i = 2; i < steps.length; i += 2) {
    x += steps[i]; y += steps[i + 1];
    path.lineTo(x, y);
    if (x < left) left = x; else if (x > right) right = x;
    if (y < top) top = y; else if (y > bottom) bottom = y;
  }
  if (close) path.closePath();
  return [left, top, right, bottom];
};
if (geometry) {
  geometry.shapes.forEach((rings) => {
    if (!rings) { paths.push(null); boxes.push(null); centres.push(null); return; }
    const path = new Path2D();
    let whole = null;
    rings.forEach((ring) => {
      const box = trace(path, ring, true);
      whole = whole ? [Math.min(whole[0], box[0]), Math.min(whole[1], box[1]),
        Math.max(whole[2], box[2]), Math.max(whole[3], box[3])] : box;
    });
    paths.push(path); boxes.push(whole);
    centres.push([(whole[0] + whole[2]) / 2, (whole[1] + whole[3]) / 2]);
  });
  geometry.borders.forEach((line) => trace(borders, line, false));
}
const shown = () => figures.filter((f) => (state.layer === "all"
  ? f.figure.classList.contains("abreast") : f.layer === state.layer));
const fit = (f) => {
  // From grid to pixels of the box: the whole map fits, and zooming moves around its middle.
  const width = f.box.clientWidth;
  const tallest = Math.max(240, window.innerHeight * 0.76);
  const height = Math.min(width * (geometry.height / geometry.width), tallest);
  const scale = Math.min(width / geometry.width, height / geometry.height) * (1 - 2 * MARGIN) * state.zoom;
  return {
    width, height, scale,
    left: width / 2 - (geometry.width / 2 + state.x) * scale,
    top: height / 2 - (geometry.height / 2 + state.y) * scale,
  };
};
const prepare = (canvas, fitted, ratio = window.devicePixelRatio || 1) => {
  const width = Math.round(fitted.width * ratio), height = Math.round(fitted.height * ratio);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width; canvas.height = height;
    canvas.style.height = `${fitted.height}px`;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.setTransform(ratio * fitted.scale, 0, 0, ratio * fitted.scale, ratio * fitted.left, ratio * fitted.top);
  pen.lineJoin = "round";
  return pen;
};
// Stripes for "no value", so that it is no colour of any scale.
const hatch = (pen, fine) => {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 5;
  const stripe = tile.getContext("2d");
  stripe.strokeStyle = colour("--nothing");
  stripe.lineWidth = 1.2;
  stripe.stroke(new Path2D("M-1 1L1 -1M0 5L5 0M4 6L6 4"));
  const pattern = pen.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix().scale(fine));
  return pattern;
};
// One path a class, not thousands; stored, for moving the map changes none of them.
const grouped = new Map();
const groupsOf = (layer) => {
  const key = `${state.outcome} ${layer}`;
  if (!grouped.has(key)) {
    if (grouped.size > 16) grouped.clear();
    const groups = new Map(), bin = layers[layer].bins();
    for (let i = 0; i < count; i += 1) {
      if (!paths[i]) continue;
      const own = bin(i);
      if (!groups.has(own)) groups.set(own, new Path2D());
      groups.get(own).addPath(paths[i]);
    }
    grouped.set(key, groups);
  }
  return grouped.get(key);
};
const isSelected = (scale, bin) => !state.selected[scale] || state.selected[scale].has(bin);
const paint = (canvas, layer, fitted, ratio) => {
  const pen = prepare(canvas, fitted, ratio), { scale } = layers[layer], entries = scales[scale].entries();
  const fine = 1 / fitted.scale;
  // Small areas get no edge of their own: it would hide them. Their own colour closes the seams.
  const edges = (fitted.width * fitted.height * state.zoom ** 2) / count > 500;
  groupsOf(layer).forEach((path, bin) => {
    const swatch = bin < 0 ? null : colour(entries[bin].swatch), selected = isSelected(scale, bin);
    pen.globalAlpha = selected ? 1 : FADED;
    pen.fillStyle = swatch === null ? hatch(pen, fine) : swatch;
    pen.fill(path, "evenodd");
    if (!selected && !edges) return; // the seam's colour would show twice
    pen.strokeStyle = swatch === null ? colour("--nothing") : edges ? colour("--edge") : pen.fillStyle;
    pen.lineWidth = (edges ? 0.8 : 0.5) * fine;
    pen.stroke(path);
  });
  pen.globalAlpha = 1;
  pen.strokeStyle = colour("--border");
  pen.lineWidth = 0.7 * fine;
  pen.stroke(borders);
};
const draw = () => {
  if (!geometry) return;
  shown().forEach((f) => {
    const fitted = fit(f);
    f.panes.forEach((pane) => paint(pane.canvas, pane.layer, fitted));
    f.box.classList.toggle("zoomed", state.zoom > 1);
  });
  mark();
  if (!maps.dataset.drawn) performance.mark("map-drawn");
  maps.dataset.drawn = `${outcome().name} ${state.layer}`;
};
const mark = () => {
  shown().forEach((f) => {
    const fitted = fit(f), pen = prepare(f.mark, fitted), path = paths[state.area];
    if (!path) return;
    pen.strokeStyle = colour("--edge");
    pen.lineWidth = 5 / fitted.scale;
    pen.stroke(path);
    pen.strokeStyle = colour("--mark");
    pen.lineWidth = 2.2 / fitted.scale;
    pen.stroke(path);
  });
};
// What is drawn on a canvas for print stays blank in Chromium: paper gets images, in light colours.
const ON_PAPER = 3; // dots a pixel
const toPaper = () => {
  fromPaper();
  document.documentElement.dataset.paper = "";
  if (geometry) shown().forEach((f) => f.panes.forEach(({ canvas, layer }) => {
    const sheet = document.createElement("canvas");
    const image = element("img", undefined, canvas.classList.contains("over") ? "paper over" : "paper");
    paint(sheet, layer, fit(f), ON_PAPER);
    image.src = sheet.toDataURL();
    image.alt = "";
    image.style.clipPath = canvas.style.clipPath;
    canvas.after(image);
  }));
  delete document.documentElement.dataset.paper;
};
const fromPaper = () => document.querySelectorAll("img.paper").forEach((each) => each.remove());
let waiting = 0;
const later = () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(draw); };

const probe = document.createElement("canvas").getContext("2d");
const areaAt = (f, event) => {
  const rect = f.box.getBoundingClientRect(), fitted = fit(f);
  const x = (event.clientX - rect.left - fitted.left) / fitted.scale;
  const y = (event.clientY - rect.top - fitted.top) / fitted.scale;
  for (let i = 0; i < count; i += 1) {
    const box = boxes[i];
    if (box && box[0] <= x && x <= box[2] && box[1] <= y && y <= box[3] &&
        probe.isPointInPath(paths[i], x, y, "evenodd")) return i;
  }
  return -1;
};
const choose = (i) => {
  state.area = i;
  if (geometry) mark();
  if (i < 0) card.hidden = true; else write(i);
};
const floatAt = (x, y) => {
  card.className = "floating";
  if (narrow()) { card.style.left = card.style.top = ""; return; }
  const size = card.getBoundingClientRect(), gap = 16;
  const left = x + gap + size.width > window.innerWidth ? x - gap - size.width : x + gap;
  const top = Math.min(y + gap, window.innerHeight - size.height - 8);
  card.style.left = `${Math.max(8, left)}px`;
  card.style.top = `${Math.max(8, top)}px`;
};
const floatAtArea = (i) => {
  const f = shown()[0];
  if (!f || !centres[i]) { card.className = "settled"; return; }
  const rect = f.box.getBoundingClientRect(), fitted = fit(f);
  floatAt(rect.left + fitted.left + centres[i][0] * fitted.scale, rect.top + fitted.top + centres[i][1] * fitted.scale);
};
const zoomTo = (zoom) => {
  state.zoom = Math.max(1, Math.min(CLOSEST, zoom));
  const roomX = (geometry.width / 2) * (1 - 1 / state.zoom), roomY = (geometry.height / 2) * (1 - 1 / state.zoom);
  state.x = Math.max(-roomX, Math.min(roomX, state.x));
  state.y = Math.max(-roomY, Math.min(roomY, state.y));
  later();
};
// Go to an area, and come close enough to see it.
const SEEN = 24;
const reach = (i) => {
  if (!geometry || !centres[i] || !shown().length) return;
  const box = boxes[i], size = Math.max(box[2] - box[0], box[3] - box[1], 1) * fit(shown()[0]).scale;
  if (size >= SEEN && state.zoom === 1) return;
  state.x = centres[i][0] - geometry.width / 2;
  state.y = centres[i][1] - geometry.height / 2;
  zoomTo(size < SEEN ? Math.min((state.zoom * SEEN) / size, CLOSEST / 2) : state.zoom);
};

const listen = (f) => {
  const touching = new Map();
  let moved = 0, spread = 0;
  f.box.addEventListener("pointermove", (event) => {
    const before = touching.get(event.pointerId);
    if (before) {
      moved += Math.abs(event.clientX - before.clientX) + Math.abs(event.clientY - before.clientY);
      const { scale } = fit(f);
      if (touching.size === 1 && state.zoom > 1) {
        state.x -= (event.clientX - before.clientX) / scale;
        state.y -= (event.clientY - before.clientY) / scale;
        zoomTo(state.zoom);
      }
      touching.set(event.pointerId, event);
      if (touching.size === 2) {
        const [a, b] = [...touching.values()];
        const now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
        if (spread) zoomTo((state.zoom * now) / spread);
        spread = now;
      }
      if (moved > 6) return;
    }
    if (event.pointerType !== "mouse") return;
    const i = areaAt(f, event);
    if (i !== state.area) choose(i);
    if (i >= 0) floatAt(event.clientX, event.clientY);
  });
  f.box.addEventListener("pointerdown", (event) => {
    moved = 0; spread = 0;
    touching.set(event.pointerId, event);
    if (state.zoom > 1) f.box.setPointerCapture(event.pointerId);
  });
  const release = (event) => { touching.delete(event.pointerId); spread = 0; };
  f.box.addEventListener("pointerup", release);
  f.box.addEventListener("pointercancel", release);
  f.box.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") { release(event); choose(-1); }
  });
  f.box.addEventListener("click", (event) => {
    if (moved > 6) return;
    const i = areaAt(f, event);
    choose(i);
    if (i >= 0) floatAt(event.clientX, event.clientY);
  });
  f.box.addEventListener("dblclick", (event) => {
    const rect = f.box.getBoundingClientRect(), fitted = fit(f);
    state.x = (event.clientX - rect.left - fitted.left) / fitted.scale - geometry.width / 2;
    state.y = (event.clientY - rect.top - fitted.top) / fitted.scale - geometry.height / 2;
    zoomTo(state.zoom * 2);
  });
  // Only the pinch of a trackpad: the plain wheel belongs to the page.
  f.box.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoomTo(state.zoom * Math.exp(-event.deltaY / 120));
  }, { passive: false });
};
const neighbour = (i, dx, dy) => {
  // The nearest area whose centre lies in that direction (within 45 degrees of it).
  if (!centres[i]) return centres.findIndex(Boolean);
  let best = i, nearest = Infinity;
  centres.forEach((centre, j) => {
    if (!centre || j === i) return;
    const x = centre[0] - centres[i][0], y = centre[1] - centres[i][1];
    const along = x * dx + y * dy, across = Math.abs(x * dy) + Math.abs(y * dx);
    const far = along + 2 * across;
    if (along > 0 && across <= along && far < nearest) { nearest = far; best = j; }
  });
  return best;
};
