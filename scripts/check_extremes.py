#!/usr/bin/env python3
"""Gives lra-run extreme values of every key of its configuration, of the mixers' options and of its commands, and checks how it ends.

    scripts/check_extremes.py [--program build/release/bin/lra-run] [--only TEXT] [--out results/extremes]

The keys and their ranges come from `lra-run schema`. Every call must end by itself within a minute, below 4 GiB, with exit code 0, 2 (one line `error: ...`) or 3
(a record that says what became of the run), and without a backtrace. `ulimit -v` makes 4 GiB of the machine. Prints what did not, and the counts; ends with exit
code 1 if there is any such call. Python's standard library only.
"""

import argparse
import collections
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
GIB = 1 << 30
MEMORY = 4 * GIB
# Small, so that only the extreme value counts; the time limit ends what is long by its nature.
BENCH = {"kind": "bench", "task": "bytes", "mixer": "linear", "profile": "small", "seq_len": 128, "batch_size": 2, "measure_warmup_steps": 0, "measure_steps": 1,
         "threads": 1, "time_limit_minutes": 0.05}
TRAIN = {"task": "listops", "data_dir": "data/tiny", "mixer": "linear", "profile": "small", "seq_len": 128, "batch_size": 4, "train_steps": 2, "warmup_steps": 1,
         "eval_every": 1, "threads": 1, "time_limit_minutes": 0.05}
TEXTS = {"data_dir", "device", "variant", "display_name", "suite", "summary"}


def extremes(schema):
    """Values at and beyond the ends of a key's range, and large ones within."""
    kind = schema.get("type")
    if kind == "integer":
        low, high = schema["minimum"], schema["maximum"]
        inside = [v for v in (low, low + 1, 7, 1000, 65536, 2**20 + 1, 10**9, high - 1, high) if low <= v <= high]
        return list(dict.fromkeys(inside + [low - 1, high + 1, 2**63 - 1, -2**63, 2**64]))
    if kind == "number":
        low, high = schema.get("minimum", -1e308), schema.get("maximum", 1.7e308)
        return [low, high, 5e-324, 1e-30, 1.0, 1e30, 3.3e38, 1e39, -1.0, 2 * high if high < 1e308 else 1e400]
    return schema.get("enum", [])


def cases(schema, program):
    """(what, arguments, base configuration)"""
    keys = {k: v for k, v in schema["properties"].items() if v.get("type") in ("integer", "number")}
    for key, values in keys.items():
        for value in extremes(values):
            yield f"bench {key}", [f"{key}={value}"], BENCH
            if key not in ("measure_steps", "measure_warmup_steps", "profile_steps"):
                yield f"train {key}", [f"{key}={value}"], TRAIN
    for condition in schema["allOf"]:
        mixer = condition["if"]["properties"].get("mixer", {}).get("const")
        if mixer is None:
            continue
        options = condition["then"]["properties"]["mixer_options"]["properties"]
        choices = [[]] + [[f"mixer_options.{name}={choice}"] for name, option in options.items() for choice in (option.get("enum", []) or
                          ([json.dumps(not option["default"])] if option.get("type") == "boolean" else []))]
        for name, option in options.items():
            for value in extremes(option) if option.get("type") in ("integer", "number") else []:
                for choice in choices:
                    yield f"{mixer} {name}", [f"mixer={mixer}", f"mixer_options.{name}={value}", *choice], BENCH
        # Every mixer at lengths, widths, heads and batches of all sizes.
        for key in ("seq_len", "d_model", "d_qkv", "num_heads", "num_layers", "batch_size"):
            for value in (1, 2, 3, 1000, 65536, 2**20 + 1, 10**9, 2**31 - 1):
                yield f"{mixer} {key}", [f"mixer={mixer}", f"{key}={value}"], BENCH
        yield f"{mixer} narrow and long", [f"mixer={mixer}", "d_model=1", "d_qkv=2", "num_heads=1", "d_ff=1", "seq_len=300000", "num_layers=1"], BENCH
        yield f"{mixer} wide heads", [f"mixer={mixer}", "d_model=1", f"d_qkv={2**31 - 2}", f"num_heads={2**30 - 1}"], BENCH
    pairs = [("vocab_size", "d_model"), ("seq_len", "batch_size"), ("num_layers", "d_ff"), ("d_model", "d_ff"), ("seq_len", "d_model")]
    for a, b in pairs:
        for positions in ("sinusoid", "learned"):
            yield f"{a} and {b}", [f"{a}={2**31 - 1}", f"{b}={2**31 - 1}", f"positions={positions}"], BENCH
    for checkpointed in (True, False):
        yield "layers", ["num_layers=100000", "d_model=2", "d_ff=2", f"checkpoint_layers={json.dumps(checkpointed)}", "num_heads=1", "d_qkv=2"], BENCH
    lengths = ["1", "0", "-1", str(2**31 - 1), str(2**31), str(2**63 - 1), str(2**64), "1e9", "nan"]
    for n in lengths:
        yield "bench --lengths", ["bench", "--mixers", "linear,softmax", "--lengths", n, "--time-limit-minutes", "0.05"], None
        yield "bench --batch", ["bench", "--mixers", "linear", "--lengths", "64", "--batch", n, "--time-limit-minutes", "0.05"], None
        yield "bench --memory-limit-gb", ["bench", "--mixers", "linear", "--lengths", "64", "--memory-limit-gb", n, "measure_steps=1"], None
        yield "atlas --n", ["atlas", "--mixer", "linear", "--n", n], None
        yield "atlas --seed", ["atlas", "--mixer", "linear", "--n", "4", "--seed", n], None
        yield "data show", ["data", "show", "listops", n, "--data-dir", "data/tiny"], None
        for option in ("--train", "--valid", "--test", "--max-length", "--min-length", "--max-depth", "--max-args", "--seed"):
            if n not in ("1", str(2**31 - 1)) or option not in ("--train", "--valid", "--test"):
                yield f"data prepare {option}", ["data", "prepare", "listops", "--train", "2", "--valid", "2", "--test", "2", option, n, "--data-dir", "DATA"], None
    for condition in schema["allOf"]:
        mixer = condition["if"]["properties"].get("mixer", {}).get("const")
        for name, option in condition["then"]["properties"].get("mixer_options", {}).get("properties", {}).items():
            for value in extremes(option) if option.get("type") in ("integer", "number") else []:
                yield f"atlas {mixer} {name}", ["atlas", "--mixer", mixer, "--n", "8", f"mixer_options.{name}={value}"], None


