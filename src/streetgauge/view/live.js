"use strict";
// The state of a study, asked for every second. All text is set as text, never as markup.
(() => {
  const by = id => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 300, HEIGHT = 150, LEFT = 30, RIGHT = 8, TOP = 10, BOTTOM = 20;
  const STATES = { done: "done", cached: "from an earlier run", running: "running", "not done": "not done" };
  let first, drawn = "", announced = "", missed = 0;

  function make(tag, text, attributes = {}) {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }
  function shape(tag, attributes, text) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }
  function time(seconds) {
    if (seconds === null) return "";
    const s = Math.round(seconds);
    if (seconds < 1) return "under 1 s";
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
    return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
  }
  function announce(text) {  // a reader of the screen hears it only when it changes
    if (text !== announced) by("status").textContent = announced = text;
  }

  function stage(each) {
    const item = make("li", undefined, { "data-stage": each.name, "data-state": each.state });
    item.append(
      make("strong", each.name),
      make("span", STATES[each.state], { class: "state" }),
      make("span", time(each.seconds), { class: "seconds" }),
    );
    for (const bar of each.bars) {
      const more = make("p", undefined, { class: "more" });
      const left = bar.left === null ? "" : `, about ${time(bar.left)} left`;
      const text = `${bar.task}: ${bar.done.toLocaleString("en")} of ${bar.total.toLocaleString("en")} ${bar.unit}${left}`;
      more.append(make("progress", undefined, { max: Math.max(bar.total, 1), value: Math.min(bar.done, bar.total), "aria-label": bar.task }), text);
      item.append(more);
    }
    if (each.messages.length) {
      const list = make("ul");
      for (const line of each.messages) list.append(make("li", line));
      item.append(list);
    }
    return item;
  }

  const style = i => `s${i % 6}${i >= 6 ? " dashed" : ""}`;
  function chart(outcome, splits, classes) {
    const points = outcome.splits.flatMap(split => split.points);
    const last = Math.max(1, ...points.map(p => p[0]));
    const high = Math.min(classes, Math.max(...points.map(p => p[1])) * 1.05), low = Math.min(...points.map(p => p[1])) * 0.95;
    const x = v => LEFT + (WIDTH - LEFT - RIGHT) * v / last;
    const y = v => TOP + (HEIGHT - TOP - BOTTOM) * (high - Math.min(v, high)) / Math.max(high - low, 1e-9);
    const best = outcome.splits.map(split => `${split.split} ${split.points.at(-1)[1].toFixed(2)}`).join(", ");
    const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${outcome.label}: now at ${best}` });
    for (const value of [low, (low + high) / 2, high]) {
      svg.append(shape("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }));
      svg.append(shape("text", { x: LEFT - 4, y: y(value) + 3, "text-anchor": "end" }, value.toFixed(1)));
    }
    svg.append(shape("text", { x: LEFT, y: HEIGHT - 6 }, "0"));
    svg.append(shape("text", { x: WIDTH - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, `${+last.toFixed(1)} epochs`));
    for (const split of outcome.splits) {
      const line = split.points.map(p => `${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`);
      if (line.length === 1) line.push(line[0].replace(/^[^,]*/, v => String(+v + 1.5)));
      svg.append(shape("polyline", { class: style(splits.indexOf(split.split)), points: line.join(" ") }));
    }
    const figure = make("figure");
    figure.append(make("figcaption", outcome.label), svg);
    return figure;
  }

  function curves(kinds, classes) {
    const now = JSON.stringify(kinds);
    if (now === drawn) return;
    drawn = now;
    by("curves").hidden = !kinds.length;
    by("charts").replaceChildren(...kinds.flatMap(kind => {
      const splits = [...new Set(kind.outcomes.flatMap(o => o.splits.map(p => p.split)))];
      const grid = make("div", undefined, { class: "charts" });
      grid.append(...kind.outcomes.map(outcome => chart(outcome, splits, classes)));
      const key = make("ul", undefined, { class: "key" });
      splits.forEach((split, i) => {
        const item = make("li"), mark = shape("svg", { viewBox: "0 0 20 6", "aria-hidden": "true" });
        mark.append(shape("polyline", { class: style(i), points: "0,3 20,3" }));
        item.append(mark, split === "all" ? "all areas" : split.replace("-", " "));
        key.append(item);
      });
      return [make("h3", kind.title), grid, key];
    }));
  }

  function show(state) {
    if (first === undefined) first = state.report;
    if (state.report !== null && state.report !== first && state.running === null) {
      location.replace("report.html");
      return;
    }
    document.title = `${state.running === null ? "" : `${state.running} · `}${state.name} · streetgauge`;
    by("name").textContent = state.name;
    const done = state.stages.filter(each => each.state === "done").length;
    if (state.running !== null) announce(`Running: ${state.running.replace(/: \d+%$/, "")}.`);
    else if (state.stopped !== null) announce("The last run did not end.");
    else if (state.report !== null) announce("Nothing is running. There is a report.");
    else if (done) announce("Nothing is running, and there is no report yet. `streetgauge run` goes on from here.");
    else announce("Nothing has been done yet. `streetgauge run` starts it; this page follows.");
    by("stopped").hidden = state.stopped === null;
    by("stopped").textContent = state.stopped || "";
    by("report").hidden = state.report === null;
    by("open").textContent = state.running === null ? "Open the report" : "Open the report of the last run";
    by("stages").replaceChildren(...state.stages.map(stage));
    curves(state.curves, state.classes);
  }

  async function poll() {
    try {
      const answer = await fetch("state.json", { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.status);
      show(await answer.json());
      missed = 0;
    } catch (error) {
      missed += 1;
      if (missed > 2) announce("The viewer does not answer: it was stopped. Start `streetgauge view` again.");
    }
    setTimeout(poll, missed > 2 ? 5000 : 1000);
  }
  poll();
})();
