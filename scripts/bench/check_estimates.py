#!/usr/bin/env python3
"""Compares the memory that lra-run estimates before a training step with the peak that it measures.

    scripts/bench/check_estimates.py [--program build/release/bin/lra-run] [--lengths 1024,4096] [--out results/estimates] [key=value ...]

Every setting of configs/suites/scaling.json (each mechanism with its default sizes), batch 1, the layers of profile `small`; key=value changes all of them.
Prints a table, writes it as estimates.json, and ends with exit code 1 where an estimate is off by more than a quarter. Python's standard library only.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALLOWED = 0.25


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=str(ROOT / "build/release/bin/lra-run"))
    parser.add_argument("--lengths", default="1024,4096")
    parser.add_argument("--out")
    parser.add_argument("changes", nargs="*", metavar="key=value")
    arguments = parser.parse_args()

    suite = json.loads((ROOT / "configs/suites/scaling.json").read_text())
    for key in ("num_layers", "dropout", "attention_dropout"):
        del suite[key]
    suite |= {"suite": "estimates", "measure_warmup_steps": 1, "measure_steps": 1}
    suite["bench"] = {"lengths": [int(n) for n in arguments.lengths.split(",")], "batch_sizes": [1]}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "suite.json"
        config.write_text(json.dumps(suite))
        command = [arguments.program, "--config", str(config), "--out", folder + "/out", *arguments.changes]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        if done.returncode != 0:
            sys.exit(done.stderr)
        for file in pathlib.Path(folder).glob("out/**/result.json"):
            record = json.loads(file.read_text())
            config = record["config"]
            measured, estimated = record["memory"]["peak_tensor_bytes"], record["cost"]["estimated_bytes"]
            rows.append({"variant": config["variant"], "seq_len": config["seq_len"], "measured_bytes": measured, "estimated_bytes": round(estimated),
                         "ratio": round(estimated / measured, 3)})
    rows.sort(key=lambda row: (row["variant"], row["seq_len"]))
    print("| mechanism | tokens | measured, MB | estimated, MB | estimated ÷ measured |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['variant']} | {row['seq_len']:,} | {row['measured_bytes'] / 1e6:.1f} | {row['estimated_bytes'] / 1e6:.1f} | {row['ratio']:.2f} |")
    wrong = [row for row in rows if abs(row["ratio"] - 1) > ALLOWED]
    print(f"\n{len(rows)} estimates, from {min(row['ratio'] for row in rows):.2f} to {max(row['ratio'] for row in rows):.2f} of what was measured; "
          f"{len(wrong)} off by more than a quarter")
    if arguments.out:
        out = pathlib.Path(arguments.out)
        out.mkdir(parents=True, exist_ok=True)
        lines = ",\n".join("  " + json.dumps(row) for row in rows)
        (out / "estimates.json").write_text(f'{{"changes": {json.dumps(arguments.changes)}, "rows": [\n{lines}\n]}}\n')
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
