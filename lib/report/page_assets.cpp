#include "report/page_assets.h"

namespace lra::report {

// Charts are SVG with few colours that are not data (report/vega.h); in the dark these are replaced here.
const char* const page_style = R"css(
:root { color-scheme: light dark; --ink: light-dark(#1f2328, #e6edf3); --grey: light-dark(#57606a, #9aa5b1); --paper: light-dark(#ffffff, #0d1117);
  --line: light-dark(#d8dee4, #30363d); --link: light-dark(#0b5cad, #6cb6ff); --warn: light-dark(#fff4d6, #3a2d06); --warn-line: light-dark(#d4a72c, #9e7b1b); --soft: light-dark(#f6f8fa, #161b22); }
:root[data-theme=light] { color-scheme: light; }
:root[data-theme=dark] { color-scheme: dark; }
* { box-sizing: border-box; }
body { font: 15px/1.55 -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Liberation Sans", sans-serif; color: var(--ink); margin: 0; background: var(--paper); }
main { max-width: 1120px; margin: 0 auto; padding: 32px 28px 72px; }
header { display: flex; flex-wrap: wrap; gap: 8px 24px; justify-content: space-between; align-items: start; }
h1 { font-size: 28px; line-height: 1.25; margin: 0 0 6px; letter-spacing: -.01em; }
h2 { font-size: 20px; margin: 48px 0 12px; padding-bottom: 6px; border-bottom: 1px solid var(--line); }
h3 { font-size: 16px; margin: 28px 0 8px; }
h4 { font-size: 14px; margin: 22px 0 6px; overflow-wrap: anywhere; }
p, ul { max-width: 78ch; margin: 8px 0; overflow-wrap: anywhere; }
li { margin: 3px 0; }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 12px 0; font-size: 14px; }
.lead, .note, .links, .caption { color: var(--grey); }
.note, .links, .caption { font-size: 13px; }
a { color: var(--link); }
.banner, .warning { background: var(--warn); border-left: 4px solid var(--warn-line); padding: 6px 12px; margin: 10px 0; max-width: none; overflow-wrap: anywhere; }
.warning { font-size: 13px; }
.banner ul { margin: 4px 0; padding-left: 20px; max-width: none; }
button, select, input { font: inherit; font-size: 13.5px; color: inherit; background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: 3px 8px; max-width: 100%; }
button { cursor: pointer; }
.switches { display: flex; flex-wrap: wrap; gap: 8px 18px; margin: 12px 0; font-size: 13.5px; }
.switches label { display: flex; gap: 6px; align-items: center; max-width: 100%; }
.switches select { min-width: 0; flex: 1; }
figure { margin: 0; }
.chart { overflow-x: auto; }
.chart svg [stroke="white"] { stroke: var(--paper); }
.chart svg .mark-rect [fill="white"] { fill: var(--paper); }
.chart svg .mark-rect { pointer-events: none; }
.chart svg { max-width: 100%; height: auto; display: block; }
.chart svg .mark-text, .chart svg .mark-rule { pointer-events: none; }
.chart svg .background, .vega-embed { background: transparent; }
.chart svg [fill="#1f2328"] { fill: var(--ink); }
.chart svg [stroke="#1f2328"] { stroke: var(--ink); }
.chart svg [fill="#57606a"] { fill: var(--grey); }
.chart svg [stroke="#57606a"] { stroke: var(--grey); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: 100%; }
th { text-align: left; font-weight: 600; border-bottom: 1.5px solid var(--ink); padding: 4px 4px; vertical-align: bottom; }
th button { font-weight: 600; font-size: 13px; background: none; border: 0; padding: 2px 6px; text-align: inherit; }
th[aria-sort=ascending] button::after { content: " ▲"; font-size: 9px; }
th[aria-sort=descending] button::after { content: " ▼"; font-size: 9px; }
td { border-bottom: 1px solid var(--line); padding: 5px 10px; vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
th.number { white-space: normal; }
td[title] { cursor: help; }
td:first-child, th:first-child { position: sticky; left: 0; background: var(--paper); white-space: nowrap; }
td.best { font-weight: 700; }
td.second { text-decoration: underline; text-underline-offset: 3px; }
td.tied::before { content: "≈ "; color: var(--grey); }
td.muted, tr.reference td { color: var(--grey); font-style: italic; }
details { margin: 10px 0; }
summary { cursor: pointer; }
code, pre { font: 12.5px ui-monospace, "Liberation Mono", monospace; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; background: var(--soft); padding: 8px 12px; border-radius: 6px; margin: 6px 0; }
.atlas { background: #fff; color: #1f2328; border-radius: 8px; padding: 8px; overflow-x: auto; }
.atlas svg { max-width: 100%; height: auto; display: block; }
#vg-tooltip-element { background: var(--paper) !important; color: var(--ink) !important; border-color: var(--line) !important; font-size: 12.5px; max-width: min(340px, 90vw); }
#vg-tooltip-element table tr td.key { color: var(--grey) !important; max-width: 150px; }
#vg-tooltip-element td { border: 0; padding: 1px 4px; }
@media (max-width: 720px) { main { padding: 20px 14px 48px; } h1 { font-size: 23px; } td { padding: 5px 7px; } }
@media print { :root, :root[data-theme=dark] { color-scheme: light; } main { padding: 0; max-width: none; } .switches, nav, header button, .links { display: none; } }
)css";

const char* const page_script = R"js(
"use strict";
const narrow = matchMedia("(max-width: 720px)");

for (const [id, figure] of Object.entries(figures)) {
  const root = document.getElementById(id), chart = root.querySelector(".chart"), caption = root.querySelector(".caption");
  const selects = [...root.querySelectorAll("select")];
  let current = 0, drawn;
  const show = () => {
    const view = figure.views[current], part = narrow.matches ? view.narrow : view.wide;
    selects.forEach((select, i) => {
      select.selectedIndex = view.choice[i];
      // What no view has with the choices before it cannot be chosen.
      [...select.options].forEach((option, k) => { option.disabled = !figure.views.some(v => v.choice[i] === k && v.choice.slice(0, i).every((c, j) => c === view.choice[j])); });
    });
    caption.textContent = part.caption;
    root.dataset.view = current;
    vegaEmbed(chart, { ...(narrow.matches ? chart_bases.narrow : chart_bases.wide), background: null, ...part.spec }, { renderer: "svg", actions: false }).then(result => { drawn = result.view; root.dataset.drawn = current; });
  };
  selects.forEach((select, changed) => select.addEventListener("change", () => {
    const want = selects.map(s => s.selectedIndex);
    const agreement = view => view.choice[changed] === want[changed] ? 1 + view.choice.reduce((sum, c, i) => sum + (c === want[i] ? 1 : 0), 0) : 0;
    let best = 0;
    figure.views.forEach((view, i) => { if (agreement(view) > agreement(figure.views[best])) best = i; });
    current = best;
    show();
  }));
  narrow.addEventListener("change", show);
  for (const kind of ["svg", "png"]) {
    const button = root.querySelector(`button[data-save=${kind}]`);
    if (button) button.addEventListener("click", async () => {
      const link = document.createElement("a");
      link.href = await drawn.toImageURL(kind, 2);
      link.download = `${id}.${kind}`;
      link.click();
    });
  }
  show();
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const numeric = head.classList.contains("number");
    const down = head.getAttribute("aria-sort") === "descending" ? false : head.getAttribute("aria-sort") === "ascending" ? true : numeric;
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => { const cell = row.cells[column]; return numeric ? (cell.dataset.value === undefined ? NaN : Number(cell.dataset.value)) : cell.textContent; };
    const rows = [...table.tBodies[0].rows];
    // What was not measured comes last, whichever way.
    rows.sort((a, b) => {
      const x = key(a), y = key(b);
      if (!numeric) return down ? y.localeCompare(x) : x.localeCompare(y);
      if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
      return down ? y - x : x - y;
    });
    table.tBodies[0].append(...rows);
  }));
}

const list = document.getElementById("run-list"), filter = document.getElementById("run-filter");
const show_runs = () => {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = runs.list.filter(run => words.every(word => run.title.toLowerCase().includes(word)));
  list.replaceChildren(...chosen.slice(0, 200).map(run => {
    const details = document.createElement("details"), summary = document.createElement("summary");
    summary.textContent = run.title;
    details.append(summary);
    details.addEventListener("toggle", () => {
      if (details.childElementCount > 1) return;
      const part = (name, text) => {
        const title = document.createElement("h4"), body = document.createElement("pre");
        title.textContent = name;
        body.textContent = text;
        details.append(title, body);
      };
      part("Regenerate", run.commands);
      part("Configuration", JSON.stringify({ ...runs.configs[run.config], seed: run.seed }, null, 1));
      part("Host", runs.hosts[run.host]);
      part("Program", runs.builds[run.build]);
      part("Data", JSON.stringify(runs.data[run.data], null, 1));
      if (run.notes) part("Notes", run.notes);
    });
    return details;
  }));
  document.getElementById("run-count").textContent = chosen.length > 200 ? `${chosen.length} runs, the first 200 are listed` : `${chosen.length} runs`;
};
filter.addEventListener("input", show_runs);
show_runs();

const theme = document.getElementById("theme");
theme.addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
});
)js";

}  // namespace lra::report
