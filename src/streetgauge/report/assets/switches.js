// Switches: outcome, layer, legend, divider and search.
byId("controls").hidden = byId("tools").hidden = false;
const turn = () => {
  document.querySelectorAll(".verdicts a").forEach((each, k) => {
    if (k === state.outcome) each.setAttribute("aria-current", "true"); else each.removeAttribute("aria-current");
  });
  if (geometry) { nameMaps(); showLegends(); later(); }
  listDistricts();
  if (state.area >= 0) write(state.area);
  remember();
};
// The districts by the mean of their areas, with how many of them are uncertain.
const districtTable = byId("districts");
const listDistricts = () => {
  if (!districtTable || !districtTable.open) return;
  const key = column("best") ? "best" : column("decile") ? "decile" : "actual", layer = key === "decile" ? "predicted" : key;
  const found = new Map();
  data.districts.forEach((name, i) => {
    if (!name || value(key, i) === null) return;
    const own = found.get(name) || { name, n: 0, sum: 0, worst: 0, wide: 0 };
    own.n += 1; own.sum += value(key, i);
    own.worst += value(key, i) <= CLASSES / 5; own.wide += isWide(layer, i);
    found.set(name, own);
  });
  const table = element("table", undefined, "groups"), head = element("tr");
  const sure = [...found.keys()].some((name) => districtOf(layer, name));
  const heads = [
    ["District", "The worst off first, by the mean of its areas."],
    ["Areas", "Areas of the district that have a value."],
    [`Mean ${data.unit}`, `The mean of its areas: 1 is the worst off, ${CLASSES} the best off.`],
    ...(sure ? [["Its interval", TERMS.mean], ["Chance to be the worst off", "How often it has the lowest mean, with errors such as those of other districts."]] : []),
    ["In the worst-off fifth", `Share of its areas in the lowest fifth of the ${data.units}.`],
    ...(layer in ENDS ? [[`Interval wider than ${WIDE}`, "Share of its areas that are uncertain: the map hatches them."]] : []),
  ];
  heads.forEach(([text, title], k) => { const cell = element("th", text, k ? "n" : ""); cell.scope = "col"; cell.title = title; head.append(cell); });
  table.append(element("thead"), element("tbody"));
  table.firstElementChild.append(head);
  [...found.values()].sort((a, b) => a.sum / a.n - b.sum / b.n).forEach((own) => {
    const row = element("tr"), name = element("th", own.name), of = (k) => `${Math.round((100 * k) / own.n)}%`;
    name.scope = "row";
    const [low, high, worst] = districtOf(layer, own.name) || [];
    const ends = low === undefined ? [DASH, DASH] : [`${low.toFixed(1)} to ${high.toFixed(1)}`, worst === null ? DASH : worst < 0.01 ? "< 1%" : `${Math.round(100 * worst)}%`];
    const cells = [number(own.n), (own.sum / own.n).toFixed(1), ...(sure ? ends : []), of(own.worst), ...(layer in ENDS ? [of(own.wide)] : [])];
    row.append(name, ...cells.map((text) => element("td", text, "n")));
    table.lastElementChild.append(row);
  });
  districtTable.lastElementChild.replaceChildren(element("p", `${TERMS[layer]} ${layer === "actual" ? "" : sure ? "Intervals and chances of a mean come from the errors of areas in other districts." : "There is no interval of a mean: too few other districts have areas with an error that is known."}`, "fine"), table);
};
if (districtTable) districtTable.addEventListener("toggle", listDistricts);
const select = byId("outcome"), second = byId("second"), layerOf = byId("layer");
const setOutcome = (k) => {
  state.outcome = k;
  select.value = String(k);
  ["locations", "images"].forEach((scale) => { delete state.selected[scale]; }); // cut anew
  turn();
};
select.addEventListener("change", () => setOutcome(Number(select.value)));
if (second) second.addEventListener("change", () => { state.second = Number(second.value); turn(); });
const nameMaps = () => {
  if (second) second.parentElement.hidden = state.layer !== "pair";
  maps.querySelectorAll("figure[data-layer=pair] figcaption").forEach((each) => {
    each.textContent = ("second" in each.dataset ? data.outcomes[state.second] : outcome()).label;
  });
  const { layer } = shown()[0].panes[0];
  byId("explained").textContent = explained(layer, state.layer);
  figures.forEach((f) => { f.figure.querySelector("figcaption").title = TERMS[f.layer]; });
  const wide = data.codes.filter((_, i) => isWide(layer, i)).length;
  byId("hatch-field").hidden = !wide;
  byId("hatch-field").lastElementChild.textContent = `Hatch areas whose interval is wider than ${WIDE} ${data.units} (${number(wide)})`;
};
const switched = (id, set) => { const box = byId(id); if (box) box.addEventListener("change", () => { set(box.checked); turn(); }); };
switched("hatch", (on) => { state.hatch = on; });
switched("five", (on) => { state.five = on; delete state.selected.decile; });

