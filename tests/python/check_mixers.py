"""The mixers in Python: check_mixers.py LIBRARY. Every registered mixer runs forward and backward, its parameters get gradients and can be trained, it computes what its
formula says, and a user's mistakes are sentences. Exit code 4: skipped.
"""

import json
import pathlib
import sys

try:
    import torch
    import torch.nn.functional as F
except ModuleNotFoundError as error:
    print(f"skipped: {error}")
    sys.exit(4)

ROOT = pathlib.Path(__file__).resolve().parents[2]
WIDTH, HEADS, LONGEST, LENGTHS = 8, 2, 48, [13, 48, 1]

torch.classes.load_library(sys.argv[1])
Mixer = torch.classes.lra.Mixer
built, here = (version.split("+")[0] for version in (json.loads(Mixer.build())["libtorch"], torch.__version__))
if built != here:
    print(f"skipped: the library was built with LibTorch {built}, this Python has torch {here}")
    sys.exit(4)


def mixer(name: str, options: dict, bias: bool = True):
    return Mixer(name, json.dumps(options), WIDTH, HEADS, LONGEST, bias, 0)


def check(fact: bool, sentence: str) -> None:
    if not fact:
        sys.exit(f"error: {sentence}")


def close(a, wanted) -> bool:
    """Float32 rounds by 6e-8 of a number; sums and products of some dozens by a few times that."""
    return (a - wanted).abs().max().item() < 1e-6 * max(1, wanted.abs().max().item())


torch.manual_seed(0)
x = torch.randn(sum(LENGTHS), WIDTH, requires_grad=True)

names = Mixer.names()
check(len(names) > 20, f"only {names} are registered")
for name in names:
    test = json.loads((ROOT / f"configs/mixers/{name}.json").read_text())["test"]
    made = mixer(name, test["options"])
    made.train(True)
    made.begin_training_step(0)
    x.grad = None
    y = made.forward(x, LENGTHS)
    check(y.shape == x.shape and bool(y.isfinite().all()), f"{name}: output {tuple(y.shape)}, finite: {bool(y.isfinite().all())}")
    y.square().sum().backward()
    made.end_training_step()
    check(x.grad is not None and bool(x.grad.any()), f"{name}: no gradient of its input")
    for key, parameter in made.parameters().items():
        check(parameter.requires_grad and parameter.grad is not None, f"{name}: no gradient of {key}")
        check(bool(parameter.grad.any()) or key in test.get("zero_gradient", {}), f"{name}: the gradient of {key} is zero")
    made.train(False)
    before = made.forward(x, LENGTHS)
    check(torch.equal(before, made.forward(x, LENGTHS)), f"{name}: two evaluations differ")
    if made.parameters():
        torch.optim.SGD(made.parameters().values(), lr=0.1).step()
        check(not torch.equal(before, made.forward(x, LENGTHS)), f"{name}: an optimiser's step changes nothing")


def by_formula(weights: dict, x: torch.Tensor, mix) -> torch.Tensor:
    project = lambda name, rows: F.linear(rows, weights[name + ".weight"], weights[name + ".bias"])  # noqa: E731
    heads = lambda rows: rows.view(1, -1, HEADS, WIDTH // HEADS).transpose(1, 2)  # noqa: E731
    parts = [mix(*(heads(project(name, rows)) for name in ("query", "key", "value"))) for rows in x.split(LENGTHS)]
    return torch.cat([project("output", part.transpose(1, 2).reshape(-1, WIDTH)) for part in parts])


def linear(q, k, v):
    q, k = F.elu(q) + 1, F.elu(k) + 1
    return q @ (k.transpose(-2, -1) @ v) / (q @ k.sum(-2).unsqueeze(-1))


for name, mix in {"flash": F.scaled_dot_product_attention, "softmax": F.scaled_dot_product_attention, "linear": linear}.items():
    made = mixer(name, {})
    weights = made.parameters()
    exact_weights = {key: weight.detach().double().requires_grad_() for key, weight in weights.items()}
    exact_x = x.detach().double().requires_grad_()
    y, exact = made.forward(x, LENGTHS), by_formula(exact_weights, exact_x, mix)
    check(close(y, exact), f"{name}: not what the formula gives")
    gradients = [torch.autograd.grad(y.square().sum(), [x, *weights.values()]), torch.autograd.grad(exact.square().sum(), [exact_x, *exact_weights.values()])]
    for key, ours, wanted in zip(["the input", *weights], *gradients):
        check(close(ours, wanted), f"{name}: the gradient of {key} is not what the formula gives")

for sentence, action in {
    "unknown mixer 'lineer'": lambda: mixer("lineer", {}),
    "did you mean 'linear'": lambda: mixer("lineer", {}),
    "window": lambda: mixer("local", {"windw": 3}),
    "expected an integer": lambda: mixer("local", {"window": "wide"}),
    "options_json": lambda: Mixer("local", "{", WIDTH, HEADS, LONGEST, True, 0),
    "no multiple of num_heads": lambda: Mixer("local", "{}", WIDTH, 3, LONGEST, True, 0),
    "the lengths add up to": lambda: mixer("linear", {}).forward(x, [3]),
    "d_model is 64: expected (100, 64)": lambda: Mixer("linear", "{}", 64, 2, 1024, False, 0).forward(torch.randn(100, 128), [100]),
}.items():
    try:
        action()
        found = "nothing"
    except Exception as error:  # noqa: BLE001: which type is part of what is shown
        found = f"{type(error).__name__}: {error}"
    check(found.startswith("ValueError") and sentence in found and "\n" not in found, f"expected a ValueError with '{sentence}' in one line, found {found}")
    print(found)


# Second derivatives are refused, or right.
def twice(mix):
    (gradient,) = torch.autograd.grad(mix(rows).pow(3).sum(), rows, create_graph=True)
    return torch.autograd.grad(gradient.pow(2).sum(), rows)[0]


rows = torch.randn(13, WIDTH, requires_grad=True)
for name in set(names) - {"none"}:  # which is LibTorch's operators alone
    made = mixer(name, json.loads((ROOT / f"configs/mixers/{name}.json").read_text())["test"]["options"])
    try:
        found, wanted = twice(lambda x: made.forward(x, [13])), twice(lambda x: torch.fft.fft2(F.pad(x, (0, 0, 0, LONGEST - 13))).real[:13])  # noqa: B023
        check(name == "fnet" and close(found / wanted.abs().max(), wanted / wanted.abs().max()), f"{name}: a wrong second derivative")
    except RuntimeError as error:
        check("has no second derivative" in str(error) and name != "fnet", f"{name}: a second derivative: {error}")
print(f"{len(names)} mixers: {', '.join(names)}")
