"""One process of peers.py: measures one mechanism at all lengths and writes the result after each. Its argument is the task, in JSON."""

import ctypes
import json
import pathlib
import signal
import statistics
import sys
import time

import torch
from peer_modules import BATCH, HEADS, MECHANISMS, WARMUP_STEPS, WIDTH, Peer, sdpa

TASK = json.loads(sys.argv[1])
MECHANISM = MECHANISMS[TASK["mechanism"]]
COMPILED = ", compiled"
IN_FLOAT32 = ", float32"  # beside what runs in bfloat16


class Ours:
    def __init__(self, n: int):
        self.mixer = torch.classes.lra.Mixer(TASK["mechanism"], json.dumps(MECHANISM.options(n)), WIDTH, HEADS, n, False, 0)
        self.weights, self.lengths = self.mixer.parameters(), [n] * BATCH
        self.begin_training_step, self.end_training_step = self.mixer.begin_training_step, self.mixer.end_training_step

    def __call__(self, x):
        return self.mixer.forward(x.view(-1, WIDTH), self.lengths).view(x.shape)

    def parameters(self):
        return self.weights.values()

    def train(self, on: bool = True):
        self.mixer.train(on)
        return self


def autocast(side: str):
    return torch.autocast("cpu", torch.bfloat16, enabled=TASK["dtype"] == "bf16" and not side.endswith(IN_FLOAT32))


class Side:
    """One implementation at one length, and what was measured of it."""

    def __init__(self, name: str, make, x, gradient):
        self.name, self.make, self.x, self.gradient = name, make, x, gradient
        self.step, self.message = 0, ""
        self.seconds: list[list[float]] = []  # of training steps, by round
        self.inference_seconds: list[float] = []
        self.facts: dict = {}

    def guarded(self, action) -> None:
        """Runs `action` unless the side has failed before: a failure is a result."""
        if self.message:
            return
        try:
            action()
        except ModuleNotFoundError as error:
            self.message = f"not installed: {error}"
        except Exception as error:  # noqa: BLE001: whatever a package raises
            self.message = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0][:200]}"

    def prepare(self) -> None:
        start = time.perf_counter()
        self.module = self.make(self.x.size(1)).train()
        self.call = torch.compile(self.module, dynamic=False) if self.name.endswith(COMPILED) else self.module
        self.facts["parameters"] = sum(parameter.numel() for parameter in self.module.parameters())
        for _ in range(WARMUP_STEPS):
            self.train_step()
        self.facts["warmup_seconds"] = time.perf_counter() - start
        self.facts["peak_bytes"] = self.peak_bytes()

    def train_step(self) -> float:
        start = time.perf_counter()
        if hasattr(self.module, "begin_training_step"):
            self.module.begin_training_step(self.step)
        with autocast(self.name):
            out = self.call(self.x)
        out.backward(self.gradient.to(out.dtype))
        if hasattr(self.module, "end_training_step"):
            self.module.end_training_step()
        seconds = time.perf_counter() - start
        self.step += 1
        for tensor in (self.x, *self.module.parameters()):
            tensor.grad = None
        return seconds

    def infer(self) -> float:
        self.module.train(False)
        with torch.no_grad(), autocast(self.name):
            start = time.perf_counter()
            self.call(self.x)
            seconds = time.perf_counter() - start
        self.module.train(True)
        return seconds

    def peak_bytes(self) -> int:
        """The most that a training step has allocated at a time, beyond the module's parameters and its input."""
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            self.train_step()
        now = most = 0
        for event in sorted((e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()):
            now += event.nbytes()
            most = max(most, now)
        return most

    def one_round(self) -> None:
        self.train_step()  # what another side has left in the caches and in malloc's lists is not counted
        self.seconds.append([self.train_step() for _ in range(TASK["steps"])])
        if not self.name.endswith(COMPILED):
            self.inference_seconds += [self.infer() for _ in range(TASK["steps"])]

    def compare(self, peer: Peer) -> None:
        """The largest difference of the outputs, and of the input's gradients, with the same weights, relative to the largest; theirs without biases that ours don't have."""
        n = self.x.size(1)
        ours, theirs = Ours(n).train(False), peer.make(n).eval()
        with torch.no_grad():
            for weight in ours.weights.values():
                if weight.dim() > 1:  # anew: some start so near to zero that nothing would be seen of them
                    weight.normal_(0, weight.size(-1) ** -0.5)
            for name, parameter in theirs.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
            for our_name, name in peer.same.items():
                parameter = theirs.get_parameter(name)
                parameter.copy_(ours.weights[our_name].view_as(parameter))
        results = []
        for side in (ours, theirs):
            with autocast(self.name):
                out = side(self.x)
            results.append((out.detach(), *torch.autograd.grad(out, self.x, self.gradient.to(out.dtype))))
        self.facts["difference"] = max(((a - b).abs().max() / a.abs().max()).item() for a, b in zip(*results))

    def result(self) -> dict:
        result = {"status": "failed", "message": self.message} if self.message else {"status": "ok"}
        return result | self.facts | {"seconds": self.seconds, "inference_seconds": self.inference_seconds}


def measure(n: int) -> dict:
    start = time.perf_counter()
    torch.manual_seed(0)
    torch._dynamo.reset()
    x, gradient = torch.randn(BATCH, n, WIDTH, requires_grad=True), torch.randn(BATCH, n, WIDTH)
    sides = [Side("sdpa", sdpa, x, gradient), Side("ours", Ours, x, gradient)]
    if TASK["dtype"] == "bf16":
        sides.append(Side("sdpa" + IN_FLOAT32, sdpa, x, gradient))
    for peer in MECHANISM.peers:
        side = Side(peer.name, peer.make, x, gradient)
        if peer.same is not None and TASK["malloc"] == "default":
            side.guarded(lambda side=side, peer=peer: side.compare(peer))
        sides.append(side)
        if TASK["compile"]:
            sides.append(Side(peer.name + COMPILED, peer.make, x, gradient))
    for side in sides:
        side.guarded(side.prepare)
    for number in range(TASK["rounds"]):
        first = number % len(sides)  # whom each follows matters little: its first step is not timed
        for side in sides[first:] + sides[:first]:
            side.guarded(side.one_round)
    shown = [side.message or f"{1000 * statistics.median(sum(side.seconds, [])):.1f} ms" for side in sides]
    print(f"{TASK['prefix']}{TASK['mechanism']} N {n}, {TASK['malloc']} malloc: {', '.join(f'{side.name} {text}' for side, text in zip(sides, shown))}", flush=True)
    return {"wall_seconds": time.perf_counter() - start, "sides": {side.name: side.result() for side in sides}}


def main() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: when peers.py is killed, this ends too
    torch.classes.load_library(TASK["library"])
    if TASK["threads"]:
        torch.set_num_threads(TASK["threads"])
    result = {"lengths": {}}
    for n in TASK["lengths"]:
        result["lengths"][n] = measure(n)
        with open("/proc/self/status", encoding="ascii") as status:
            result["peak_rss_bytes"] = next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
        pathlib.Path(TASK["result"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
