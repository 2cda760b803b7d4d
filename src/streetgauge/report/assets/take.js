// What one can take away: a table, boundaries and an image, made from the data in the page.
const save = (content, type, ending) => {
  const link = element("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const name = [data.name, outcome().name].join(" ").replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 80);
  link.download = `${name}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
// The names of areas.parquet.
const FIELDS = {
  best: "best_decile", bestlow: "best_low", besthigh: "best_high", decile: "decile", low: "low", high: "high",
  actual: "actual_decile", n: "n_locations", views: "n_views",
};
const recordOf = (i) => {
  const record = { area: data.codes[i], name: nameOf(i), outcome: outcome().name };
  if (data.districts) record.district = data.districts[i];
  Object.entries(FIELDS).forEach(([key, name]) => { if (column(key)) record[name] = value(key, i); });
  return record;
};
// A text that a spreadsheet would take for a formula gets an apostrophe.
const cell = (each) => {
  const text = each === null || each === undefined ? "" : String(each);
  const safe = typeof each === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
};
byId("csv").addEventListener("click", () => {
  const records = data.codes.map((_, i) => recordOf(i));
  const lines = [Object.keys(records[0]), ...records.map(Object.values)].map((line) => line.map(cell).join(","));
  save(`\ufeff${lines.join("\r\n")}\r\n`, "text/csv", "csv");
});

// Degrees of a point of the grid, from those of a lattice.
const degrees = (x, y) => {
  const { lattice } = geometry, n = Math.sqrt(lattice.length / 2) - 1;
  const u = Math.min(Math.max((x / geometry.width) * n, 0), n), v = Math.min(Math.max((y / geometry.height) * n, 0), n);
  const a = Math.min(Math.floor(u), n - 1), b = Math.min(Math.floor(v), n - 1);
  const at = (p, q, k) => lattice[2 * (q * (n + 1) + p) + k];
  return [0, 1].map((k) => {
    const top = at(a, b, k) + (u - a) * (at(a + 1, b, k) - at(a, b, k));
    const low = at(a, b + 1, k) + (u - a) * (at(a + 1, b + 1, k) - at(a, b + 1, k));
    return Number((top + (v - b) * (low - top)).toFixed(6));
  });
};
const ringOf = (steps) => {
  let x = 0, y = 0;
  const points = [];
  for (let i = 0; i < steps.length; i += 2) { x += steps[i]; y += steps[i + 1]; points.push(degrees(x, y)); }
  return [...points, points[0]];
};
const turns = (ring) => ring.reduce((sum, [x, y], k) => { const [a, b] = ring[(k + 1) % ring.length]; return sum + (x * b - a * y); }, 0);
const holds = (ring, [x, y]) => ring.reduce((inside, [a, b], k) => {
  const [c, d] = ring[(k + 1) % ring.length];
  return (b > y) !== (d > y) && x < ((c - a) * (y - b)) / (d - b) + a ? !inside : inside;
}, false);
// Rings that an odd number of others hold are holes, of the last of those before them.
const polygonsOf = (rings) => {
  const polygons = [];
  rings.map(ringOf).forEach((ring, _, all) => {
    const around = all.filter((other) => other !== ring && holds(other, ring[0]));
    const hole = around.length % 2 === 1, own = polygons.findLast(([outer]) => around.includes(outer));
    if ((turns(ring) > 0) === hole) ring.reverse();
    if (hole && own) own.push(ring); else polygons.push([ring]);
  });
  return polygons;
};
if (geometry && geometry.lattice) {
  byId("geojson").hidden = false;
  byId("geojson").addEventListener("click", () => {
    const features = data.codes.map((_, i) => ({
      type: "Feature",
      properties: recordOf(i),
      geometry: geometry.shapes[i] && { type: "MultiPolygon", coordinates: polygonsOf(geometry.shapes[i]) },
    }));
    save(JSON.stringify({ type: "FeatureCollection", features }), "application/geo+json", "geojson");
  });
}

const toImage = () => {
  const ratio = 2, side = 16, head = 58, foot = 66;
  const panes = shown().flatMap((f) => f.panes.map((pane) => ({ ...pane, fitted: fit(f) })));
  const { width, height } = panes[0].fitted, sheet = document.createElement("canvas");
  sheet.width = ratio * (panes.length * (width + side) + side);
  sheet.height = ratio * (head + height + foot);
  const pen = sheet.getContext("2d"), font = getComputedStyle(document.body).fontFamily;
  pen.scale(ratio, ratio);
  pen.fillStyle = colour("--paper");
  pen.fillRect(0, 0, sheet.width, sheet.height);
  pen.fillStyle = colour("--ink");
  pen.font = `600 16px ${font}`;
  pen.fillText(data.name, side, 22, sheet.width / ratio - 2 * side);
  panes.forEach((pane, k) => {
    const canvas = document.createElement("canvas"), left = side + k * (width + side);
    paintPane(pane, canvas, pane.fitted, ratio);
    pen.drawImage(canvas, left, head, width, height);
    pen.fillStyle = colour("--ink");
    pen.font = `13px ${font}`;
    const title = data.layers[pane.layer], whose = pane.second ? data.outcomes[state.second] : outcome();
    pen.fillText(`${whose.label}: ${title}`, left, 44, width);
    const { before, after, entries } = scales[layers[pane.layer].scale], items = entries();
    const step = Math.min(44, (width - 140) / items.length);
    pen.font = `11px ${font}`;
    items.forEach((item, n) => {
      pen.fillStyle = colour(item.swatch);
      pen.fillRect(left + n * step, head + height + 8, step - 1, 10);
      pen.fillStyle = colour("--ink");
      pen.fillText(item.label, left + n * step, head + height + 31, step - 2);
    });
    pen.fillText([before, after].filter(Boolean).join(" \u2192 "), left + items.length * step + 6, head + height + 17, 130);
    pen.fillText(explained(pane.layer), left, head + height + 52, width);
  });
  sheet.toBlob((blob) => save(blob, "image/png", "png"));
};
if (geometry) byId("png").addEventListener("click", toImage);
