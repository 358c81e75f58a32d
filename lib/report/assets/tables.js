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

// Rows of a mechanism are marked with it.
const keys_by_name = new Map(Object.entries(mechanisms).map(([key, { name }]) => [name, key]));
for (const row of document.querySelectorAll("table.sortable tbody tr")) {
  const key = keys_by_name.get(row.cells[0].textContent);
  if (key) row.dataset.key = key;
}
