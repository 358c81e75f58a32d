"""Our token mixers beside the public PyTorch implementations of the same mechanisms: both sides in one process, on one LibTorch, one round after another.

One mixing module with its projections: d 256, 4 heads, batch 2, forward and backward. One round measures scaled_dot_product_attention (SDPA) with its
projections, ours, theirs and, with the mode `compile`, theirs through torch.compile: of each one step that is not timed and --steps that are, beginning
with another side in each round. Ratios are of the medians of one round, so that a slow phase of the machine meets all; tables show the median over the
rounds and, in brackets, the lowest and the highest. Each mechanism has a process of its own, and another one with the mode `tuned`: glibc's malloc set
to keep freed memory. Run it on a quiet machine.

  peers.py --setup                           makes .venv-peers with the packages of requirements.txt
  .venv-peers/bin/python scripts/bench/peers.py [--mechanisms local,longformer] [--lengths 1024,2048,4096,8192] [--rounds 5] [--steps 3]
                                             [--modes default,tuned,compile] [--dtype float32] [--quick] [--out runs/peers]

Writes OUT/peers.json (everything), OUT/peers.md (tables) and OUT/bench (records for lra-report). Exit code 2: wrong input.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv-peers"
PROGRESS = "progress: "  # begins the lines of a process that are shown
TUNED = {"MALLOC_MMAP_THRESHOLD_": str(1 << 34), "MALLOC_TRIM_THRESHOLD_": str(1 << 34), "MALLOC_TOP_PAD_": str(1 << 26)}
PROFILE = "module"  # of the records


def fail(sentence: str) -> None:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


def write(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


# --- the environment


def set_up() -> None:
    """.venv-peers with the CPU build of torch, which is named so that gigabytes of CUDA are never taken for it."""
    pip = [str(VENV / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    requirements = pathlib.Path(__file__).with_name("requirements.txt")
    torch = next(line.strip() for line in requirements.read_text().splitlines() if line.startswith("torch=="))
    commands = [
        [[sys.executable, "-m", "venv", str(VENV)]],
        [[*pip, torch + "+cpu"], [*pip, "--extra-index-url", "https://download.pytorch.org/whl/cpu", torch + "+cpu"], [*pip, torch]],
        [[*pip, "-r", str(requirements)]],
    ]
    for alternatives in commands:
        for command in alternatives:
            print("$ " + " ".join(command), flush=True)
            if subprocess.run(command).returncode == 0:
                break
        else:
            fail(f"{' '.join(alternatives[-1])} failed; its message is above")
    print(f"ready: {VENV.relative_to(ROOT)}/bin/python scripts/bench/peers.py")


# --- one process: one mechanism, one malloc


def run_process(task: dict, sides: list[str]) -> dict:
    """Its result; where it ended early, all sides of the lengths that it did not reach have failed for the reason that it ended for."""
    environment = os.environ | (TUNED if task["malloc"] == "tuned" else {})
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as errors:
        path = pathlib.Path(folder) / "result.json"
        command = [sys.executable, str(pathlib.Path(__file__).with_name("peer_process.py")), json.dumps(task | {"result": str(path), "prefix": PROGRESS})]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
        for line in process.stdout:
            if line.startswith(PROGRESS):
                print(line[len(PROGRESS) :], end="", flush=True)
        code = process.wait()
        result = json.loads(path.read_text()) if path.exists() else {"lengths": {}}
        errors.seek(0)
        message = f"the process was ended by signal {-code}" if code < 0 else (errors.read().strip() or "no message").splitlines()[-1][:200]
    for n in task["lengths"]:
        if str(n) not in result["lengths"]:
            print(f"{task['mechanism']} N {n}, {task['malloc']} malloc: {message}", flush=True)
            failed = {"status": "failed", "message": message, "seconds": [], "inference_seconds": []}
            result["lengths"][str(n)] = {"sides": {side: failed for side in sides}}
    return result


# --- numbers


def milliseconds(side: dict) -> float:
    return 1000 * statistics.median(second for one_round in side["seconds"] for second in one_round)


def ratios(side: dict, reference: dict) -> list[float]:
    """Of the times of each round."""
    return [statistics.median(a) / statistics.median(b) for a, b in zip(side["seconds"], reference["seconds"])]


def spread(values: list[float]) -> str:
    middle = f"{statistics.median(values):.2f}"
    return middle if len(values) < 2 else f"{middle} ({min(values):.2f}–{max(values):.2f})"


def table(n: int, everything: dict) -> str:
    """One row for each implementation; — where something was not measured or has failed."""
    modes, rounded = everything["settings"]["modes"], everything["settings"]["dtype"] == "bf16"
    mallocs = [malloc for malloc in ("default", "tuned") if malloc in modes]
    columns = ["mechanism", "public implementation", "theirs, ms", "ours, ms"]
    for malloc in mallocs:
        columns += [("" if malloc == "default" else "tuned: ") + column for column in ["ours ÷ SDPA", "theirs ÷ ours"] + ["compiled ÷ ours"] * ("compile" in modes)]
    columns += ["ours ÷ SDPA in float32"] * rounded
    columns += ["MB: theirs / compiled / ours" if "compile" in modes else "MB: theirs / ours", "results differ by"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    failures = []
    for mechanism, by_malloc in everything["results"].items():
        sides = {malloc: result["lengths"][str(n)]["sides"] for malloc, result in by_malloc.items()}
        for malloc, by_name in sides.items():
            failures += [f"- {mechanism}, {name}, {malloc} malloc: {side['message']}" for name, side in by_name.items() if side["status"] != "ok"]
        for peer, differs in everything["peers"][mechanism].items():

            def ratio(malloc: str, name: str, reference: str) -> str:
                found = [sides[malloc].get(side, {}) for side in (name, reference)]
                return spread(ratios(*found)) if all(side.get("status") == "ok" for side in found) else "—"

            def value(name: str, number) -> str:
                side = sides["default"].get(name, {})
                return number(side) if side.get("status") == "ok" else "—"

            compiled = [peer + ", compiled"] * ("compile" in modes)
            cells = [mechanism, peer]
            cells += [value(name, lambda side: f"{milliseconds(side):.1f}") for name in (peer, "ours")]
            for malloc in mallocs:
                cells += [ratio(malloc, "ours", "sdpa"), *[ratio(malloc, name, "ours") for name in [peer, *compiled]]]
            cells += [ratio("default", "ours", "sdpa, float32")] * rounded
            cells.append(" / ".join(value(name, lambda side: f"{side['peak_bytes'] / 1e6:.0f}") for name in [peer, *compiled, "ours"]))
            difference = sides["default"][peer].get("difference")
            cells.append("other formula" if differs else "—" if difference is None else f"{difference:.0e}".replace("0e+00", "0"))
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines + (["", "Failed:", "", *failures] if failures else [])) + "\n"


def markdown(everything: dict) -> str:
    settings = everything["settings"]
    text = (
        f"One mixing module with its projections, d {settings['d_model']}, {settings['num_heads']} heads, batch {settings['batch_size']}, {settings['dtype']}, forward and "
        f"backward, {everything['host']['threads']} threads of {everything['host']['cpu']}, PyTorch {everything['versions']['torch']}. Both sides, and SDPA with projections, "
        f"ran in one process, in turn, {settings['steps']} steps each in {settings['rounds']} rounds; ratios are of one round's medians: their median (lowest–highest). Compiled: "
        "theirs through torch.compile. Tuned: with glibc's malloc told to keep freed memory, on all sides. MB: the peak of what a step allocates beyond weights and input, "
        "10⁶ bytes. Results: the largest difference of outputs and input gradients with the same weights, relative to the largest of them; only where both have the same "
        "formula. Some of theirs have biases in their projections, ours have none.\n"
    )
    for n in settings["lengths"]:
        reference = [by_malloc["default"]["lengths"][str(n)]["sides"]["sdpa"] for by_malloc in everything["results"].values()]
        reference = [side for side in reference if side["status"] == "ok"]
        times = sorted(map(milliseconds, reference))
        said = f" (SDPA: {times[0]:.0f} to {times[-1]:.0f} ms, {reference[0]['peak_bytes'] / 1e6:.0f} MB)" if reference else ""
        text += f"\n### {n} tokens{said}\n\n" + table(n, everything)
    differing = [f"- {mechanism}, {peer}: {what}\n" for mechanism in everything["results"] for peer, what in everything["peers"][mechanism].items() if what]
    return text + ("\nOther formulas:\n\n" + "".join(differing) if differing else "")


# --- records for lra-report


def measured(samples: list[float]) -> dict:
    """As lib/core/record.cpp: median, interquartile range and at most 200 samples."""
    ordered, kept = sorted(samples), min(len(samples), 200)

    def quantile(q: float) -> float:
        place = q * (len(ordered) - 1)
        above = min(int(place) + 1, len(ordered) - 1)
        return ordered[int(place)] + (place - int(place)) * (ordered[above] - ordered[int(place)])

    return {"median": quantile(0.5), "spread": quantile(0.75) - quantile(0.25), "count": len(samples),
            "samples": [samples[i * len(samples) // kept] for i in range(kept)]}  # fmt: skip


def record(everything: dict, mechanism: str, name: str, n: int) -> dict:
    settings, process = everything["settings"], everything["results"][mechanism]["default"]
    side, differs = process["lengths"][str(n)]["sides"][name], everything["peers"][mechanism].get(name)
    display = json.loads((ROOT / f"configs/mixers/{mechanism}.json").read_text())["display_name"]
    suffix = "" if name == "ours" else f" ({name})"
    seconds = [second for one_round in side["seconds"] for second in one_round]
    batch = settings["batch_size"]
    config = {
        "kind": "bench", "task": "bytes", "mixer": mechanism, "variant": mechanism + suffix, "display_name": display + suffix, "profile": PROFILE, "seq_len": n,
        "num_layers": 1, "d_model": settings["d_model"], "d_qkv": settings["d_model"], "num_heads": settings["num_heads"], "seed": 0, "train_steps": 0,
        "batch_size": batch, "precision": settings["dtype"], "selection": "last", "device": "cpu", "threads": settings["threads"],
        "measure_warmup_steps": settings["warmup_steps"], "measure_steps": len(seconds), "mixer_options": everything["options"][mechanism][str(n)] if name == "ours" else {},
    }  # fmt: skip
    result = {"schema_version": 1, "status": side["status"]}
    if side["status"] != "ok":
        result["message"] = side["message"]
    result |= {key: config[key] for key in ("kind", "task", "mixer", "variant", "display_name", "profile", "seed")}
    result |= {"sequence_length": n, "metrics": {}, "speed": {}, "memory": {}}
    if side["status"] == "ok":
        result["metrics"] = {"steps_done": settings["warmup_steps"] + len(seconds)}
        result["speed"] = {
            "train_steps_per_second": measured([1 / second for second in seconds]),
            "train_examples_per_second": measured([batch / second for second in seconds]),
            "inference_examples_per_second": measured([batch / second for second in side["inference_seconds"]]),
        }
        weights_and_input = 4 * (side["parameters"] + batch * n * settings["d_model"])
        result["memory"] = {"peak_tensor_bytes": side["peak_bytes"] + weights_and_input, "peak_rss_bytes": process["peak_rss_bytes"]}
        result["parameters"] = side["parameters"]
    notes = ["one mixing module with its projections, no model around it (scripts/bench/peers.py); memory of the process is that of all implementations that ran in it"]
    return result | {
        "notes": notes + ([f"the public implementation computes something else: {differs}"] if differs else []),
        "wall_seconds": round(side.get("warmup_seconds", 0) + sum(seconds) + sum(side["inference_seconds"]) + 0.001, 3),
        "host": everything["host"], "build": everything["build"], "data": {"generator": "normal numbers"}, "config": config,
    }  # fmt: skip


def write_everything(out: pathlib.Path, everything: dict) -> None:
    write(out / "peers.json", json.dumps(everything, indent=1) + "\n")
    write(out / "peers.md", markdown(everything))
    shutil.rmtree(out / "bench", ignore_errors=True)
    for mechanism in everything["results"]:
        for n in everything["settings"]["lengths"]:
            for name in ("ours", *everything["peers"][mechanism]):
                made = record(everything, mechanism, name, n)
                folder = out / "bench/bytes" / PROFILE / made["variant"] / f"n{n}b{made['config']['batch_size']}"
                write(folder / "result.json", json.dumps(made, indent=2) + "\n")


def host(threads: int) -> dict:
    def value(path: str, key: str) -> str:
        lines = [line.split(separator, 1) for line in open(path, encoding="utf-8") for separator in ":=" if separator in line]
        return next((right.strip().strip('"') for left, right in lines if left.strip() == key), "")

    return {
        "name": platform.node(), "os": value("/etc/os-release", "PRETTY_NAME"), "kernel": platform.release(), "cpu": value("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)), "memory_bytes": 1024 * int(value("/proc/meminfo", "MemTotal").split()[0]), "load_average": os.getloadavg()[0],
        "device": "cpu", "threads": threads, "allocator": "glibc",
    }  # fmt: skip


# --- the command line


class Parser(argparse.ArgumentParser):
    def error(self, message):
        fail(message)


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setup", action="store_true", help="make .venv-peers and stop")
    parser.add_argument("--mechanisms", help="names of our mixers, with commas (default: all that have a peer)")
    parser.add_argument("--lengths", default="1024,2048,4096,8192")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="timed ones of one implementation in one round")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's default, all cores")
    parser.add_argument("--dtype", choices=["float32", "bf16"], default="float32", help="bf16: autocast, on all sides")
    parser.add_argument("--modes", default="default,tuned,compile", help="what is measured besides `default`")
    parser.add_argument("--quick", action="store_true", help="1024 tokens, two short rounds, default malloc only: does everything run?")
    parser.add_argument("--library", default="build/release/bin/liblra_mixers.so")
    parser.add_argument("--out", default="runs/peers")
    args = parser.parse_args()
    if args.setup:
        return set_up()
    if args.quick:
        args.lengths, args.rounds, args.steps, args.modes = "1024", 2, 1, "default"

    try:
        import torch
        from peer_modules import BATCH, HEADS, LENGTH_MULTIPLE, MECHANISMS, WARMUP_STEPS, WIDTH
    except ModuleNotFoundError as error:
        fail(f"{error}: make the environment with `{parser.prog} --setup`, then start this with .venv-peers/bin/python")
    names = args.mechanisms.split(",") if args.mechanisms else list(MECHANISMS)
    for name in names:
        if name not in MECHANISMS:
            fail(f"unknown mechanism '{name}': use some of {', '.join(MECHANISMS)}")
    try:
        lengths = [int(length) for length in args.lengths.split(",")]
    except ValueError:
        lengths = [0]
    if any(n < 1 or n % LENGTH_MULTIPLE for n in lengths) or len(set(lengths)) < len(lengths):
        fail(f"--lengths is '{args.lengths}': expected different multiples of {LENGTH_MULTIPLE} with commas")
    modes = args.modes.split(",")
    if not {"default"} <= set(modes) <= {"default", "tuned", "compile"}:
        fail(f"--modes is '{args.modes}': expected default, and tuned or compile besides it, with commas")
    if args.rounds < 1 or args.steps < 1 or args.threads < 0:
        fail("--rounds and --steps must be positive, --threads not negative")
    out = ROOT / args.out
    if out.is_dir() and any(out.iterdir()) and not (out / "peers.json").exists():
        fail(f"{args.out} holds something else than results of this program: name an empty folder with --out")
    library = ROOT / args.library
    try:
        torch.classes.load_library(str(library))
    except OSError as error:
        fail(f"{args.library} cannot be loaded ({str(error).splitlines()[0]}): build it with `ninja -C build/release lra_mixers`")
    build = json.loads(torch.classes.lra.Mixer.build())
    if build["libtorch"].split("+")[0] != torch.__version__.split("+")[0]:
        fail(f"{args.library} was built with LibTorch {build['libtorch']}, this Python has torch {torch.__version__}: they must be the same version")

    task = {"library": str(library), "lengths": lengths, "rounds": args.rounds, "steps": args.steps, "threads": args.threads, "dtype": args.dtype}
    requirements = pathlib.Path(__file__).with_name("requirements.txt").read_text().splitlines()
    packages = [line.split("==")[0] for line in requirements if "==" in line]
    everything = {
        "what": "seconds of training steps (forward and backward) of one mixing module, by round",
        "settings": {"d_model": WIDTH, "num_heads": HEADS, "batch_size": BATCH, "modes": modes, "tuned": TUNED, "warmup_steps": WARMUP_STEPS}
        | {key: task[key] for key in task if key != "library"},
        "host": host(args.threads or torch.get_num_threads()),
        "build": build,
        "versions": {d.metadata["Name"]: d.version for d in importlib.metadata.distributions() if d.metadata["Name"] in packages},
        "options": {name: {str(n): MECHANISMS[name].options(n) for n in lengths} for name in names},
        "peers": {name: {peer.name: peer.differs for peer in MECHANISMS[name].peers} for name in names},
        "results": {},
    }
    for name in names:
        sides = ["sdpa", "ours", *everything["peers"][name]]
        everything["results"][name] = {
            malloc: run_process(task | {"mechanism": name, "malloc": malloc, "compile": "compile" in modes}, sides)
            for malloc in ["default"] + ["tuned"] * ("tuned" in modes)
        }
        write_everything(out, everything)  # after each, so that an interrupted run has left what it measured
    print("\n" + markdown(everything) + f"\nwritten to {args.out}")


if __name__ == "__main__":
    main()