def watched(command, seconds):
    """Exit code (text for what was killed), standard error, seconds, and the most memory; the process has 4 GiB of addresses."""
    limited = not any(part.startswith("threads=") and part[8:].isdigit() and int(part[8:]) > 16 for part in command)
    limit = (lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))) if limited else None
    start, most, killed = time.monotonic(), 0, ""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, cwd=ROOT, preexec_fn=limit)
        while process.poll() is None:
            try:
                pages = int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[1])
                most = max(most, pages * resource.getpagesize())
            except (OSError, IndexError):
                pass
            if most > MEMORY or time.monotonic() - start > seconds:
                killed = f"killed with {most / GIB:.1f} GiB after {time.monotonic() - start:.0f} s"
                process.kill()
            time.sleep(0.01)
        errors.seek(0)
        return killed or process.returncode, errors.read(), time.monotonic() - start, most


def judge(code, errors, out):
    """("ok" or what is wrong, how it ended)"""
    told = [line for line in errors.splitlines() if line.startswith(("error:", "hint:"))]
    if code not in (0, 2, 3):
        return f"exit code {code}: {(told or errors.splitlines() or [''])[0][:300]}", "wrong"
    if "frame #" in errors or "fault of lra-run" in errors or "terminate called" in errors:
        return "a backtrace or a fault", "wrong"
    if code == 2 and len([line for line in told if line.startswith("error:")]) != 1:
        return f"no line of error: {errors[:300]}", "wrong"
    if code != 3:
        return "ok", "done" if code == 0 else "refused"
    records = [json.loads(file.read_text()) for file in out.glob("**/result.json")]
    if not records:
        return "exit code 3 without a record", "wrong"
    for record in records:
        if record["status"] == "failed" or "\n" in record.get("message", ""):
            return f"status {record['status']}: {record.get('message', '')[:300]}", "wrong"
    return "ok", "/".join(sorted({record["status"] for record in records if record["status"] != "ok"}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=str(ROOT / "build/release/bin/lra-run"))
    parser.add_argument("--only", default="", help="cases whose name has this text")
    parser.add_argument("--every", type=int, default=1, help="only each so-manieth case")
    parser.add_argument("--seconds", type=float, default=60, help="the longest that a call may take")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    schema = json.loads(subprocess.run([arguments.program, "schema"], capture_output=True, text=True, check=True, cwd=ROOT).stdout)
    counts, wrong, slowest, largest, number = collections.Counter(), [], 0.0, 0, 0
    for i, (what, options, base) in enumerate(cases(schema, arguments.program)):
        if arguments.only not in what or i % arguments.every:
            continue
        number += 1
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "out"
            options = [option.replace("DATA", folder + "/data") for option in options]
            command = [arguments.program]
            if base is not None:
                (pathlib.Path(folder) / "base.json").write_text(json.dumps(base))
                command += ["--config", folder + "/base.json", "--out", str(out), *options]
            else:
                command += [*options[:1], *(["--out", str(out)] if options[0] in ("bench", "atlas") else []), *options[1:]]
            code, errors, seconds, most = watched(command, arguments.seconds)
            problem, ended = judge(code, errors, out)
        counts[ended] += 1
        slowest, largest = max(slowest, seconds), max(largest, most)
        if problem != "ok":
            wrong.append({"case": what, "options": options, "problem": problem})
            print(f"{what}: {' '.join(options)}: {problem}", flush=True)
    summary = {"calls": number, "every": arguments.every, "ended": dict(sorted(counts.items())), "wrong": wrong, "slowest_seconds": round(slowest, 1), "most_bytes": largest}
    print(json.dumps({key: value for key, value in summary.items() if key != "wrong"}))
    if arguments.out:
        out = pathlib.Path(arguments.out)
        out.mkdir(parents=True, exist_ok=True)
        (out / "extremes.json").write_text(json.dumps(summary, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
