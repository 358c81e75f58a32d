"""Our token mixers beside the public PyTorch implementations of the same mechanisms: in one process, on one LibTorch, one round after another.

One mixing module with its projections: d 256, 4 heads, batch 2, forward and backward. One round measures scaled_dot_product_attention (SDPA) with its
projections, ours, theirs and, with the mode `compile`, theirs through torch.compile. Ratios are taken within a round, so that a slow phase of the machine
meets all; tables show their medians and, in brackets, the lowest and the highest. Each mechanism has a process of its own, another one with the mode
`tuned`: glibc's malloc set to keep freed memory. Run it on a quiet machine.

  peers.py --setup                           makes .venv-peers with the packages of requirements.txt
  .venv-peers/bin/python scripts/bench/peers.py [--mechanisms local,longformer] [--lengths 1024,2048,4096,8192] [--rounds 5]
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
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv-peers"
WARMUP_STEPS = 2
MOST_STEPS = 10  # of one side in one round
PROGRESS = "progress: "  # begins the lines of a child that are shown
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


# --- one child process: one mechanism, one malloc


class Side:
    """One implementation: what is called, and what was measured."""

    def __init__(self, name: str, make):
        self.name, self.make, self.step_of_training, self.message = name, make, 0, ""
        self.seconds: list[list[float]] = []  # of training steps, by round
        self.inference_seconds: list[float] = []
        self.facts: dict = {}

    def guarded(self, action) -> None:
        """Runs `action` unless the side has failed; a failure is a result."""
        if self.message:
            return
        try:
            action()
        except ModuleNotFoundError as error:
            self.message = f"not installed: {error}"
        except Exception as error:  # noqa: BLE001: whatever a package raises
            self.message = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0][:200]}"

    def result(self) -> dict:
        result = {"status": "failed", "message": self.message} if self.message else {"status": "ok"}
        return result | self.facts | {"seconds": self.seconds, "inference_seconds": self.inference_seconds}


def child(task: dict) -> None:
    import torch

    from peer_modules import BATCH, HEADS, MECHANISMS, WIDTH, Peer, sdpa

    torch.classes.load_library(task["library"])
    if task["threads"]:
        torch.set_num_threads(task["threads"])
    mechanism = MECHANISMS[task["mechanism"]]

    class Ours:
        def __init__(self, n: int):
            self.mixer = torch.classes.lra.Mixer(task["mechanism"], json.dumps(mechanism.options(n)), WIDTH, HEADS, n, False, 0)
            self.weights, self.lengths = self.mixer.parameters(), [n] * BATCH
            self.begin_training_step, self.end_training_step = self.mixer.begin_training_step, self.mixer.end_training_step

        def __call__(self, x):
            return self.mixer.forward(x.view(-1, WIDTH), self.lengths).view(x.shape)

        def parameters(self):
            return self.weights.values()

        def train(self, on: bool = True):
            self.mixer.train(on)
            return self

    autocast = lambda: torch.autocast("cpu", torch.bfloat16, enabled=task["dtype"] == "bf16")  # noqa: E731

    def train_step(side: Side, x, gradient) -> float:
        module = side.module
        start = time.perf_counter()
        if hasattr(module, "begin_training_step"):
            module.begin_training_step(side.step_of_training)
        with autocast():
            out = side.call(x)
        out = out if isinstance(out, tuple) else (out,)  # a second element is a loss
        torch.autograd.backward(out, [gradient.to(out[0].dtype), *[None] * (len(out) - 1)])
        if hasattr(module, "end_training_step"):
            module.end_training_step()
        seconds = time.perf_counter() - start
        side.step_of_training += 1
        for tensor in (x, *module.parameters()):
            tensor.grad = None
        return seconds

    def infer(side: Side, x) -> float:
        side.module.train(False)
        with torch.no_grad(), autocast():
            start = time.perf_counter()
            side.call(x)
            seconds = time.perf_counter() - start
        side.module.train(True)
        return seconds

    def peak_bytes(side: Side, x, gradient) -> int:
        """What a training step allocates at most beyond the module's parameters and its input."""
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            train_step(side, x, gradient)
        now = most = 0
        for event in sorted((e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()):
            now += event.nbytes()
            most = max(most, now)
        return most

    def difference(peer: Peer, n: int, x) -> float:
        """Largest difference of the outputs with the same weights, relative to the largest output; theirs have no biases but those that ours have."""
        ours, theirs = Ours(n), peer.make(n).eval()
        ours.train(False)
        with torch.no_grad():
            for name, parameter in theirs.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
            for our_name, name in peer.same.items():
                parameter = theirs.get_parameter(name)
                parameter.copy_(ours.weights[our_name].view_as(parameter))
            a, b = ours(x), theirs(x)
        return ((a - b).abs().max() / a.abs().max()).item()

    def measure(n: int) -> dict:
        torch.manual_seed(0)
        x, gradient = torch.randn(BATCH, n, WIDTH, requires_grad=True), torch.randn(BATCH, n, WIDTH)
        sides = [Side("sdpa", sdpa), Side("ours", Ours)]
        for peer in mechanism.peers:
            side = Side(peer.name, peer.make)
            side.facts["differs"] = peer.differs
            if peer.same is not None and n == min(task["lengths"]) and task["malloc"] == "default":
                side.guarded(lambda side=side, peer=peer: side.facts.update(difference=difference(peer, n, x)))
            sides.append(side)
            if task["compile"]:
                sides.append(Side(side.name + ", compiled", peer.make))

        def prepare(side: Side) -> None:
            start = time.perf_counter()
            side.module = side.make(n).train()
            side.call = torch.compile(side.module, dynamic=False) if side.name.endswith(", compiled") else side.module
            side.facts["parameters"] = sum(p.numel() for p in side.module.parameters())
            for _ in range(WARMUP_STEPS):
                last = train_step(side, x, gradient)
            side.facts["warmup_seconds"] = time.perf_counter() - start
            side.facts["peak_bytes"] = peak_bytes(side, x, gradient)
            side.steps = max(1, min(MOST_STEPS, round(task["seconds"] / last)))

        def one_round(side: Side) -> None:
            side.seconds.append([train_step(side, x, gradient) for _ in range(side.steps)])
            if not side.name.endswith(", compiled"):
                side.inference_seconds += [infer(side, x) for _ in range(side.steps)]

        start = time.perf_counter()
        torch._dynamo.reset()
        for side in sides:
            side.guarded(lambda side=side: prepare(side))
        for _ in range(task["rounds"]):
            for side in sides:
                side.guarded(lambda side=side: one_round(side))
        shown = ", ".join(f"{side.name} {side.message or f'{milliseconds(side.result()):.1f} ms'}" for side in sides)
        print(f"{PROGRESS}{task['mechanism']} N {n}, {task['malloc']} malloc: {shown}", flush=True)
        return {"wall_seconds": time.perf_counter() - start, "sides": {side.name: side.result() for side in sides}}

    result = {"threads": torch.get_num_threads(), "lengths": {}}
    for n in task["lengths"]:
        result["lengths"][n] = measure(n)
        with open("/proc/self/status", encoding="ascii") as status:
            result["peak_rss_bytes"] = next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
        write(pathlib.Path(task["result"]), json.dumps(result))


def run_child(task: dict) -> dict:
    """The child's result; lengths that it did not reach have failed for the reason that it ended for."""
    environment = os.environ | (TUNED if task["malloc"] == "tuned" else {})
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as errors:
        path = pathlib.Path(folder) / "result.json"
        command = [sys.executable, str(pathlib.Path(__file__).resolve()), "--child", json.dumps(task | {"result": str(path)})]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
        for line in process.stdout:
            if line.startswith(PROGRESS):
                print(line[len(PROGRESS) :], end="", flush=True)
        code = process.wait()
        result = json.loads(path.read_text()) if path.exists() else {"lengths": {}}
        if code:
            errors.seek(0)
            last = (errors.read().strip() or "no message").splitlines()[-1][:200]
            result["message"] = f"the process was ended by signal {-code}" if code < 0 else last
            print(f"{task['mechanism']}, {task['malloc']} malloc: {result['message']}", flush=True)
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


def table(n: int, results: dict, peers: dict) -> str:
    """One row for each implementation; — where something was not measured."""
    lines = [
        "| mechanism | public implementation | theirs ms | ours ms | theirs × SDPA | ours × SDPA | theirs ÷ ours | compiled × SDPA | tuned malloc: theirs × SDPA "
        "| ours × SDPA | theirs MB | ours MB | outputs differ by |",
        "|" + "---|" * 13,
    ]
    notes = []
    for mechanism, by_malloc in results.items():
        sides = {malloc: result["lengths"].get(str(n), {}).get("sides", {}) for malloc, result in by_malloc.items()}
        for peer in peers[mechanism]:

            def ratio(malloc: str, name: str, reference: str) -> str:
                found = [sides.get(malloc, {}).get(side, {}) for side in (name, reference)]
                return spread(ratios(*found)) if all(side.get("status") == "ok" for side in found) else "—"

            theirs, ours = (sides["default"].get(name, {"status": "failed", "message": by_malloc["default"].get("message", "")}) for name in (peer, "ours"))
            cells = [mechanism, peer]
            cells += [f"{milliseconds(side):.1f}" if side["status"] == "ok" else "—" for side in (theirs, ours)]
            cells += [ratio("default", peer, "sdpa"), ratio("default", "ours", "sdpa"), ratio("default", peer, "ours")]
            cells += [ratio("default", peer + ", compiled", "sdpa"), ratio("tuned", peer, "sdpa"), ratio("tuned", "ours", "sdpa")]
            cells += [f"{side['peak_bytes'] / 1e6:.0f}" if side["status"] == "ok" else "—" for side in (theirs, ours)]
            cells.append(f"{theirs['difference']:.0e}".replace("0e+00", "0") if "difference" in theirs else "other formula" if theirs.get("differs") else "—")
            lines.append("| " + " | ".join(cells) + " |")
            for malloc, by_name in sides.items():
                for name in (peer, peer + ", compiled", "ours", "sdpa"):
                    if by_name.get(name, {}).get("status") == "failed":
                        notes.append(f"- {mechanism}, {name}, {malloc} malloc: {by_name[name]['message']}")
            notes += [f"- {mechanism}, {malloc} malloc: {result['message']}" for malloc, result in by_malloc.items() if "message" in result and not sides[malloc]]
    return "\n".join(lines + (["", "Failed:", "", *dict.fromkeys(notes)] if notes else [])) + "\n"


def markdown(everything: dict) -> str:
    settings, results, differs = everything["settings"], everything["results"], everything["differs"]
    text = (
        f"One mixing module with its projections, d {settings['d_model']}, {settings['num_heads']} heads, batch {settings['batch_size']}, {settings['dtype']}, forward and "
        f"backward, {everything['host']['threads']} threads of {everything['host']['cpu']}, PyTorch {everything['versions']['torch']}. Both sides, SDPA with projections among "
        f"them, ran in one process, one after another, in {settings['rounds']} rounds; ratios are of one round: their median (lowest–highest). Compiled: theirs through torch.compile. "
        "Tuned malloc: glibc told to keep freed memory. MB: the peak of what a step allocates beyond weights and input. Outputs: the largest difference with the same weights, "
        "relative to the largest output; only where both have the same formula.\n"
    )
    for n in settings["lengths"]:
        reference = [r["default"]["lengths"][str(n)]["sides"]["sdpa"] for r in results.values() if str(n) in r["default"]["lengths"]]
        times = [milliseconds(side) for side in reference if side["status"] == "ok"]
        said = f" (SDPA: {statistics.median(times):.1f} ms, {reference[0]['peak_bytes'] / 1e6:.0f} MB)" if times else ""
        text += f"\n### {n} tokens{said}\n\n" + table(n, results, everything["peers"])
    return text + "\nOther formulas:\n\n" + "".join(f"- {mechanism}, {name}: {what}\n" for mechanism, name, what in differs) if differs else text


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


def record(everything: dict, mechanism: str, name: str, n: int, child_result: dict, side: dict) -> dict:
    settings = everything["settings"]
    display = json.loads((ROOT / f"configs/mixers/{mechanism}.json").read_text())["display_name"]
    suffix = "" if name == "ours" else f" ({name})"
    seconds = [second for one_round in side["seconds"] for second in one_round]
    batch = settings["batch_size"]
    config = {
        "kind": "bench", "task": "bytes", "mixer": mechanism, "variant": mechanism + suffix, "display_name": display + suffix, "profile": PROFILE, "seq_len": n,
        "num_layers": 1, "d_model": settings["d_model"], "d_qkv": settings["d_model"], "num_heads": settings["num_heads"], "seed": 0, "train_steps": 0,
        "batch_size": batch, "precision": settings["dtype"], "selection": "last", "device": "cpu", "threads": settings["threads"],
        "measure_warmup_steps": WARMUP_STEPS, "measure_steps": len(seconds), "mixer_options": everything["options"][mechanism][str(n)] if name == "ours" else {},
    }  # fmt: skip
    result = {"schema_version": 1, "status": side["status"]}
    if side["status"] != "ok":
        result["message"] = side["message"]
    result |= {key: config[key] for key in ("kind", "task", "mixer", "variant", "display_name", "profile", "seed")}
    result |= {"sequence_length": n, "metrics": {}, "speed": {}, "memory": {}}
    if side["status"] == "ok":
        result["metrics"] = {"steps_done": WARMUP_STEPS + len(seconds)}
        result["speed"] = {
            "train_steps_per_second": measured([1 / second for second in seconds]),
            "train_examples_per_second": measured([batch / second for second in seconds]),
            "inference_examples_per_second": measured([batch / second for second in side["inference_seconds"]]),
        }
        weights_and_input = 4 * (side["parameters"] + batch * n * settings["d_model"])
        result["memory"] = {"peak_tensor_bytes": side["peak_bytes"] + weights_and_input, "peak_rss_bytes": child_result["peak_rss_bytes"]}
        result["parameters"] = side["parameters"]
    notes = ["one mixing module with its projections, no model around it (scripts/bench/peers.py); memory of the process is that of all implementations that ran in it"]
    return result | {
        "notes": notes + ([f"the public implementation computes something else: {side['differs']}"] if side.get("differs") else []),
        "wall_seconds": round(side.get("warmup_seconds", 0) + sum(seconds) + sum(side["inference_seconds"]) + 0.001, 3),
        "host": everything["host"], "build": everything["build"], "data": {"generator": "normal numbers"}, "config": config,
    }  # fmt: skip


def write_records(out: pathlib.Path, everything: dict) -> None:
    shutil.rmtree(out / "bench", ignore_errors=True)
    for mechanism, by_malloc in everything["results"].items():
        for n, at_length in by_malloc["default"]["lengths"].items():
            for name in ("ours", *everything["peers"][mechanism]):
                made = record(everything, mechanism, name, int(n), by_malloc["default"], at_length["sides"][name])
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
    parser.add_argument("--seconds", type=float, default=0.3, help=f"for one side in one round: as many steps as fit, 1 to {MOST_STEPS}")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's default, all cores")
    parser.add_argument("--dtype", choices=["float32", "bf16"], default="float32", help="bf16: autocast, on all sides")
    parser.add_argument("--modes", default="default,tuned,compile", help="what is measured besides `default`")
    parser.add_argument("--quick", action="store_true", help="1024 tokens, two short rounds, default malloc only: does everything run?")
    parser.add_argument("--library", default="build/release/bin/liblra_mixers.so")
    parser.add_argument("--out", default="runs/peers")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(json.loads(args.child))
    if args.setup:
        return set_up()
    if args.quick:
        args.lengths, args.rounds, args.seconds, args.modes = "1024", 2, 0.05, "default"

    try:
        import torch
        from peer_modules import BATCH, HEADS, LENGTH_MULTIPLE, MECHANISMS, WIDTH
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
    if args.rounds < 1 or args.seconds <= 0 or args.threads < 0:
        fail("--rounds and --seconds must be positive, --threads not negative")
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

    peers = {name: [peer.name for peer in MECHANISMS[name].peers] for name in names}
    task = {"library": str(library), "lengths": lengths, "rounds": args.rounds, "seconds": args.seconds, "threads": args.threads, "dtype": args.dtype}
    load = os.getloadavg()[0]
    results = {name: {} for name in names}
    for name in names:
        for malloc in ["default"] + ["tuned"] * ("tuned" in modes):
            results[name][malloc] = run_child(task | {"mechanism": name, "malloc": malloc, "compile": "compile" in modes and malloc == "default"})
    threads = args.threads or torch.get_num_threads()
    requirements = pathlib.Path(__file__).with_name("requirements.txt").read_text().splitlines()
    packages = [line.split("==")[0] for line in requirements if "==" in line]
    everything = {
        "what": "seconds of training steps (forward and backward) of one mixing module, by round",
        "settings": {"d_model": WIDTH, "num_heads": HEADS, "batch_size": BATCH, "modes": modes, "tuned": TUNED} | {key: task[key] for key in task if key != "library"},
        "host": host(threads) | {"load_average": load},
        "build": build,
        "versions": {d.metadata["Name"]: d.version for d in importlib.metadata.distributions() if d.metadata["Name"] in packages},
        "options": {name: {str(n): MECHANISMS[name].options(n) for n in lengths} for name in names},
        "peers": peers,
        "differs": [[name, peer.name, peer.differs] for name in names for peer in MECHANISMS[name].peers if peer.differs],
        "results": results,
    }
    text = markdown(everything)
    write(out / "peers.json", json.dumps(everything, indent=1) + "\n")
    write(out / "peers.md", text)
    write_records(out, everything)
    print("\n" + text + f"\nwritten to {args.out}")


if __name__ == "__main__":
    main()
