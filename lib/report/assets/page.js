document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

const go_to_section = () => document.getElementById(state.section)?.scrollIntoView();
addEventListener("hashchange", () => {
  const before = new Map(state.parts);
  read_state();
  const same = before.size === state.parts.size && [...before].every(([key, value]) => state.parts.get(key) === value);
  show_address();
  if (same) return;
  chosen.clear();
  for (const key of (state.parts.get("highlight") ?? "").split(",")) if (key in mechanisms) chosen.add(key);
  run_filter.value = state.parts.get("runs") ?? "";
  show_runs();
  redraw.forEach(show => show());
  show_chosen();
  go_to_section();
});
if (location.hash.includes("&")) go_to_section();
