// The layout whose letters come out nearest to their size in a place of this width.
const layout_for = width => width >= 1200 ? "broad" : width >= 640 ? "wide" : "narrow";

// The mechanisms that are highlighted in all charts.
const chosen = new Set((state.parts.get("highlight") ?? "").split(",").filter(key => key in mechanisms));

const choose = key => {
  if (chosen.has(key)) chosen.delete(key);
  else chosen.add(key);
  write_state("highlight", [...chosen].join(","));
  show_chosen();
};
const clear_chosen = () => {
  chosen.clear();
  write_state("highlight", "");
  show_chosen();
};

const runs_link = key => {
  const link = document.createElement("a"), count = runs.list.filter(run => run.key === key).length;
  link.href = "#all-runs";
  link.textContent = count === 1 ? "its run" : `its ${count} runs`;
  link.addEventListener("click", () => show_runs_of(key));
  return count ? link : "";
};

const show_chosen = () => {
  for (const chart of document.querySelectorAll(".chart")) {
    const marks = [...chart.querySelectorAll("[data-key]")];
    chart.classList.toggle("choosing", marks.some(mark => chosen.has(mark.dataset.key)));
    for (const mark of marks) {
      const on = chosen.has(mark.dataset.key);
      mark.classList.toggle("chosen", on);
      if (mark.hasAttribute("aria-pressed")) mark.setAttribute("aria-pressed", on);
    }
    show_pointed(chart.closest("figure"));
  }
  for (const row of document.querySelectorAll("tr[data-key]")) row.classList.toggle("chosen", chosen.has(row.dataset.key));
  show_chips();
};

// Below a chart: what it says of those that are chosen, and where their runs are.
const show_pointed = figure => {
  const place = figure.querySelector(".pointed"), stops = [...figure.querySelectorAll(".chart [data-stop]")].filter(stop => chosen.has(stop.dataset.key));
  place.hidden = stops.length === 0;
  place.replaceChildren(...stops.map(stop => {
    const line = document.createElement("p"), dot = document.createElement("i");
    dot.style.background = mechanisms[stop.dataset.key]?.colour;
    line.append(dot, `${stop.dataset.says} `, runs_link(stop.dataset.key));
    return line;
  }));
};

const show_chips = () => {
  const place = document.getElementById("chosen");
  place.replaceChildren(...[...chosen].map(key => {
    const chip = document.createElement("button"), dot = document.createElement("i");
    dot.style.background = mechanisms[key].colour;
    chip.append(dot, `${mechanisms[key].name} ×`);
    chip.setAttribute("aria-label", `stop highlighting ${mechanisms[key].name}`);
    chip.addEventListener("click", () => choose(key));
    return chip;
  }));
};

// Vega keeps the datum of each mark in its element: marks of a mechanism can be found, pointed at and reached with the keyboard.
const mark_mechanisms = chart => {
  const stops = new Map();
  for (const element of chart.querySelectorAll("svg path, svg text, svg line")) {
    const key = element.__data__?.datum?.key;
    if (!key || !(key in mechanisms)) continue;
    element.dataset.key = key;
    element.style.setProperty("--own", mechanisms[key].colour);
    const symbol = Boolean(element.closest(".mark-symbol"));
    if (!symbol && element.tagName !== "text") continue;
    const known = stops.get(key);
    // A circle of its own is the stop; of many points of a line, its name.
    if (!known) stops.set(key, { element, symbols: symbol ? 1 : 0 });
    else if (symbol && known.symbols === 0 && known.element.tagName !== "text") stops.set(key, { element, symbols: 1 });
    else if (symbol) known.symbols += 1;
    else if (known.symbols > 1) known.element = element;
  }
  const place = element => element.getBoundingClientRect();
  const order = [...stops].map(([key, stop]) => ({ key, element: stop.element }));
  order.sort((a, b) => place(a.element).x - place(b.element).x || place(a.element).y - place(b.element).y);
  order.forEach(({ key, element }, i) => {
    // Vega's description begins with positions; that of a name has nothing else.
    const [, said] = (element.getAttribute("aria-label") ?? "").split("Mechanism: ");
    const label = said ?? mechanisms[key].name;
    element.dataset.stop = "";
    element.dataset.says = label;
    element.setAttribute("role", "button");
    element.setAttribute("aria-pressed", "false");
    element.setAttribute("aria-label", label);
    element.setAttribute("tabindex", i === 0 ? 0 : -1);
  });
};

