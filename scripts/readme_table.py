"""Writes the table of results in README.md, between its two markers, from the records in results/listops-small and the numbers in data/published.

    scripts/readme_table.py [--check]      --check: writes nothing; exit code 1 unless the table is the one in README.md

Called by scripts/figures.sh. Python's standard library only.
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "README.md"
BEGIN, END = "<!-- table: scripts/figures.sh writes it from results/listops-small -->\n", "<!-- end of table -->\n"
# Our mixer: the row of Table 1 in LRA's paper.
MIXERS = {"linformer": "Linformer", "fnet": None, "flash": "Transformer", "performer": "Performer", "local": "Local Attention", "linear": "Linear Transformer"}


def read(path):
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def table():
    paper = {row["model"]: row["ListOps"] for row in read("data/published/lra.json")["lra_table1"]}
    rows = []
    for mixer, row in MIXERS.items():
        metrics = read(f"results/listops-small/listops/small/{mixer}/n2048/seed0/result.json")["metrics"]
        bench = read(f"results/listops-small/bench/bytes/small/{mixer}/n2048b32/result.json")
        printed = f"{paper[row]:.2f}" if row else ""
        speed, memory = bench["speed"]["train_examples_per_second"]["median"], bench["memory"]["peak_tensor_bytes"]
        rows.append((metrics["test_accuracy"], f"| `{mixer}` | {100 * metrics['test_accuracy']:.2f} | {printed} | {speed:.0f} | {memory / 1e6:.0f} |\n"))
    rows += [(metrics["reference_levels"][level], f"| *{name}* | {100 * metrics['reference_levels'][level]:.2f} | | | |\n")
             for level, name in (("root_operator", "root operator only"), ("majority", "always the commonest answer"))]
    rows.sort(key=lambda row: -row[0])
    return "| mixer | accuracy, % | in LRA's paper | examples/s | MB |\n|---|---:|---:|---:|---:|\n" + "".join(line for _, line in rows)


def main():
    text = PAGE.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"error: README.md: expected each of these lines once:\n{BEGIN}{END}")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    new = before + BEGIN + table() + END + after
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if new == text else "error: README.md's table is not that of the records in results/: run scripts/figures.sh")
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
