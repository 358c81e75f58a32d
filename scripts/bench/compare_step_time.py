"""Training step times of lra-run and of the same model in eager PyTorch (eager_pytorch.py), measured alternately on the same machine.

One round measures, for each mixer: lra-run, eager PyTorch padded to 2000, eager PyTorch padded to the batch's longest. lra-run keeps freed memory by an
allocator of its own; with `--malloc tuned` so does eager PyTorch, by settings of glibc's malloc. Ratios are taken within a round, so that a slow phase of
the machine meets both sides; the table shows their medians. Run it on a quiet machine.

  python3 scripts/bench/compare_step_time.py [--data-dir data] [--mixers linear,linformer,flash] [--malloc default] [--rounds 3]
                                             [--out runs/step_time]

Writes OUT/step_time.json (every pair) and OUT/step_time.md.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

from peers import TUNED

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Both sides see the file's first (WARMUP_STEPS + steps) * BATCH_SIZE examples, each once; lra-run in an order of its own.
WARMUP_STEPS, BATCH_SIZE = 5, 32
EAGER = {"eager_full": "full", "eager_longest": "longest"}


def run(command: list[str], environment: dict) -> str:
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: {' '.join(command)} failed with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def measure_lra(program: str, mixer: str, args) -> dict:
    with tempfile.TemporaryDirectory() as out:
        run([program, "bench", "--task", "listops", "--profile", "small", "--mixers", mixer, "--out", out, "dropout=0", "attention_dropout=0",
             f"data_dir={args.data_dir}", f"measure_steps={args.steps}", f"threads={args.threads}",
             f"limit={(WARMUP_STEPS + args.steps) * BATCH_SIZE}"], {})  # fmt: skip
        records = [json.loads(path.read_text()) for path in pathlib.Path(out).glob("**/result.json")]
    if len(records) != 1 or records[0]["status"] != "ok":
        sys.exit(f"error: lra-run bench of {mixer} ended with {[r['status'] for r in records]}, not with one result")
    return records[0]


def measure_eager(python: str, mixer: str, pad: str, args) -> dict:
    return json.loads(run([python, "scripts/bench/eager_pytorch.py", "--mixer", mixer, "--pad", pad, "--steps", str(args.steps),
                           "--threads", str(args.threads), "--data", f"{args.data_dir}/listops/basic_train.tsv"],
                          TUNED if args.malloc == "tuned" else {}))  # fmt: skip


def median_speed(record: dict) -> float:
    return (record.get("speed") or record)["train_steps_per_second"]["median"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--mixers", default="linear,linformer,flash")
    parser.add_argument("--malloc", choices=["default", "tuned"], default="default", help="of eager PyTorch; tuned: keeps freed memory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20, help="timed steps of one measurement")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores, on both sides")
    parser.add_argument("--lra-run", default="build/release/bin/lra-run")
    parser.add_argument("--python", default=os.environ.get("LRA_PYTHON", ".venv/bin/python"), help="a Python that has torch")
    parser.add_argument("--out", default="runs/step_time")
    args = parser.parse_args()

    mixers = args.mixers.split(",")
    sides = ["lra", *EAGER]
    rounds, details = [], {}
    for number in range(args.rounds):
        for mixer in mixers:
            speeds = {}
            for side in sides:
                record = (measure_eager(args.python, mixer, EAGER[side], args) if side in EAGER else measure_lra(args.lra_run, mixer, args))
                speeds[side] = median_speed(record)
                details.setdefault(mixer, {})[side] = record
            rounds.append({"round": number, "mixer": mixer, "steps_per_second": speeds, "ratio": {side: speeds["lra"] / speeds[side] for side in EAGER}})
            print(f"round {number + 1}/{args.rounds} {mixer:10} " + " ".join(f"{side} {speeds[side]:.3f}" for side in sides) + " steps/s", flush=True)
            counts = {side: details[mixer][side]["parameters"] for side in sides}
            if len(set(counts.values())) != 1:
                sys.exit(f"error: the models differ: {mixer} has {counts} parameters")

    summary = {}
    for mixer in mixers:
        mine = [r for r in rounds if r["mixer"] == mixer]
        summary[mixer] = {
            "parameters": details[mixer]["lra"]["parameters"],
            "steps_per_second": {side: statistics.median(r["steps_per_second"][side] for r in mine) for side in sides},
            "ratio": {side: statistics.median(r["ratio"][side] for r in mine) for side in EAGER},
            "ratio_range": {side: [min(r["ratio"][side] for r in mine), max(r["ratio"][side] for r in mine)] for side in EAGER},
        }

    eager, lra = details[mixers[0]]["eager_full"], details[mixers[0]]["lra"]
    result = {
        "what": "training steps per second, forward + backward + optimiser, profile small on ListOps, batch 32, no dropout",
        "eager_malloc": args.malloc,
        "machine": {"host": platform.node(), "cores": os.cpu_count(), "load_at_end": os.getloadavg()[0]},
        "torch": eager["torch"],
        "threads": eager["threads"],
        "mean_tokens": eager["mean_tokens"],
        "build": lra["build"],
        "summary": summary,
        "rounds": rounds,
        "last_records": details,
    }
    lines = [
        f"Training steps per second on ListOps, profile `small`, batch {eager['batch_size']}, no dropout, {eager['threads']} threads; median of {args.rounds} "
        f"alternating rounds of {args.steps} steps. Eager PyTorch {eager['torch']}, {args.malloc} malloc. The ratio is that of the rounds' median (lowest to highest).",
        "",
        "| mixer | lra-run | eager, padded to 2000 | ratio | eager, padded to the longest | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for mixer, row in summary.items():
        cells = [mixer, f"{row['steps_per_second']['lra']:.3f}"]
        for side in EAGER:
            low, high = row["ratio_range"][side]
            cells += [f"{row['steps_per_second'][side]:.3f}", f"{row['ratio'][side]:.2f} ({low:.2f} to {high:.2f})"]
        lines.append("| " + " | ".join(cells) + " |")
    table = "\n".join(lines) + "\n"

    out = ROOT / args.out
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (("step_time.json", json.dumps(result, indent=1) + "\n"), ("step_time.md", table)):
        temporary = out / (name + ".tmp")
        temporary.write_text(text)
        os.replace(temporary, out / name)
    print(table + f"written to {out}")


if __name__ == "__main__":
    main()
