// What is known of the areas, and which class and colour that gives them on each layer.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const MINUS = "\u2212", DASH = "\u2013", SPREAD = data.apart, CLASSES = data.classes;
const count = data.codes.length;
const state = {
  outcome: 0, second: Math.min(1, data.outcomes.length - 1), layer: "predicted", area: -1, hover: -1,
  zoom: 1, x: 0, y: 0, split: 50, selected: {}, hatch: true, five: false,
};
const element = (tag, text, className) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const signed = (value) => (value > 0 ? "+" : value < 0 ? MINUS : "") + Math.abs(value);
const number = (value) => value.toLocaleString("en");
const narrow = () => window.matchMedia("(max-width: 47rem)").matches;

const nameOf = (i) => (data.names && data.names[i]) || data.codes[i];
const outcome = () => data.outcomes[state.outcome];
// Of many areas, numbers are text until they are shown: see `packed` in map.py.
const SIGNS = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).filter((sign) => !"\"&<>\\".includes(sign));
const CODES = new Uint8Array(128);
SIGNS.forEach((sign, code) => { CODES[sign.charCodeAt(0)] = code; });
const unpacked = ({ least, per_unit: perUnit, signs, text }) => Array.from({ length: text.length / signs }, (_, i) => {
  let code = 0;
  for (let k = i * signs; k < (i + 1) * signs; k += 1) code = code * SIGNS.length + CODES[text.charCodeAt(k)];
  return code ? (code - 1 + least) / perUnit : null;
});
const columnOf = (from, key) => {
  if (from[key] && from[key].text !== undefined) from[key] = unpacked(from[key]);
  return from[key];
};
// What is the same for every outcome is written with the first one only.
const column = (key) => columnOf(outcome(), key) || columnOf(data.outcomes[0], key) || null;
const value = (key, i) => { const all = column(key); return all ? all[i] : null; };
// The same, of another outcome.
const as = (other, work) => {
  const before = state.outcome;
  state.outcome = other;
  try { return work(); } finally { state.outcome = before; }
};
const differenceOf = (i) => {
  const predicted = value("decile", i), actual = value("actual", i);
  return predicted === null || actual === null ? null : predicted - actual;
};

// Flags of an area, the gravest first: what its colour means where it has several.
const FLAGS = [
  { bit: 8, label: "too few locations", swatch: "--f1", description: "Too few locations: it is not measured." },
  { bit: 1, label: "outside the training distribution", swatch: "--f2", description: "Its images are outside the training distribution." },
  { bit: 2, label: "errors large here and around", swatch: "--f3", description: "Errors are large here and in the areas around." },
  { bit: 4, label: "errors small here and around", swatch: "--f4", description: "Errors are small here and in the areas around." },
];

// An interval wider than this says little: such areas are hatched.
const WIDE = Math.max(1, Math.floor(CLASSES / 2));
const ENDS = { best: ["bestlow", "besthigh"], predicted: ["low", "high"] };
const widthOf = (layer, i) => {
  const [low, high] = (ENDS[layer] || ENDS.predicted).map((name) => value(name, i));
  return low === null || high === null ? null : high - low + 1;
};
const isWide = (layer, i) => layer in ENDS && widthOf(layer, i) > WIDE;
// The estimate whose uncertainty is shown: the one that the page opens with.
const ESTIMATE = data.outcomes.some((each) => each.best) ? "best" : "predicted";

// Low end, high end and chance to be the worst off of a district's mean; null if not known.
const districtOf = (layer, name) => {
  const own = data.of_districts[state.outcome][layer];
  return own && Object.hasOwn(own, name) ? own[name] : null;
};
// Official statistics alone are compared with nothing.
const ACTUAL = data.outcomes.some((each) => each.decile) ? "Actual" : "Official";
// Every term of the map and the card.
const TERMS = {
  best: `Best estimate: the ${data.unit} from all that is known, such as images and places, with its interval.`,
  predicted: `Predicted: the ${data.unit} from street images alone, by a model that was not trained on this area.`,
  actual: `${ACTUAL}: the ${data.unit} by the official statistic.`,
  difference: `Difference: predicted less actual ${data.unit}. Above 0, an area is predicted better off than it is.`,
  uncertainty: `Uncertainty: how many ${data.units} the interval of ${ESTIMATE === "best" ? "the best estimate" : "the prediction"} holds. The wider it is, the less is known.`,
  spread: "Spread: how far the members of the ensemble disagree. It holds no error that they share.",
  locations: "Locations: how many points of the area were used. Few make an estimate uncertain.",
  images: "Images: how many images of the area were used. Few make an estimate uncertain.",
  flags: "Quality flags: areas whose estimate needs a check, and why.",
  swipe: "Drag the divider: predicted from images alone on the left, official on the right.",
  pair: "The same map of two outcomes.",
  all: "Three maps of the same outcome.",
  seen: "Share of the area\u2019s postcodes that have images.",
  mean: `The interval of the district\u2019s mean ${data.unit}, from errors in other districts.`,
  disagreement: "How far the members of the ensemble disagree.",
};

