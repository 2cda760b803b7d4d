// The page around the map: its address, its folds, paper and enlarged images.
let opened = false;
const remember = () => {
  if (!opened) return; // what one has not touched is not written into the address
  const parts = { outcome: outcome().name, layer: geometry ? state.layer : "", area: data.codes[state.area] || "" };
  const text = Object.entries(parts).filter(([, each]) => each).map(([key, each]) => `${key}=${encodeURIComponent(each)}`);
  history.replaceState(null, "", `#${text.join("&")}`);
};
const unfold = (id) => {
  const target = document.getElementById(id);
  if (!target) return;
  for (let each = target; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
  target.scrollIntoView();
};
const follow = () => {
  const before = opened;
  opened = false; // the address has what is shown already
  show(window.location.hash.slice(1));
  opened = before;
};
const show = (hash) => {
  if (!hash.includes("=")) { unfold(hash); return; }
  const wanted = new URLSearchParams(hash);
  const k = data.outcomes.findIndex((each) => each.name === wanted.get("outcome"));
  if (k >= 0) setOutcome(k);
  const layer = wanted.get("layer");
  if (layerOf && [...layerOf.options].some((option) => option.value === layer)) setLayer(layer);
  const i = data.codes.indexOf(wanted.get("area"));
  if (i >= 0) choose(i);
};
window.addEventListener("hashchange", follow);
if (geometry) setLayer(maps.dataset.layer); else turn();
follow();
opened = true;

// On paper: what is always printed is unfolded, and all if that was asked for.
let folded = [];
window.addEventListener("beforeprint", () => {
  const what = (byId("print-all") || {}).checked ? "details" : ".fold.always > details";
  folded = [...document.querySelectorAll(what)].filter((each) => !each.open);
  folded.forEach((each) => { each.open = true; });
  toPaper();
});
window.addEventListener("afterprint", () => { folded.forEach((each) => { each.open = false; }); fromPaper(); });
byId("print").addEventListener("click", () => window.print());

const enlarged = byId("enlarged");
document.querySelectorAll("button.enlarge").forEach((button) => button.addEventListener("click", () => {
  enlarged.querySelectorAll("svg").forEach((each) => each.remove());
  enlarged.append(button.firstElementChild.cloneNode(true));
  enlarged.showModal();
}));