// The legend filters: the areas of other classes fade.
const legends = byId("legends");
const legendOf = (scale) => {
  const { before, after, description, entries } = scales[scale];
  const layer = shown().flatMap((f) => f.panes).map((pane) => pane.layer).find((each) => layers[each].scale === scale);
  const bin = layers[layer].bins(), counts = new Map();
  for (let i = 0; i < count; i += 1) counts.set(bin(i), (counts.get(bin(i)) || 0) + 1);
  const items = entries().map((entry, k) => ({ ...entry, bin: k }));
  if (counts.has(-1)) items.push({ label: "no value", bin: -1 });
  const legend = element("div", undefined, `legend ${scale}`);
  legend.dataset.scale = scale;
  legend.setAttribute("role", "group");
  legend.setAttribute("aria-label", `Legend: ${description}. Press a class to show only its areas.`);
  const buttons = items.map((item, k) => {
    const button = element("button", item.label, item.bin < 0 ? "nothing" : "");
    const areas = counts.get(item.bin) || 0;
    button.type = "button";
    button.dataset.bin = item.bin;
    button.tabIndex = k ? -1 : 0; // one stop for the tab key; arrows go on from there
    if (item.swatch) button.style.setProperty("--swatch", `var(${item.swatch})`);
    button.setAttribute("aria-label", `${item.label}: ${number(areas)} ${areas === 1 ? "area" : "areas"} ${layer === "actual" ? "actually" : layer === "predicted" ? "predicted" : layer === "best" ? "estimated" : ""}`.trim());
    button.title = `${number(areas)} ${areas === 1 ? "area" : "areas"}`;
    button.addEventListener("click", () => keep(scale, item.bin));
    return button;
  });
  legend.addEventListener("keydown", (event) => {
    const now = buttons.indexOf(document.activeElement);
    const to = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (event.key === "Escape") forget(scale);
    else if (to === undefined || now < 0 || !buttons[to]) return;
    else { buttons.forEach((button, k) => { button.tabIndex = k === to ? 0 : -1; }); buttons[to].focus(); }
    event.preventDefault();
  });
  const swatches = element("div", undefined, "swatches");
  swatches.append(...buttons.filter((button) => !button.classList.contains("nothing")));
  const extra = element("div", undefined, "swatches extra");
  extra.append(...buttons.filter((button) => button.classList.contains("nothing")));
  const all = element("button", "show all", "all");
  all.type = "button";
  all.addEventListener("click", () => { forget(scale); buttons[0].focus(); });
  const end = (text) => { const made = element("span", text); made.title = description; return text ? [made] : []; };
  legend.append(...end(before), swatches, ...end(after), ...(extra.firstChild ? [extra] : []), all);
  press(legend);
  return legend;
};
const press = (legend) => {
  const selected = state.selected[legend.dataset.scale];
  legend.classList.toggle("filtering", Boolean(selected));
  legend.querySelector(".all").hidden = !selected;
  legend.querySelectorAll(".swatches button").forEach((button) =>
    button.setAttribute("aria-pressed", String(Boolean(selected) && selected.has(Number(button.dataset.bin)))));
};
const keep = (scale, bin) => {
  const selected = state.selected[scale] || (state.selected[scale] = new Set());
  if (!selected.delete(bin)) selected.add(bin);
  if (!selected.size) delete state.selected[scale];
  legends.querySelectorAll(".legend").forEach(press);
  later();
};
const forget = (scale) => {
  delete state.selected[scale];
  legends.querySelectorAll(".legend").forEach(press);
  later();
};
const showLegends = () => {
  const needed = shown().flatMap((f) => f.panes.map((pane) => layers[pane.layer].scale));
  legends.replaceChildren(...[...new Set(needed)].map(legendOf));
};

