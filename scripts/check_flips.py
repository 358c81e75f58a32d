#!/usr/bin/env python3
"""Flips single bits of a run's files and checks that each is noticed or does no harm.

    scripts/check_flips.py [--programs build/release/bin] [--count 500] [--seed 0] [--jobs 2] [--only NAME ...] [--out FILE]

For each file of TARGETS, `count` times: one bit is flipped, the command that reads the file runs, and the bit is put back. A flip is
  refused   the command says what is wrong: lra-run with exit code 2 and one sentence, lra-report check with exit code 1
  harmless  the command ends well with the result that it has without the flip, byte for byte
  silent    anything else: another result, or a crash
Ends with 1 if there was a silent one. Bits are drawn from the seed. Writes counts, and what was silent, as JSON. Needs Python's standard library only.
"""

import argparse
import collections
import concurrent.futures
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

MODEL = ["num_layers=1", "d_model=16", "d_ff=16", "num_heads=2", "threads=1"]
TRAIN = ["batch_size=4", "train_steps=6", "warmup_steps=2", "eval_every=2", "checkpoint_every=3", "learning_rate=0.001", "schedule=constant", "selection=last"]


class Failure(Exception):
    pass


class Bench:
    """A folder with data and runs of its own, so that several work side by side."""

    def __init__(self, programs, folder):
        self.programs, self.folder = programs, folder
        sizes = {"listops": ["--train", "24", "--valid", "12", "--test", "60", "--min-length", "5", "--max-length", "60"],
                 "pathfinder_standin": ["--train", "12", "--valid", "6", "--test", "12"]}
        for task, options in sizes.items():
            self.expect_good(["lra-run", "data", "prepare", task, "--data-dir", str(folder / "data"), *options])
        self.runs = {task: self.train(task, "runs", []) for task in sizes}
        # Stopped at its last checkpoint: the first half of the steps are done.
        self.half = self.train("listops", "half", ["train_steps=3"])
        (self.half / "result.json").unlink()
        (self.half / "model.safetensors").unlink()
        self.kept = folder / "kept"
        shutil.copytree(self.half, self.kept)

    def call(self, command):
        done = subprocess.run([self.programs / command[0], *command[1:]], capture_output=True, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout, done.stderr

    def expect_good(self, command):
        code, _, errors = self.call(command)
        if code != 0:
            raise Failure(f"{' '.join(command)} ended with {code}:\n{errors.decode(errors='replace')[-2000:]}")

    def train_command(self, task, out, overrides):
        config = self.folder / f"{task}.json"
        config.write_text(json.dumps({"task": task, "mixer": "linear", "profile": "small", "seed": 3, "data_dir": str(self.folder / "data")}))
        length = ["seq_len=60"] if task == "listops" else []
        settings = dict(setting.split("=") for setting in [*MODEL, *TRAIN, *length, *overrides])  # a key is given once
        return ["lra-run", "--config", str(config), "--out", str(self.folder / out), *(f"{key}={value}" for key, value in settings.items())]

    def train(self, task, out, overrides):
        self.expect_good(self.train_command(task, out, overrides))
        return next((self.folder / out / task).rglob("config.json")).parent

    def eval(self, run):
        predictions = self.folder / "predictions.jsonl"
        code, out, errors = self.call(["lra-run", "eval", "--checkpoint", str(run), "--predictions", str(predictions)])
        return code, (out, predictions.read_bytes() if code == 0 else b""), errors

    def resume(self):
        """The second half of the stopped run; its result is what does not depend on the clock."""
        code, _, errors = self.call(self.train_command("listops", "half", []))
        result = []
        if code == 0:
            for line in (self.half / "metrics.jsonl").read_text().splitlines():
                result.append({key: value for key, value in json.loads(line).items() if key != "examples_per_second"})
        files = [(self.half / name).read_bytes() if code == 0 else b"" for name in ("model.safetensors", "checkpoint.safetensors")]
        shutil.rmtree(self.half)
        shutil.copytree(self.kept, self.half)
        return code, (result, files), errors


# Name: the file, the command that reads it, and the exit code that means "refused".
TARGETS = {
    "model through eval": (lambda b: b.runs["listops"] / "model.safetensors", lambda b: b.eval(b.runs["listops"]), 2),
    "checkpoint through eval": (lambda b: b.half / "checkpoint.safetensors", lambda b: b.eval(b.half), 2),
    "checkpoint through resume": (lambda b: b.half / "checkpoint.safetensors", lambda b: b.resume(), 2),
    "packed cache through eval": (lambda b: b.folder / "data/pathfinder_standin/test.packed", lambda b: b.eval(b.runs["pathfinder_standin"]), 2),
    "ListOps file through eval": (lambda b: b.folder / "data/listops/basic_test.tsv", lambda b: b.eval(b.runs["listops"]), 2),
    "metrics through check": (lambda b: b.runs["listops"] / "metrics.jsonl", lambda b: b.call(["lra-report", "check", str(b.runs["listops"])]), 1),
}


def judge(expected, found, refusal):
    code, result, errors = found
    if code == refusal and (refusal != 2 or errors.count(b"error: ") == 1):
        return "refused"
    if refusal == 2 and code == 0 and result == expected:
        return "harmless"
    return "silent"


def flip(bench, target, bits):
    """Counts of verdicts, and what was silent."""
    where, command, refusal = TARGETS[target]
    file = where(bench)
    whole = file.read_bytes()
    code, expected, errors = command(bench)
    if code != 0:
        raise Failure(f"{target}: without a flip it ends with {code}:\n{errors.decode(errors='replace')[-2000:]}")
    counts, silent = collections.Counter(), []
    for place in bits:
        bit = place % (8 * len(whole))
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        found = command(bench)
        verdict = judge(expected, found, refusal)
        counts[verdict] += 1
        if verdict == "silent":
            silent.append({"byte": bit // 8, "bit": bit % 8, "exit_code": found[0], "errors": found[2].decode(errors="replace")[-500:]})
        file.write_bytes(whole)
    return len(whole), counts, silent


def check(benches, target, count, seed):
    draw = random.Random(f"{target} {seed}")
    bits = [draw.randrange(1 << 62) for _ in range(count)]
    with concurrent.futures.ThreadPoolExecutor(len(benches)) as pool:
        parts = list(pool.map(lambda number: flip(benches[number], target, bits[number::len(benches)]), range(len(benches))))
    counts = sum((part[1] for part in parts), collections.Counter())
    print(f"{target}: {count} flips in {parts[0][0]} bytes, {counts['refused']} refused, {counts['harmless']} harmless, {counts['silent']} silent", flush=True)
    result = {"target": target, "bytes": parts[0][0], "flips": count, **{verdict: counts[verdict] for verdict in ("refused", "harmless", "silent")}}
    examples = [one for part in parts for one in part[2]]
    return {**result, "silent_flips": examples[:20]} if examples else result


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, default=root / "build/release/bin", help="folder with lra-run and lra-report")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=list(TARGETS), metavar="NAME", help="; ".join(TARGETS))
    parser.add_argument("--out", type=pathlib.Path, help="where the JSON goes; default: nowhere")
    arguments = parser.parse_args()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="lra-flips-"))
    try:
        benches = []
        for number in range(arguments.jobs):
            (scratch / str(number)).mkdir()
            benches.append(Bench(arguments.programs.resolve(), scratch / str(number)))
        results = [check(benches, target, arguments.count, arguments.seed) for target in arguments.only]
    except Failure as failure:
        sys.exit(str(failure))
    finally:
        shutil.rmtree(scratch)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"seed": arguments.seed, "targets": results}, indent=2) + "\n")
    return 1 if any(result["silent"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
