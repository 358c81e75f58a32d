const run_list = document.getElementById("run-list"), run_filter = document.getElementById("run-filter");

// "mechanism:performer" stands for the runs of that variant alone.
const matches = (run, word) => word.startsWith("mechanism:") ? run.key.toLowerCase() === word.slice("mechanism:".length) : run.title.toLowerCase().includes(word);

const details_of = run => {
  const details = document.createElement("details"), summary = document.createElement("summary");
  summary.textContent = run.title;
  details.append(summary);
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    const part = (name, text) => {
      const title = document.createElement("p"), body = document.createElement("pre");
      title.className = "part";
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
};

const show_runs = () => {
  const words = run_filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = runs.list.filter(run => words.every(word => matches(run, word)));
  run_list.replaceChildren(...found.slice(0, 200).map(details_of));
  document.getElementById("run-count").textContent = found.length > 200 ? `${found.length} runs, the first 200 are listed` : `${found.length} run${found.length === 1 ? "" : "s"}`;
};

const show_runs_of = key => {
  run_filter.value = `mechanism:${key}`;
  write_state("runs", run_filter.value);
  show_runs();
};

run_filter.addEventListener("input", () => {
  write_state("runs", run_filter.value);
  show_runs();
});
run_filter.value = state.parts.get("runs") ?? "";
show_runs();