// The divider between predicted and actual.
const divide = (share) => {
  state.split = Math.max(0, Math.min(100, share));
  const divider = byId("divider"), over = divider.parentElement.querySelector(".over");
  divider.style.left = `${state.split}%`;
  over.style.clipPath = `inset(0 0 0 ${state.split}%)`;
  // What lies below would show through where the legend makes areas fade.
  divider.parentElement.querySelector(".paint").style.clipPath = `inset(0 ${100 - state.split}% 0 0)`;
  divider.setAttribute("aria-valuenow", String(Math.round(state.split)));
  divider.setAttribute("aria-valuetext", `predicted on the left ${Math.round(state.split)}%, actual on the right`);
};
const listenToDivider = (divider) => {
  const box = divider.parentElement;
  let dragged = false;
  const follow = (event) => {
    const rect = box.getBoundingClientRect();
    divide((100 * (event.clientX - rect.left)) / rect.width);
  };
  divider.addEventListener("pointerdown", (event) => {
    dragged = true;
    divider.setPointerCapture(event.pointerId);
    event.stopPropagation();
    choose(-1);
  });
  divider.addEventListener("pointermove", (event) => { if (dragged) follow(event); event.stopPropagation(); });
  ["pointerup", "pointercancel"].forEach((name) => divider.addEventListener(name, () => { dragged = false; }));
  ["click", "dblclick"].forEach((name) => divider.addEventListener(name, (event) => event.stopPropagation()));
  divider.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10, Home: -100, End: 100 }[event.key];
    if (by === undefined) return;
    divide(state.split + by);
    event.preventDefault();
    event.stopPropagation();
  });
  divide(50);
};

// Search by name, code and postcode.
const names = byId("names"), found = new Map(), status = byId("found");
const options = document.createDocumentFragment();
for (let i = 0; i < count; i += 1) {
  const text = nameOf(i) === data.codes[i] ? data.codes[i] : `${nameOf(i)} \u00b7 ${data.codes[i]}`;
  found.set(text.toLowerCase(), i);
  found.set(data.codes[i].toLowerCase(), i);
  if (!found.has(nameOf(i).toLowerCase())) found.set(nameOf(i).toLowerCase(), i);
  const option = document.createElement("option");
  option.value = text;
  options.append(option);
}
names.append(options);
// Postcodes area by area, each written as a small letter (how many characters are those of the one
// before: a none, b one, ...) and the rest; a bar goes on to the next area.
const areaWithPostcode = (wanted) => {
  const packed = data.postcodes || "";
  let area = 0, own = "";
  for (let i = 0; i < packed.length;) {
    const letter = packed.charCodeAt(i);
    if (letter === 124) { area += 1; own = ""; i += 1; continue; }
    let end = i + 1;
    while (end < packed.length && packed.charCodeAt(end) < 97) end += 1;
    own = own.slice(0, letter - 97) + packed.slice(i + 1, end);
    if (own === wanted) return area;
    i = end;
  }
  return undefined;
};
const find = byId("find");
const search = (last) => {
  const text = find.value.trim(), low = text.toLowerCase();
  status.textContent = "";
  if (!text) return;
  let i = found.get(low);
  const squeezed = text.toUpperCase().replace(/[^A-Z0-9]/g, "");
  if (i === undefined && squeezed.length > 2) {
    i = areaWithPostcode(squeezed);
    if (i !== undefined) status.textContent = `${text.toUpperCase()} lies in ${nameOf(i)}.`;
  }
  if (i === undefined && last) {
    const held = [...found.keys()].filter((name) => name.includes(low));
    const near = held.find((name) => name.startsWith(low)) || held[0];
    i = near === undefined ? undefined : found.get(near);
    if (i === undefined) status.textContent = `No area${data.postcodes ? ", code or postcode" : " or code"} is called \u201c${text.slice(0, 60)}\u201d. Streets are not stored in this page: press the map, or enter ${data.postcodes ? "a postcode" : "a name"}.`;
  }
  if (i === undefined) return;
  choose(i);
  reach(i);
  if (last && narrow()) card.scrollIntoView({ block: "nearest" }); // below the map
};
find.addEventListener("input", () => search(false));
byId("controls").addEventListener("submit", (event) => { event.preventDefault(); search(true); });

const setLayer = (layer) => {
  state.layer = layer;
  maps.dataset.layer = layer;
  figures.forEach((f) => { f.figure.hidden = !shown().includes(f); });
  if (layerOf) layerOf.value = layer;
  turn();
};
if (geometry) {
  maps.hidden = legends.hidden = false;
  figures.forEach(listen);
  if (byId("divider")) listenToDivider(byId("divider"));
  if (layerOf) {
    [...layerOf.options].forEach((option) => { option.title = TERMS[option.value]; });
    layerOf.addEventListener("change", () => setLayer(layerOf.value));
  }
  byId("closer").addEventListener("click", () => zoomTo(state.zoom * 1.6));
  byId("farther").addEventListener("click", () => zoomTo(state.zoom / 1.6));
  byId("whole").addEventListener("click", () => zoomTo(1));
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  maps.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (arrows[event.key]) choose(neighbour(state.area, ...arrows[event.key]));
    else if (event.key === "+" || event.key === "=") zoomTo(state.zoom * 1.6);
    else if (event.key === "-") zoomTo(state.zoom / 1.6);
    else if (event.key === "0") zoomTo(1);
    else if (event.key === "Escape") choose(-1);
    else return;
    event.preventDefault();
  });
  window.addEventListener("resize", later);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", later);
}