// What a map shows, and what its hatching is.
const explained = (layer, view = layer) => {
  const hatched = state.hatch && data.codes.some((_, i) => isWide(layer, i));
  return TERMS[view] + (hatched ? ` Hatched: the interval is wider than ${WIDE} ${data.units}.` : "");
};

// Ten colours for any number of classes; nine for differences and for how much of something.
const decileSwatch = (decile) =>
  `--d${CLASSES < 2 ? 5 : Math.round(1 + (9 * (decile - 1)) / (CLASSES - 1))}`;
const tint = (bin, bins) => `--s${bins < 2 ? 5 : Math.round(1 + (8 * bin) / (bins - 1))}`;

// Fifths of the areas by a count, as far as they differ: where each begins.
const fifths = (key) => {
  const sorted = (column(key) || []).filter((each) => each !== null).sort((a, b) => a - b);
  const starts = [0, 0.2, 0.4, 0.6, 0.8].map((share) => sorted[Math.floor(share * sorted.length)]);
  return { starts: [...new Set(starts)].filter((each) => each !== undefined), last: sorted[sorted.length - 1] };
};
const countScale = (key, what) => ({
  before: "fewer", after: `more ${what}`, description: `${what} of an area`,
  entries: () => {
    const { starts, last } = fifths(key);
    return starts.map((start, k) => {
      const end = k + 1 < starts.length ? starts[k + 1] - 1 : last;
      return { swatch: tint(k, starts.length), label: start === end ? number(start) : `${number(start)}\u2013${number(end)}` };
    });
  },
});
const countBin = (key) => {
  const { starts } = fifths(key);
  return (i) => {
    const each = value(key, i);
    return each === null ? -1 : starts.filter((start) => start <= each).length - 1;
  };
};

const HALVES = 5; // halves of a class, the last open
// The classes that a map shows: -1 is "no value".
const scales = {
  decile: {
    before: "worst off", after: "best off", description: `${data.unit}, 1 worst off to ${CLASSES} best off`,
    entries: () => (state.five
      ? [1, 3, 5, 8, 10].map((decile, k) => ({ swatch: decileSwatch(decile), label: `${2 * k + 1}\u2013${2 * k + 2}` }))
      : Array.from({ length: CLASSES }, (_, k) => ({ swatch: decileSwatch(k + 1), label: String(k + 1) }))),
  },
  difference: {
    before: "predicted too low", after: "too high", description: `predicted less actual ${data.unit}`,
    entries: () => Array.from({ length: 2 * SPREAD + 1 }, (_, k) => {
      const by = k - SPREAD, open = Math.abs(by) === SPREAD && SPREAD < CLASSES - 1;
      return { swatch: `--x${5 + Math.round((4 * by) / Math.max(SPREAD, 1))}`, label: (open ? (by < 0 ? "\u2264" : "\u2265") : "") + signed(by) };
    }),
  },
  width: {
    before: "certain", after: "uncertain", description: `width of the interval, in ${data.units}`,
    entries: () => Array.from({ length: CLASSES }, (_, k) => ({ swatch: tint(k, CLASSES), label: String(k + 1) })),
  },
  locations: countScale("n", "locations"),
  images: countScale("views", "images"),
  spread: {
    before: "members agree", after: "disagree", description: `how far the ensemble\u2019s members disagree, in ${data.units}`,
    entries: () => Array.from({ length: HALVES }, (_, k) => ({
      swatch: tint(k, HALVES),
      label: k + 1 < HALVES ? `${k / 2}\u2013${(k + 1) / 2}` : `\u2265 ${k / 2}`,
    })),
  },
  flags: {
    before: "", after: "", description: "what to be careful of",
    entries: () => [...FLAGS, { label: "none of these", swatch: "--f0" }],
  },
};
const decileBin = (key) => (i) => {
  const each = value(key, i);
  return each === null ? -1 : Math.floor((each - 1) / (state.five ? 2 : 1));
};
const layers = {
  best: { scale: "decile", bins: () => decileBin("best") },
  predicted: { scale: "decile", bins: () => decileBin("decile") },
  actual: { scale: "decile", bins: () => decileBin("actual") },
  difference: {
    scale: "difference",
    bins: () => (i) => {
      const off = differenceOf(i);
      return off === null ? -1 : Math.max(-SPREAD, Math.min(SPREAD, off)) + SPREAD;
    },
  },
  uncertainty: {
    scale: "width",
    bins: () => (i) => { const width = widthOf(ESTIMATE, i); return width === null ? -1 : width - 1; },
  },
  spread: {
    scale: "spread",
    bins: () => (i) => (value("disagreement", i) === null ? -1 : Math.min(HALVES - 1, Math.floor(2 * value("disagreement", i)))),
  },
  locations: { scale: "locations", bins: () => countBin("n") },
  images: { scale: "images", bins: () => countBin("views") },
  flags: {
    scale: "flags",
    bins: () => (i) => {
      const flags = value("flags", i);
      if (flags === null) return -1;
      const first = FLAGS.findIndex((flag) => flags & flag.bit);
      return first < 0 ? FLAGS.length : first;
    },
  },
};
