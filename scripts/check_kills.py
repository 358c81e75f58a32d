#!/usr/bin/env python3
"""Stops and kills runs and suites at seeded moments and checks that they end, byte for byte, as undisturbed runs do.

    scripts/check_kills.py [--program build/release/bin/lra-run] [--seed 0] [--steps 500] [--signals 60] [--out results/kills/kills.json]

Half of the signals go to single runs, one mixer after another (redrawn features, moving centroids, noise, hashes, random blocks), of each mixer the
first one is KILL while a checkpoint is being written (seen by the half-written file). The other half go to two suites of all the mixers that share
one --out: two thirds to a whole process group, the rest to a suite or to its child alone. What was stopped is started again at once.

After each signal: the checkpoints' steps have not gone back; and for a signal that can be caught the exit code is 130, and the interrupted record
says the checkpoint's step. At the end: checkpoint.safetensors (weights, buffers, optimiser and generator states, bookkeeping), model.safetensors, and
metrics.jsonl without examples_per_second, a matter of the clock, are those of undisturbed runs. Needs Python's standard library only.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

MIXERS = {
    "linear": {},
    "performer": {"redraw_every": 7},
    "reformer": {"chunk": 8},
    "routing": {"clusters": 4, "window": 8, "decay": 0.9},
    "sinkhorn": {"block": 8},
    "bigbird": {"block": 8, "random_blocks": 1},
}
CAUGHT = ["INT", "TERM", "HUP", "USR1", "USR2", "XCPU"]


def number(name):
    return getattr(signal, "SIG" + name)


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["examples_per_second"]
    return lines


def checkpoint_step(folder):
    try:
        with open(folder / "checkpoint.safetensors", "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return json.loads(header["__metadata__"]["state"])["step"]
    except FileNotFoundError:
        return 0


def run_folders(out):
    """Mixer: the folder of its run."""
    return {path.parts[-4]: path.parent for path in out.rglob("config.json")}


def steps(out):
    return {mixer: checkpoint_step(folder) for mixer, folder in run_folders(out).items()}


def processes():
    """Process: (parent, session)."""
    found = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            found[int(path.parent.name)] = (int(fields[1]), int(fields[3]))
    return found


def child_of(process):
    return next((child for child, (parent, _) in processes().items() if parent == process), None)


def can_catch(process, name):
    """Whether the process catches the signal, or lets it wait until it does."""
    try:
        status = pathlib.Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    masks = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigBlk", "SigCgt"))]
    return any(mask >> (number(name) - 1) & 1 for mask in masks)


class Program:
    """lra-run --config CONFIG --out OUT in a session of its own."""

    def __init__(self, program, config, out, log):
        self.command = [program, "--config", str(config), "--out", str(out)]
        self.out, self.log = out, log

    def start(self):
        self.begun = time.monotonic()
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)

    def ended(self):
        return self.process.poll() is not None

    def wait(self):
        """The exit code, once all of its processes have ended."""
        deadline = time.monotonic() + 120
        while not self.ended() or any(session == self.process.pid for _, session in processes().values()):
            if time.monotonic() > deadline:
                self.fail("did not end within two minutes")
            time.sleep(0.01)
        return self.process.returncode

    def finish(self):
        code = self.wait()
        if code != 0:
            self.fail(f"ended with {code}")

    def fail(self, what):
        sys.exit(f"{' '.join(self.command)}: {what}\n{self.log.read_text()[-2000:]}")

    def stop(self, name, to):
        """Sends the signal to the "process", its "group" or its "child"; returns what became of it, None if there was nothing to send it to."""
        target = child_of(self.process.pid) if to == "child" else self.process.pid
        if target is None or self.ended():
            return None
        before = steps(self.out)
        caught = name != "KILL" and can_catch(target, name)
        seconds = time.monotonic() - self.begun
        try:
            os.killpg(target, number(name)) if to == "group" else os.kill(target, number(name))
        except ProcessLookupError:
            return None
        row = {"signal": name, "to": to, "after_seconds": round(seconds, 3), "caught": caught}
        if to == "child":  # the suite goes on with the next run
            while target in processes():
                time.sleep(0.01)
        else:
            row["exit"] = self.wait()
            if caught and row["exit"] not in (130, 0):  # 0: it was done
                self.fail(f"{name} to its {to} after {seconds:.2f} s: exit code {row['exit']}")
        after = steps(self.out)
        for mixer, step in before.items():
            if after.get(mixer, 0) < step:
                self.fail(f"{name} to its {to} after {seconds:.2f} s: {mixer} was at step {step} and is at {after.get(mixer, 0)}")
        row["steps"] = {mixer: [before.get(mixer, 0), step] for mixer, step in after.items() if step != before.get(mixer, 0)}
        return row

    def check_interrupted(self):
        """Every interrupted record says its checkpoint's step."""
        for mixer, folder in run_folders(self.out).items():
            try:
                record = json.loads((folder / "result.json").read_text())
            except FileNotFoundError:
                continue
            if record["status"] not in ("ok", "interrupted"):
                self.fail(f"{mixer}: {record['status']}: {record.get('message')}")
            if record["status"] == "interrupted" and record["metrics"].get("steps_done", checkpoint_step(folder)) != checkpoint_step(folder):
                self.fail(f"{mixer}: interrupted at step {record['metrics']['steps_done']}, its checkpoint is of step {checkpoint_step(folder)}")


