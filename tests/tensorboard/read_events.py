"""Reads the event files of training runs with TensorBoard and compares every scalar with metrics.jsonl.

    .venv/bin/python tests/tensorboard/read_events.py build/release/bin/lra-run

One run is killed when it is some lines past its checkpoint, and goes on twice: as it is, watched by a TensorBoard from before, and without its event file.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

try:
    import numpy
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError as error:
    print(f"skipped: {sys.executable} has no TensorBoard ({error}); scripts/test.sh installs it")
    sys.exit(4)


def series_in_metrics(folder):
    series = {}
    for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
        step, split = line.pop("step"), line.pop("split")
        for name, value in line.items():
            series.setdefault(f"{split}/{name}", []).append((step, float(numpy.float32(value))))
    return series


def open_events(folder):
    return EventAccumulator(str(folder), size_guidance={"scalars": 0})  # 0: all


def series_in_events(events):
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def check(what, found, expected):
    for tag in sorted(found.keys() | expected.keys()):
        if found.get(tag) != expected.get(tag):
            sys.exit(f"{what}: TensorBoard reads {tag} as\n{found.get(tag)}\nmetrics.jsonl has\n{expected.get(tag)}")
    print(f"{what}: {len(found)} series, {sum(map(len, found.values()))} values as in metrics.jsonl")


def lines_to_cut(folder):
    """So many lines of metrics.jsonl the run would write again."""
    checkpoint = folder / "checkpoint.safetensors"
    if not checkpoint.exists():
        return 0
    with checkpoint.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return len((folder / "metrics.jsonl").read_text().splitlines()) - json.loads(header["__metadata__"]["state"])["metrics_lines"]


def main():
    program, scratch = sys.argv[1], pathlib.Path(tempfile.mkdtemp(prefix="lra-tensorboard-"))
    try:
        sizes = ["--train", "64", "--valid", "8", "--test", "8", "--min-length", "5", "--max-length", "40"]
        subprocess.run([program, "data", "prepare", "listops", "--data-dir", scratch / "data", *sizes], check=True, stdout=subprocess.DEVNULL)
        config = scratch / "run.json"
        config.write_text(json.dumps({
            "task": "listops", "mixer": "linear", "profile": "small", "data_dir": str(scratch / "data"), "seq_len": 40, "batch_size": 4, "train_steps": 250,
            "warmup_steps": 5, "learning_rate": 1e-3, "eval_every": 4, "checkpoint_every": 100, "threads": 1, "device": "cpu"}))

        def start(out):
            return subprocess.Popen([program, "--config", config, "--out", out], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

        out = scratch / "runs"
        folder = None
        while folder is None or lines_to_cut(folder) < 3:
            process = start(out)
            while (folder is None or lines_to_cut(folder) < 3) and process.poll() is None:
                time.sleep(0.005)
                folder = next((path.parent for path in out.rglob("config.json")), None)
            if process.poll() is not None:
                sys.exit(f"the run ended with {process.returncode} before it could be killed")
            process.kill()
            process.wait()
        watching = open_events(folder)
        series_in_events(watching)
        print(f"killed {lines_to_cut(folder)} lines after its checkpoint")

        shutil.copytree(out, scratch / "without")
        for path in (scratch / "without").rglob("*tfevents*"):
            path.unlink()
        for what, runs in (("resumed", out), ("resumed without its event file", scratch / "without")):
            if start(runs).wait() != 0:
                sys.exit(f"{what}: the run failed")
            run = runs / folder.relative_to(out)
            expected = series_in_metrics(run)
            if len(expected["train/loss"]) != 63 or len(expected["valid/accuracy"]) != 63 or len(expected["test/accuracy"]) != 1:
                sys.exit(f"{what}: expected 63 evaluations and a test in metrics.jsonl")
            check(what, series_in_events(open_events(run)), expected)
        # What it had read before the kill it keeps: only the speeds of those steps are others.
        without_speeds = lambda series: {tag: values for tag, values in series.items() if not tag.endswith("examples_per_second")}
        check("watched", without_speeds(series_in_events(watching)), without_speeds(series_in_metrics(folder)))
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
