#!/usr/bin/env python3
"""Kills training runs at seeded moments and checks that they end, byte for byte, as an undisturbed run does.

    scripts/check_resume.py [--program build/release/bin/lra-run] [--kills 10] [--seed 0] [--steps 1000] [--mixers NAME ...]

For every mixer of MIXERS (with redrawn features, moving centroids, noise, hashes, random blocks): one undisturbed run with a checkpoint every 20 steps, then the same run in another
folder, killed with signal 9 `kills` times, one of them while a checkpoint is being written (seen by the half-written file that
stays behind). Compared: checkpoint.safetensors (weights, buffers, optimiser and generator states, bookkeeping), model.safetensors, and
metrics.jsonl without examples_per_second, which is a matter of the clock. Needs Python's standard library only.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

MIXERS = {
    "linear": [],
    "performer": ["mixer_options.redraw_every=7"],
    "reformer": ["mixer_options.chunk=8"],
    "routing": ["mixer_options.clusters=4", "mixer_options.window=8", "mixer_options.decay=0.9"],
    "sinkhorn": ["mixer_options.block=8"],
    "bigbird": ["mixer_options.block=8", "mixer_options.random_blocks=1"],
}


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["examples_per_second"]
    return lines


class Run:
    def __init__(self, program, config, out, overrides):
        self.command = [program, "--config", str(config), "--out", str(out), *overrides]
        self.out = out

    def start(self):
        return subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def finish(self):
        process = self.start()
        _, errors = process.communicate()
        if process.returncode != 0:
            sys.exit(f"{' '.join(self.command)} ended with {process.returncode}:\n{errors.decode()[-2000:]}")

    def folder(self):
        """The run's own folder; None while there is none."""
        found = [path.parent for path in self.out.rglob("config.json")]
        return found[0] if found else None

    def half_written(self):
        folder = self.folder()
        return list(folder.glob("checkpoint.safetensors.tmp.*")) if folder else []

    def kill_after(self, seconds):
        """False if the run was over before."""
        process = self.start()
        try:
            process.communicate(timeout=seconds)
            return False
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return True

    def kill_while_a_checkpoint_is_written(self):
        """False if the run was over before one was caught."""
        while True:
            process = self.start()
            for path in self.half_written():  # of an earlier kill
                path.unlink()
            while process.poll() is None and not self.half_written():
                pass
            process.kill()
            process.communicate()
            if self.half_written():
                return True
            if (self.folder() / "result.json").exists():
                return False


def check(program, mixer, overrides, kills, seed, config, scratch):
    draw = random.Random(f"{mixer} {seed}")
    whole = Run(program, config, scratch / mixer / "whole", [f"mixer={mixer}", *overrides])
    begin = time.monotonic()
    whole.finish()
    duration = time.monotonic() - begin
    pieces = Run(program, config, scratch / mixer / "pieces", [f"mixer={mixer}", *overrides])
    in_writing = draw.randrange(kills)
    for kill in range(kills):
        # Early enough that all the kills come before the end: each piece loses its start-up and the steps since its last checkpoint.
        alive = pieces.kill_while_a_checkpoint_is_written() if kill == in_writing else pieces.kill_after(draw.uniform(0.03, 0.14) * duration)
        if not alive:
            sys.exit(f"{mixer}: the run ended before kill {kill + 1} of {kills}; give it more --steps")
        print(f"{mixer}: kill {kill + 1}{' while a checkpoint was written' if kill == in_writing else ''}", flush=True)
    pieces.finish()
    a, b = whole.folder(), pieces.folder()
    if metrics(a) != metrics(b):
        sys.exit(f"{mixer}: metrics.jsonl differs: {a} {b}")
    for name in ("checkpoint.safetensors", "model.safetensors"):
        if (a / name).read_bytes() != (b / name).read_bytes():
            sys.exit(f"{mixer}: {name} differs: {a} {b}")
    print(f"{mixer}: {kills} kills, the same bytes as the undisturbed run ({len(metrics(a))} lines of metrics)", flush=True)


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(root / "build/release/bin/lra-run"))
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--mixers", nargs="+", choices=MIXERS, default=list(MIXERS))
    arguments = parser.parse_args()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="lra-resume-"))
    sizes = ["--train", "200", "--valid", "40", "--test", "40", "--min-length", "30", "--max-length", "120"]
    subprocess.run([arguments.program, "data", "prepare", "listops", "--data-dir", str(scratch / "data"), *sizes], check=True, stdout=subprocess.DEVNULL)
    config = scratch / "run.json"
    config.write_text(json.dumps({
        "task": "listops", "mixer": "linear", "profile": "small", "seed": 3, "data_dir": str(scratch / "data"), "seq_len": 120,
        "train_steps": arguments.steps, "warmup_steps": 50, "batch_size": 8, "eval_every": 30, "checkpoint_every": 20,
        "learning_rate": 1e-3, "threads": arguments.threads}))
    for mixer in arguments.mixers:
        check(arguments.program, mixer, MIXERS[mixer], arguments.kills, arguments.seed, config, scratch)


if __name__ == "__main__":
    main()
