"use strict";
// Draws the areas on three canvases, once each, and recolours them when a switch is turned.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const MINUS = "\u2212", DASH = "\u2013", SPREAD = data.apart, CLOSEST = 12;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const signed = (value) => (value > 0 ? "+" : value < 0 ? MINUS : "") + Math.abs(value);
  const count = data.codes.length;
  const state = { outcome: 0, layer: "predicted", area: -1, zoom: 1, x: 0, y: 0 };

  // What an area is called, and what is known of it.
  const nameOf = (i) => (data.names && data.names[i]) || data.codes[i];
  const outcome = () => data.outcomes[state.outcome];
  const difference = (of, i) =>
    of.decile[i] === null || of.actual[i] === null ? null : of.decile[i] - of.actual[i];
  const values = {
    predicted: (of, i) => of.decile[i],
    actual: (of, i) => of.actual[i],
    difference,
  };
  // Ten colours for any number of classes.
  const decileColour = (decile) =>
    `--d${data.classes < 2 ? 5 : Math.round(1 + (9 * (decile - 1)) / (data.classes - 1))}`;
  // Nine colours, the strongest for the greatest difference that is told apart.
  const differenceColour = (value) =>
    `--x${5 + Math.round((4 * Math.max(-SPREAD, Math.min(SPREAD, value))) / SPREAD)}`;
  const swatchOf = (layer, value) =>
    value === null ? "--nothing" : layer === "difference" ? differenceColour(value) : decileColour(value);

  // The card of an area.
  const card = byId("card");
  const element = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const write = (i) => {
    const of = outcome(), decile = of.decile[i], actual = of.actual[i], off = difference(of, i);
    const where = [nameOf(i) === data.codes[i] ? null : data.codes[i], data.districts && data.districts[i]];
    const strip = element("div", undefined, "strip");
    strip.setAttribute("aria-hidden", "true");
    for (let k = 1; k <= data.classes; k += 1) {
      const step = element("i");
      step.style.setProperty("--swatch", `var(${decileColour(k)})`);
      step.classList.toggle("inside", decile !== null && of.low[i] !== null && of.low[i] <= k && k <= of.high[i]);
      step.classList.toggle("predicted", decile === k);
      step.classList.toggle("actual", actual === k);
      strip.append(step);
    }
    const list = element("dl");
    const row = (term, text, small) => {
      const value = element("dd", text);
      value.dataset.value = term.toLowerCase();
      if (small) value.append(" ", element("small", small));
      list.append(element("dt", term), value);
    };
    const between = of.low[i] === null ? "" : `(${of.low[i]} to ${of.high[i]})`;
    row("Predicted", decile === null ? DASH : String(decile), decile === null ? "" : between);
    row("Actual", actual === null ? DASH : String(actual));
    row("Difference", off === null ? DASH : signed(off));
    row("Locations", of.n[i] === null ? "0" : of.n[i].toLocaleString("en"));
    const head = element("h3", nameOf(i));
    const under = element("p", where.filter(Boolean).join(" \u00b7 "));
    const about = element("p", `${of.label}, ${data.unit} 1 to ${data.classes}`);
    card.replaceChildren(head, ...(under.textContent ? [under] : []), about, strip, list);
    card.dataset.code = data.codes[i];
    card.hidden = false;
  };

  // The maps.
  const geometry = data.geometry;
  const maps = byId("maps");
  const figures = geometry ? [...maps.querySelectorAll("figure")].map((figure) => ({
    layer: figure.dataset.layer, figure, box: figure.querySelector(".canvas"),
    paint: figure.querySelector(".paint"), mark: figure.querySelector(".mark"),
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
  const shown = () => figures.filter((f) => state.layer === "all" || f.layer === state.layer);
  const MARGIN = 0.02;
  const fit = (f) => {
    // From grid to pixels of the box: the whole map fits, and zooming moves around its middle.
    const width = f.box.clientWidth;
    const tallest = Math.max(240, window.innerHeight * 0.82);
    const height = Math.min(width * (geometry.height / geometry.width), tallest);
    const scale = Math.min(width / geometry.width, height / geometry.height) * (1 - 2 * MARGIN) * state.zoom;
    return {
      width, height, scale,
      left: width / 2 - (geometry.width / 2 + state.x) * scale,
      top: height / 2 - (geometry.height / 2 + state.y) * scale,
    };
  };
  const prepare = (canvas, place) => {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(place.width * ratio), height = Math.round(place.height * ratio);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width; canvas.height = height;
      canvas.style.height = `${place.height}px`;
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.setTransform(ratio * place.scale, 0, 0, ratio * place.scale, ratio * place.left, ratio * place.top);
    pen.lineJoin = "round";
    return pen;
  };
  // Stripes for "no value", so that it is no colour of either scale.
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
  const draw = () => {
    if (!geometry) return;
    shown().forEach((f) => {
      const place = fit(f), pen = prepare(f.paint, place), of = outcome();
      const groups = new Map(); // one path a colour: ten fills, not thousands
      for (let i = 0; i < count; i += 1) {
        if (!paths[i]) continue;
        const swatch = swatchOf(f.layer, values[f.layer](of, i));
        if (!groups.has(swatch)) groups.set(swatch, []);
        groups.get(swatch).push(paths[i]);
      }
      const fine = 1 / place.scale;
      // Small areas get no edge of their own: it would hide them. Their own colour closes the seams.
      const edges = (place.width * place.height * state.zoom ** 2) / count > 500;
      groups.forEach((members, swatch) => {
        const all = new Path2D();
        members.forEach((path) => all.addPath(path));
        pen.fillStyle = swatch === "--nothing" ? hatch(pen, fine) : colour(swatch);
        pen.fill(all, "evenodd");
        pen.strokeStyle = swatch === "--nothing" ? colour(swatch) : edges ? colour("--edge") : pen.fillStyle;
        pen.lineWidth = (edges ? 0.8 : 0.5) * fine;
        pen.stroke(all);
      });
      pen.strokeStyle = colour("--border");
      pen.lineWidth = 0.7 * fine;
      pen.stroke(borders);
      f.box.classList.toggle("zoomed", state.zoom > 1);
    });
    mark();
    maps.dataset.drawn = `${outcome().name} ${state.layer}`;
  };
  const mark = () => {
    shown().forEach((f) => {
      const place = fit(f), pen = prepare(f.mark, place), path = paths[state.area];
      if (!path) return;
      pen.strokeStyle = colour("--edge");
      pen.lineWidth = 5 / place.scale;
      pen.stroke(path);
      pen.strokeStyle = colour("--mark");
      pen.lineWidth = 2.2 / place.scale;
      pen.stroke(path);
    });
  };
  const probe = document.createElement("canvas").getContext("2d");
  const areaAt = (f, event) => {
    const rect = f.box.getBoundingClientRect(), place = fit(f);
    const x = (event.clientX - rect.left - place.left) / place.scale;
    const y = (event.clientY - rect.top - place.top) / place.scale;
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
    if (window.matchMedia("(max-width: 47rem)").matches) { card.style.left = card.style.top = ""; return; }
    const size = card.getBoundingClientRect(), gap = 16;
    const left = x + gap + size.width > window.innerWidth ? x - gap - size.width : x + gap;
    const top = Math.min(y + gap, window.innerHeight - size.height - 8);
    card.style.left = `${Math.max(8, left)}px`;
    card.style.top = `${Math.max(8, top)}px`;
  };
  const floatAtArea = (i) => {
    const f = shown()[0];
    if (!f || !centres[i]) { card.className = "settled"; return; }
    const rect = f.box.getBoundingClientRect(), place = fit(f);
    floatAt(rect.left + place.left + centres[i][0] * place.scale, rect.top + place.top + centres[i][1] * place.scale);
  };
  const zoomTo = (zoom) => {
    state.zoom = Math.max(1, Math.min(CLOSEST, zoom));
    const roomX = (geometry.width / 2) * (1 - 1 / state.zoom), roomY = (geometry.height / 2) * (1 - 1 / state.zoom);
    state.x = Math.max(-roomX, Math.min(roomX, state.x));
    state.y = Math.max(-roomY, Math.min(roomY, state.y));
    later();
  };
  let waiting = 0;
  const later = () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(draw); };

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
      const rect = f.box.getBoundingClientRect(), place = fit(f);
      state.x = (event.clientX - rect.left - place.left) / place.scale - geometry.width / 2;
      state.y = (event.clientY - rect.top - place.top) / place.scale - geometry.height / 2;
      zoomTo(state.zoom * 2);
    });
    // Only the pinch of a trackpad: the plain wheel belongs to the page.
    f.box.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      zoomTo(state.zoom * Math.exp(-event.deltaY / 120));
    }, { passive: false });
  };
  const beside = (i, dx, dy) => {
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

  // Switches.
  byId("controls").hidden = false;
  const turn = () => { later(); if (state.area >= 0) write(state.area); };
  const select = byId("outcome");
  select.addEventListener("change", () => { state.outcome = Number(select.value); turn(); });
  const names = byId("names"), found = new Map();
  for (let i = 0; i < count; i += 1) {
    const text = nameOf(i) === data.codes[i] ? data.codes[i] : `${nameOf(i)} \u00b7 ${data.codes[i]}`;
    found.set(text.toLowerCase(), i);
    found.set(data.codes[i].toLowerCase(), i);
    if (!found.has(nameOf(i).toLowerCase())) found.set(nameOf(i).toLowerCase(), i);
    const option = document.createElement("option");
    option.value = text;
    names.append(option);
  }
  const find = byId("find");
  const search = () => {
    const i = found.get(find.value.trim().toLowerCase());
    if (i === undefined) return;
    choose(i);
    card.className = "settled";
    card.style.left = card.style.top = "";
  };
  find.addEventListener("input", search);
  byId("controls").addEventListener("submit", (event) => { event.preventDefault(); search(); });

  if (geometry) {
    const layers = [...document.getElementsByName("layer")];
    const show = (layer) => {
      state.layer = layer;
      maps.dataset.layer = layer;
      layers.forEach((input) => { input.checked = input.value === layer; });
      document.querySelectorAll(".legend[data-scale]").forEach((legend) => {
        legend.hidden = layer !== "all" && (legend.dataset.scale === "difference") !== (layer === "difference");
      });
      turn();
    };
    layers.forEach((input) => input.addEventListener("change", () => show(input.value)));
    const swatches = (list, entries) => list.append(...entries.map(([swatch, text]) => {
      const item = element("li", text);
      item.style.setProperty("--swatch", `var(${swatch})`);
      return item;
    }));
    swatches(byId("decile-scale"), Array.from({ length: data.classes }, (_, k) => [decileColour(k + 1), String(k + 1)]));
    swatches(byId("difference-scale"), Array.from({ length: 2 * SPREAD + 1 }, (_, k) => {
      const value = k - SPREAD;
      return [differenceColour(value), (Math.abs(value) === SPREAD && SPREAD < data.classes - 1 ? (value < 0 ? "\u2264" : "\u2265") : "") + signed(value)];
    }));
    maps.hidden = byId("legends").hidden = false;
    figures.forEach(listen);
    byId("closer").addEventListener("click", () => zoomTo(state.zoom * 1.6));
    byId("farther").addEventListener("click", () => zoomTo(state.zoom / 1.6));
    byId("whole").addEventListener("click", () => zoomTo(1));
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    maps.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (arrows[event.key]) {
        choose(beside(state.area, ...arrows[event.key]));
        floatAtArea(state.area);
      } else if (event.key === "+" || event.key === "=") zoomTo(state.zoom * 1.6);
      else if (event.key === "-") zoomTo(state.zoom / 1.6);
      else if (event.key === "0") zoomTo(1);
      else if (event.key === "Escape") choose(-1);
      else return;
      event.preventDefault();
    });
    // A floating card goes when one turns to something else.
    const leave = () => { if (card.className === "floating") choose(-1); };
    maps.addEventListener("blur", leave);
    document.addEventListener("pointerdown", (event) => { if (!maps.contains(event.target)) leave(); });
    window.addEventListener("resize", later);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", later);
    show(window.matchMedia("(min-width: 52rem)").matches ? "all" : "predicted");
  }
})();
