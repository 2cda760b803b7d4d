// The card of an area: its numbers, and its rank among all.
const card = byId("card");
// The name of SVG, put together: the page holds no address.
const SVG = ["http:", "", "www.w3.org", "2000", "svg"].join("/");
const drawing = (tag, attributes) => {
  const made = document.createElementNS(SVG, tag);
  Object.entries(attributes).forEach(([name, text]) => made.setAttribute(name, text));
  return made;
};
const strip = (i) => {
  const made = element("div", undefined, "strip");
  // Of the estimate that the card names first, unless the map is of images alone.
  const best = state.layer !== "predicted" && value("best", i) !== null;
  const [of, low, high] = (best ? ["best", "bestlow", "besthigh"] : ["decile", "low", "high"]).map((name) => value(name, i));
  made.setAttribute("aria-hidden", "true");
  for (let k = 1; k <= CLASSES; k += 1) {
    const step = element("i");
    step.style.setProperty("--swatch", `var(${decileSwatch(k)})`);
    step.classList.toggle("inside", low !== null && high !== null && low <= k && k <= high);
    step.classList.toggle("predicted", of === k);
    step.classList.toggle("actual", value("actual", i) === k);
    made.append(step);
  }
  return made;
};
// How many areas have which score: bars in the colour of the deciles that they became.
const BARS = 36;
const histograms = new Map();
const histogram = () => {
  if (histograms.has(state.outcome)) return histograms.get(state.outcome);
  const scores = column("score");
  const known = scores ? scores.flatMap((each, i) => (each === null ? [] : [i])) : [];
  const sorted = known.map((i) => scores[i]).sort((a, b) => a - b);
  let made = null;
  if (sorted.length > 1 && sorted[0] < sorted[sorted.length - 1]) {
    // The longest hundredths at both ends share the outermost bars.
    const from = sorted[Math.floor(0.005 * sorted.length)], to = sorted[Math.ceil(0.995 * sorted.length) - 1];
    const bar = (score) => Math.max(0, Math.min(BARS - 1, Math.floor((BARS * (score - from)) / (to - from || 1))));
    const bars = Array.from({ length: BARS }, () => ({ n: 0, deciles: 0 }));
    known.forEach((i) => { const b = bars[bar(scores[i])]; b.n += 1; b.deciles += value("decile", i) || 0; });
    made = { sorted, bar, bars, most: Math.max(...bars.map((b) => b.n)) };
  }
  histograms.set(state.outcome, made);
  return made;
};
const below = (sorted, score) => {
  let low = 0, high = sorted.length;
  while (low < high) { const middle = (low + high) >> 1; if (sorted[middle] < score) low = middle + 1; else high = middle; }
  return low;
};
const placeAmongAll = (i) => {
  const score = value("score", i), all = histogram();
  if (score === null || !all) return [];
  const share = Math.round((100 * below(all.sorted, score)) / Math.max(all.sorted.length - 1, 1));
  const words = `Its score, ${score.toFixed(3).replace("-", MINUS)}, is higher than that of ${share}% of the areas.`;
  const svg = drawing("svg", { viewBox: `0 0 ${BARS * 4} 34`, class: "places", "aria-hidden": "true" });
  all.bars.forEach((b, k) => {
    if (!b.n) return;
    const height = Math.max(1, (24 * b.n) / all.most);
    const made = drawing("rect", { x: 4 * k + 0.4, y: 26 - height, width: 3.2, height });
    made.style.setProperty("--swatch", `var(${decileSwatch(Math.max(1, Math.round(b.deciles / b.n)))})`);
    svg.append(made);
  });
  const x = 4 * all.bar(score) + 2;
  svg.append(drawing("path", { d: `M${x} 27.5l3.4 6h-6.8z` }));
  return [svg, element("p", words, "place")];
};
const write = (i) => {
  const decile = value("decile", i), actual = value("actual", i), off = differenceOf(i);
  const list = element("dl");
  const row = (term, text, small, key) => {
    const made = element("dd", text), name = element("dt", term);
    made.dataset.value = term.toLowerCase();
    name.title = TERMS[key];
    if (small) made.append(" ", element("small", small));
    list.append(name, made);
  };
  const low = value("low", i), high = value("high", i);
  const predicted = data.outcomes.some((each) => each.decile); // none in official statistics alone
  const best = value("best", i);
  if (best !== null) row("Best estimate", String(best), `(${value("bestlow", i)} to ${value("besthigh", i)})`, "best");
  if (predicted) row("Predicted", decile === null ? DASH : String(decile), decile === null || low === null ? "" : `(${low} to ${high})`, "predicted");
  const compared = data.outcomes.some((each) => each.actual); // no labels in a city that was only predicted
  if (compared) row(ACTUAL, actual === null ? DASH : String(actual), "", "actual");
  if (predicted && compared) row("Difference", off === null ? DASH : signed(off), "", "difference");
  if (predicted) row("Locations", number(value("n", i) || 0), "", "locations");
  if (value("views", i) !== null) row("Images", number(value("views", i)), "", "images");
  if (value("seen", i) !== null) row("Postcodes with images", `${Math.round(100 * value("seen", i))}%`, "", "seen");
  if (value("disagreement", i) !== null) row("Disagreement", value("disagreement", i).toFixed(2), data.units, "disagreement");
  const where = [nameOf(i) === data.codes[i] ? null : data.codes[i], data.districts && data.districts[i]];
  const under = element("p", where.filter(Boolean).join(" \u00b7 "));
  const about = element("p", `${outcome().label}, ${data.unit} 1 to ${CLASSES}`, "about");
  const layer = best === null ? "predicted" : "best";
  const mean = data.districts && data.districts[i] ? districtOf(layer, data.districts[i]) : null;
  if (mean) row("District, mean", `${mean[0].toFixed(1)} to ${mean[1].toFixed(1)}`, "", "mean");
  const flags = FLAGS.filter((flag) => value("flags", i) & flag.bit).map((flag) => element("p", flag.description, "warning"));
  if (best !== null && decile === null) flags.push(element("p", "Without images: estimated from what else is known.", "warning"));
  const close = element("button", "\u00d7", "close");
  close.type = "button";
  close.setAttribute("aria-label", "Close the card");
  close.addEventListener("click", () => choose(-1));
  card.replaceChildren(
    close, element("h3", nameOf(i)), ...(under.textContent ? [under] : []), about, strip(i), list,
    ...placeAmongAll(i), ...flags, ...images(i),
  );
  card.dataset.code = data.codes[i];
  card.hidden = false;
};
const images = (i) => {
  const own = data.images && Object.hasOwn(data.images, data.codes[i]) ? data.images[data.codes[i]] : [];
  if (!own.length) return [];
  const row = element("div", undefined, "thumbs");
  own.forEach((image) => {
    const made = element("img");
    made.src = image.src;
    made.alt = image.alt || "";
    if (image.title) made.title = image.title;
    row.append(made);
  });
  return [row];
};
// What a layer shows of an area, in a line.
const figureOf = (layer, i) => {
  const entry = layers[layer].bins()(i), item = scales[layers[layer].scale].entries()[entry];
  if (!item) return `${DASH} no value`;
  const one = { best: "best", predicted: "decile", actual: "actual" }[layer];
  const [low, high] = (ENDS[layer] || []).map((name) => value(name, i));
  const span = low === null || low === undefined ? "" : ` (${low} to ${high})`;
  const named = { best: "Best estimate", predicted: "Predicted", actual: ACTUAL }[layer];
  if (one) return `${named}: ${data.unit} ${value(one, i)}${span}`;
  if (layer === "locations" || layer === "images") return `${number(value(layer === "images" ? "views" : "n", i))} ${layer}`;
  if (layer === "uncertainty") return `${widthOf(ESTIMATE, i)} of ${CLASSES} ${data.units} wide`;
  return layer === "difference" ? `${signed(differenceOf(i))} ${data.units}` : item.label;
};