const key_of = event => event.target.closest?.(".chart [data-key]")?.dataset.key;

const move_focus = (chart, step) => {
  const stops = [...chart.querySelectorAll("[data-stop]")].sort((a, b) => a.getBoundingClientRect().x - b.getBoundingClientRect().x || a.getBoundingClientRect().y - b.getBoundingClientRect().y);
  const now = stops.indexOf(document.activeElement), next = stops[(now + step + stops.length) % stops.length];
  stops.forEach(stop => stop.setAttribute("tabindex", stop === next ? 0 : -1));
  next.focus();
};

const on_key = event => {
  const key = key_of(event);
  if (!key) return;
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (event.key === "Enter" || event.key === " ") choose(key);
  else if (step) move_focus(event.target.closest(".chart"), step);
  else return;
  event.preventDefault();
};

const draw_figure = (id, figure) => {
  const root = document.getElementById(id), chart = root.querySelector(".chart"), caption = root.querySelector(".caption");
  const selects = [...root.querySelectorAll("select")], name = id.replace("figure-", "");
  let current = 0, layout = layout_for(chart.clientWidth), drawn;
  const names_of = view => view.choice.map((choice, i) => selects[i].options[choice].textContent).join("|");
  const from_state = () => {
    const found = figure.views.findIndex(view => names_of(view) === state.parts.get(name));
    return found < 0 ? 0 : found;
  };
  const show = () => {
    const view = figure.views[current], part = view.drawings[layout];
    selects.forEach((select, i) => {
      select.selectedIndex = view.choice[i];
      // What no view has with the choices before it cannot be chosen.
      [...select.options].forEach((option, k) => { option.disabled = !figure.views.some(v => v.choice[i] === k && v.choice.slice(0, i).every((c, j) => c === view.choice[j])); });
    });
    caption.textContent = part.caption;
    root.dataset.view = current;
    root.dataset.layout = layout;
    vegaEmbed(chart, { ...chart_bases[layout], background: null, ...part.spec }, { renderer: "svg", actions: false }).then(result => {
      drawn = result.view;
      const svg = chart.querySelector("svg");
      svg.style.maxWidth = `${1.3 * svg.viewBox.baseVal.width}px`;
      mark_mechanisms(chart);
      show_chosen();
      root.dataset.drawn = current;
      root.dataset.drawnLayout = layout;
    });
  };
  selects.forEach((select, changed) => select.addEventListener("change", () => {
    const want = selects.map(s => s.selectedIndex);
    const agreement = view => view.choice[changed] === want[changed] ? 1 + view.choice.reduce((sum, c, i) => sum + (c === want[i] ? 1 : 0), 0) : 0;
    let best = 0;
    figure.views.forEach((view, i) => { if (agreement(view) > agreement(figure.views[best])) best = i; });
    current = best;
    write_state(name, current === 0 ? "" : names_of(figure.views[current]));
    show();
  }));
  chart.addEventListener("click", event => { const key = key_of(event); if (key) choose(key); });
  chart.addEventListener("keydown", on_key);
  new ResizeObserver(() => {
    const fits = layout_for(chart.clientWidth);
    if (fits === layout) return;
    layout = fits;
    show();
  }).observe(chart);
  for (const kind of ["svg", "png"]) {
    const button = root.querySelector(`button[data-save=${kind}]`);
    if (button) button.addEventListener("click", async () => {
      const link = document.createElement("a");
      link.href = await drawn.toImageURL(kind, 2);
      link.download = `${id}.${kind}`;
      link.click();
    });
  }
  current = from_state();
  show();
  return () => { current = from_state(); show(); };
};

const redraw = Object.entries(figures).map(([id, figure]) => draw_figure(id, figure));

const mechanism_select = document.getElementById("mechanism");
document.getElementById("highlight").hidden = redraw.length === 0;
for (const [key, { name }] of Object.entries(mechanisms)) mechanism_select.append(new Option(name, key));
mechanism_select.addEventListener("change", () => {
  if (mechanism_select.value && !chosen.has(mechanism_select.value)) choose(mechanism_select.value);
  mechanism_select.value = "";
});
document.addEventListener("keydown", event => { if (event.key === "Escape" && chosen.size) clear_chosen(); });
show_chips();