def compare(undisturbed, out):
    a, b = run_folders(undisturbed), run_folders(out)
    for mixer, folder in b.items():
        if metrics(a[mixer]) != metrics(folder):
            sys.exit(f"{mixer}: metrics.jsonl differs: {a[mixer]} {folder}")
        for name in ("checkpoint.safetensors", "model.safetensors"):
            if (a[mixer] / name).read_bytes() != (folder / name).read_bytes():
                sys.exit(f"{mixer}: {name} differs: {a[mixer]} {folder}")
        left = list(folder.glob("*.tmp.*"))
        if left:
            sys.exit(f"{mixer}: left behind: {left}")


def kill_while_a_checkpoint_is_written(run):
    while True:
        folder = run_folders(run.out)
        if folder and list(next(iter(folder.values())).glob("checkpoint.safetensors.tmp.*")):
            row = run.stop("KILL", "process")
            if row and list(next(iter(folder.values())).glob("checkpoint.safetensors.tmp.*")):
                return {**row, "while": "a checkpoint was written"}
            run.start()  # the checkpoint was done before the signal came
        if run.ended():
            run.fail("ended before a checkpoint was caught in the making; give it more --steps")


def stop_single_runs(scratch, program, base, undisturbed, signals, draw, duration):
    rows = []
    for mixer, options in MIXERS.items():
        config = scratch / f"{mixer}.json"
        config.write_text(json.dumps({**base, "mixer": mixer, "mixer_options": options, "task": "listops", "suite": "kills", "seed": 3}))
        run = Program(program, config, scratch / "single" / mixer, scratch / f"{mixer}.log")
        run.start()
        rows.append({"of": mixer, **kill_while_a_checkpoint_is_written(run)})
        for _ in range(signals // len(MIXERS) - 1):
            while True:  # what is done too early begins anew
                run.start()
                time.sleep(draw.uniform(0, 0.25) * duration[mixer])
                row = run.stop(draw.choice(CAUGHT), "process")
                if row:
                    break
                run.finish()
                compare(undisturbed, run.out)
                run.out = scratch / "single" / f"{mixer}-{len(rows)}"
                run.command[-1] = str(run.out)
            run.check_interrupted()
            rows.append({"of": mixer, **row})
            print(rows[-1], flush=True)
        run.start()
        run.finish()
        compare(undisturbed, run.out)
        print(f"{mixer}: the same bytes as undisturbed", flush=True)
    return rows


def stop_suites(scratch, program, config, undisturbed, signals, draw):
    targets = ["group"] * (2 * signals // 3) + ["process", "child"] * signals
    plan = list(zip(targets[:signals], (["KILL"] + CAUGHT) * signals))
    draw.shuffle(plan)
    rows = []
    for round_ in range(1000):
        out = scratch / f"suites{round_}"
        suites = [Program(program, config, out, scratch / f"suite{i}.log") for i in range(2)]
        for suite in suites:
            suite.start()
        while plan and not all(suite.ended() for suite in suites):
            time.sleep(draw.uniform(0, 2.5))
            suite = draw.choice(suites)
            to, name = plan[-1]
            row = suite.stop(name, to)
            if row is None:
                continue
            plan.pop()
            rows.append({"of": "suite", **row})
            print(rows[-1], flush=True)
            if suite.ended():
                suite.check_interrupted()
                suite.start()
        for suite in suites:
            suite.wait()
        suites[0].start()  # what a child that was stopped alone left
        suites[0].finish()
        if set(run_folders(out)) != set(MIXERS):
            sys.exit(f"{out}: lacks a run")
        compare(undisturbed, out)
        print(f"round {round_ + 1} of the suites: the same bytes as undisturbed", flush=True)
        if not plan:
            return rows, round_ + 1


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(root / "build/release/bin/lra-run"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--signals", type=int, default=60)
    parser.add_argument("--out", type=pathlib.Path, help="write the figures to this file")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    begun = time.monotonic()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="lra-kills-"))
    sizes = ["--train", "200", "--valid", "40", "--test", "40", "--min-length", "30", "--max-length", "120"]
    data = [arguments.program, "data", "prepare", "listops", "--data-dir", str(scratch / "data"), *sizes]
    subprocess.run(data, check=True, stdout=subprocess.DEVNULL)
    base = {"profile": "small", "data_dir": str(scratch / "data"), "seq_len": 120, "train_steps": arguments.steps, "warmup_steps": 50, "batch_size": 8,
            "eval_every": 30, "checkpoint_every": 20, "learning_rate": 1e-3, "threads": 1}
    config = scratch / "suite.json"
    mixers = [{"mixer": mixer, "mixer_options": options} for mixer, options in MIXERS.items()]
    config.write_text(json.dumps({**base, "suite": "kills", "tasks": ["listops"], "mixers": mixers, "seeds": [3]}))

    undisturbed = Program(arguments.program, config, scratch / "undisturbed", scratch / "undisturbed.log")
    undisturbed.start()
    undisturbed.finish()
    folders = run_folders(undisturbed.out)
    duration = {mixer: json.loads((folder / "result.json").read_text())["wall_seconds"] for mixer, folder in folders.items()}
    print("seconds undisturbed:", duration, flush=True)
    half = arguments.signals // 2
    rows = stop_single_runs(scratch, arguments.program, base, undisturbed.out, half, draw, duration)
    more, rounds = stop_suites(scratch, arguments.program, config, undisturbed.out, arguments.signals - half, draw)
    rows += more
    build = json.loads((folders["linear"] / "result.json").read_text())["build"]
    could = [row for row in rows if row["caught"]]
    summary = {"signals": len(rows), "to_groups": sum(row["to"] == "group" for row in rows), "caught": len(could),
               "caught_with_exit_130": sum(row.get("exit") == 130 for row in could), "steps_gone_back": 0, "files_that_differ": 0,
               "rounds_of_the_suites": rounds, "seed": arguments.seed, "steps": arguments.steps, "minutes": round((time.monotonic() - begun) / 60, 1),
               "revision": build["revision"], "dirty": build["dirty"]}
    print(summary)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n  ".join(json.dumps(row) for row in rows)
        arguments.out.write_text(f'{{"summary": {json.dumps(summary, indent=1)},\n "signals": [\n  {lines}\n]}}\n')


if __name__ == "__main__":
    main()
