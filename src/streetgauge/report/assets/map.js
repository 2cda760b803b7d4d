// The maps: each layer is drawn on a canvas of its own, and recoloured when a switch is turned.
const geometry = data.geometry;
const maps = byId("maps");
const MARGIN = 0.02, CLOSEST = 24, FADED = 0.12;
const figures = geometry ? [...maps.querySelectorAll("figure")].map((figure) => ({
  layer: figure.dataset.layer, figure, box: figure.querySelector(".canvas"),
  panes: [...figure.querySelectorAll(".paint")].map((canvas) => ({ canvas, layer: canvas.dataset.paints, second: "second" in canvas.dataset })),
  mark: figure.querySelector(".mark"),
})) : [];
const paths = [], boxes = [], centres = [];
const borders = geometry ? new Path2D() : null;
const water = new Path2D(), roads = new Path2D();
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
  (geometry.water || []).forEach((ring) => trace(water, ring, true));
  (geometry.roads || []).forEach((line) => trace(roads, line, false));
}
const shown = () => figures.filter((f) => (state.layer === "all"
  ? f.figure.classList.contains("abreast") : f.layer === state.layer));
const fit = (f) => {
  // From grid to pixels of the box: the whole map fits, and zooming moves around its middle.
  const width = f.box.clientWidth;
  const tallest = Math.max(240, window.innerHeight * (narrow() ? 0.5 : 0.6));
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
const hatch = (pen, fine, name = "--nothing", size = 5) => {
  const tile = document.createElement("canvas");
  tile.width = tile.height = size;
  const stripe = tile.getContext("2d");
  stripe.strokeStyle = colour(name);
  stripe.lineWidth = 1.2;
  stripe.stroke(new Path2D(`M-1 1L1 -1M0 ${size}L${size} 0M${size - 1} ${size + 1}L${size + 1} ${size - 1}`));
  const pattern = pen.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix().scale(fine));
  return pattern;
};
// One path a class, not thousands; stored, for moving the map changes none of them.
const grouped = new Map();
const groupsOf = (layer) => {
  const key = `${state.outcome} ${layer} ${state.five}`;
  if (!grouped.has(key)) {
    if (grouped.size > 16) grouped.clear();
    const groups = new Map(), bin = layers[layer].bins();
    const add = (own, path) => {
      if (!groups.has(own)) groups.set(own, new Path2D());
      groups.get(own).addPath(path);
    };
    for (let i = 0; i < count; i += 1) {
      if (!paths[i]) continue;
      add(bin(i), paths[i]);
      if (isWide(layer, i)) add("wide", paths[i]);
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
  const groups = groupsOf(layer);
  groups.forEach((path, bin) => {
    if (bin === "wide") return;
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
  if (state.hatch && groups.has("wide")) {
    pen.fillStyle = hatch(pen, fine, "--edge", 7);
    pen.fill(groups.get("wide"), "evenodd");
  }
  pen.fillStyle = colour("--water");
  pen.fill(water, "evenodd");
  pen.strokeStyle = colour("--road");
  pen.lineWidth = 0.9 * fine;
  pen.stroke(roads);
  pen.strokeStyle = colour("--border");
  pen.lineWidth = 0.7 * fine;
  pen.stroke(borders);
  letter(pen, fitted, ratio);
};
const paintPane = (pane, canvas, fitted, ratio) =>
  as(pane.second ? state.second : state.outcome, () => paint(canvas, pane.layer, fitted, ratio));

// Names of districts, the largest first where they would overlap, and a scale bar.
const districts = [];
if (geometry && data.districts && new Set(data.districts.filter(Boolean)).size > 1) {
  const found = new Map();
  data.districts.forEach((name, i) => {
    if (!name || !boxes[i]) return;
    const size = (boxes[i][2] - boxes[i][0]) * (boxes[i][3] - boxes[i][1]) + 1;
    const own = found.get(name) || { name: name.length > 26 ? `${name.slice(0, 25)}\u2026` : name, x: 0, y: 0, size: 0 };
    own.x += size * centres[i][0]; own.y += size * centres[i][1]; own.size += size;
    found.set(name, own);
  });
  districts.push(...[...found.values()].sort((a, b) => b.size - a.size).map((own) => ({ name: own.name, x: own.x / own.size, y: own.y / own.size })));
}
const letter = (pen, fitted, ratio = window.devicePixelRatio || 1) => {
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.font = `600 11px ${getComputedStyle(document.body).fontFamily}`;
  pen.textAlign = "center"; pen.textBaseline = "middle";
  pen.lineJoin = "round"; pen.lineWidth = 3;
  pen.strokeStyle = colour("--edge"); pen.fillStyle = colour("--ink");
  const taken = [];
  const write = (text, x, y) => {
    const half = pen.measureText(text).width / 2 + 3;
    if (x - half < 0 || x + half > fitted.width || y < 8 || y > fitted.height - 24) return;
    if (taken.some((t) => Math.abs(t.x - x) < t.half + half && Math.abs(t.y - y) < 14)) return;
    taken.push({ x, y, half });
    pen.strokeText(text, x, y); pen.fillText(text, x, y);
  };
  districts.forEach(({ name, x, y }) => write(name, fitted.left + x * fitted.scale, fitted.top + y * fitted.scale));
  pen.font = pen.font.replace("600", "400");
  (geometry.places || []).forEach(([x, y, name]) => write(name, fitted.left + x * fitted.scale, fitted.top + y * fitted.scale));
  pen.font = pen.font.replace("400", "600");
  if (!geometry.step) return;
  // The longest of 1, 2 and 5 metres, tens of metres, ... that a fifth of the map holds.
  const most = (0.2 * fitted.width * geometry.step) / fitted.scale, ten = 10 ** Math.floor(Math.log10(most));
  const metres = [5, 2, 1].find((each) => each * ten <= most) * ten;
  const length = (metres / geometry.step) * fitted.scale, y = fitted.height - 8;
  const text = metres < 1000 ? `${metres} m` : `${metres / 1000} km`;
  const bar = new Path2D(`M8 ${y - 5}V${y}H${8 + length}V${y - 5}`);
  pen.stroke(bar);
  pen.lineWidth = 1.5; pen.strokeStyle = colour("--ink"); pen.stroke(bar);
  pen.textAlign = "left"; pen.lineWidth = 3; pen.strokeStyle = colour("--edge");
  pen.strokeText(text, 12, y - 9); pen.fillText(text, 12, y - 9);
};
const draw = () => {
  if (!geometry) return;
  shown().forEach((f) => {
    const fitted = fit(f);
    f.panes.forEach((pane) => paintPane(pane, pane.canvas, fitted));
    f.box.classList.toggle("zoomed", state.zoom > 1);
  });
  mark();
  if (!maps.dataset.drawn) performance.mark("map-drawn");
  maps.dataset.drawn = `${outcome().name} ${state.layer}`;
};
const mark = () => {
  shown().forEach((f) => {
    const fitted = fit(f), pen = prepare(f.mark, fitted);
    new Set([state.hover, state.area]).forEach((i) => {
      if (!paths[i]) return;
      pen.strokeStyle = colour("--edge");
      pen.lineWidth = 5 / fitted.scale;
      pen.stroke(paths[i]);
      pen.strokeStyle = colour("--mark");
      pen.lineWidth = (i === state.area ? 2.6 : 1.4) / fitted.scale;
      pen.stroke(paths[i]);
    });
  });
};
// What is drawn on a canvas for print stays blank in Chromium: paper gets an image of each
// outcome, in light colours.
const ON_PAPER = 3; // dots a pixel
const sheets = byId("sheets");
const toPaper = () => {
  if (!geometry) return;
  fromPaper();
  document.documentElement.dataset.paper = "";
  const layer = layers[state.layer] ? state.layer : figures[0].layer, height = geometry.height / geometry.width;
  const fitted = { width: 330, height: 330 * Math.min(height, 1.2) };
  fitted.scale = Math.min(fitted.width / geometry.width, fitted.height / geometry.height) * (1 - 2 * MARGIN);
  fitted.left = (fitted.width - geometry.width * fitted.scale) / 2;
  fitted.top = (fitted.height - geometry.height * fitted.scale) / 2;
  data.outcomes.forEach((each, k) => {
    const canvas = document.createElement("canvas"), image = element("img"), figure = element("figure");
    as(k, () => paint(canvas, layer, fitted, ON_PAPER));
    image.src = canvas.toDataURL();
    image.alt = "";
    figure.append(image, element("figcaption", each.label));
    sheets.append(figure);
  });
  sheets.prepend(element("p", explained(layer)));
  delete document.documentElement.dataset.paper;
};
const fromPaper = () => sheets && sheets.replaceChildren();
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
  remember();
};
// A line at the pointer; the card comes with a click.
const tip = byId("tip");
const hint = (f, event) => {
  const i = event ? areaAt(f, event) : -1;
  if (i !== state.hover) { state.hover = i; mark(); }
  tip.hidden = i < 0;
  if (i < 0) return;
  const lines = f.panes.map((pane) => element("span", as(pane.second ? state.second : state.outcome, () => figureOf(pane.layer, i))));
  tip.replaceChildren(element("b", nameOf(i)), ...lines);
  const size = tip.getBoundingClientRect(), gap = 14;
  const left = event.clientX + gap + size.width > window.innerWidth ? event.clientX - gap - size.width : event.clientX + gap;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + gap, window.innerHeight - size.height - 4))}px`;
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

let hiding = 0;
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
    if (event.pointerType === "mouse") hint(f, event);
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
    if (event.pointerType === "mouse") { release(event); hint(f, null); }
  });
  f.box.addEventListener("click", (event) => {
    if (moved > 6) return;
    choose(areaAt(f, event));
  });
  f.box.addEventListener("dblclick", (event) => {
    const rect = f.box.getBoundingClientRect(), fitted = fit(f);
    state.x = (event.clientX - rect.left - fitted.left) / fitted.scale - geometry.width / 2;
    state.y = (event.clientY - rect.top - fitted.top) / fitted.scale - geometry.height / 2;
    zoomTo(state.zoom * 2);
  });
  // Only the pinch of a trackpad: the plain wheel belongs to the page.
  f.box.addEventListener("wheel", (event) => {
    byId("wheel").hidden = event.ctrlKey;
    clearTimeout(hiding);
    hiding = setTimeout(() => { byId("wheel").hidden = true; }, 1500);
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
