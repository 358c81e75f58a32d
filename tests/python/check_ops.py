"""The operators in Python: check_ops.py LIBRARY VERSION, the LibTorch that it was built with. Against dense formulas on random lists, masks, bands, lengths and strides, forward and backward; torch.library.opcheck,
gradcheck and torch.compile; the path of other devices; a user's mistakes are sentences; lib/python/README.md shows the example as it is. Exit code 4: skipped.
"""

import importlib.util
import itertools
import pathlib
import random
import sys
import types

try:
    import torch
    import torch.nn.functional as F
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.library import opcheck
except ModuleNotFoundError as error:
    print(f"skipped: {error}")
    sys.exit(4)

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
built, here = (version.split("+")[0] for version in (sys.argv[2], torch.__version__))
if built != here:
    print(f"skipped: the library was built with LibTorch {built}, this Python has torch {here}")
    sys.exit(4)
torch.ops.load_library(sys.argv[1])
lra = torch.ops.lra


def check(fact: bool, sentence: str) -> None:
    if not fact:
        sys.exit(f"error: {sentence}")


def check_close(what: str, found, wanted) -> None:
    for i, (a, b) in enumerate(zip(found, wanted, strict=True)):
        check(a.shape == b.shape and a.dtype == b.dtype, f"{what}, {i}: {a.dtype} {tuple(a.shape)} instead of {b.dtype} {tuple(b.shape)}")
        difference = (a - b).abs().max().item() if a.numel() else 0
        check(difference <= TOLERANCE[a.dtype] * max(1, b.abs().max().item() if b.numel() else 1), f"{what}, {i}: differs by {difference:.1e}")


# --- dense formulas


def dense(q, k, v, seen):
    """q (H, n, d), k and v (H, m, d), seen (H, n, m) bool → out, log_sum; 0 and -1e30 for a query that sees nothing."""
    logits = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).masked_fill(~seen, -torch.inf)
    any_key = seen.any(-1)
    log_sum = logits.masked_fill(~any_key.unsqueeze(-1), 0).logsumexp(-1)
    weights = torch.where(seen, (logits - log_sum.unsqueeze(-1)).exp(), 0)
    return weights @ v, log_sum.masked_fill(~any_key, -1e30)


def seen_pairs(lists, heads: int, n: int, m: int, query_block: int, key_block: int, band, stride: int):
    """(H, n, m) of lists (H or 1, query blocks, S)."""
    i, j = torch.arange(n).unsqueeze(1), torch.arange(m).unsqueeze(0)
    same_class, i, j = i % stride == j % stride, i // stride, j // stride
    listed = torch.zeros(heads, n, m, dtype=torch.bool)
    for h in range(heads):
        for row in range(n):
            allowed = lists[h if len(lists) > 1 else 0, int(i[row]) // query_block]
            listed[h, row] = torch.isin(j[0] // key_block, allowed)
    seen = listed & same_class
    return seen if band is None else seen & ((i - j).abs() <= band)


def dense_packed(q, k, v, offsets, key_mask, key_blocks, query_block, key_block, band=None, stride=1, key_offsets=None):
    ends, key_ends = offsets.tolist(), (offsets if key_offsets is None else key_offsets).tolist()
    parts = []
    for s, (a, b, c, d) in enumerate(zip(ends, ends[1:], key_ends, key_ends[1:])):
        seen = seen_pairs(key_blocks[s if len(key_blocks) > 1 else 0], q.shape[1], b - a, d - c, query_block, key_block, band, stride)
        if key_mask is not None:
            seen = seen & key_mask[c:d]
        out, log_sum = dense(*(x.transpose(0, 1) for x in (q[a:b], k[c:d], v[c:d])), seen)
        parts.append((out.transpose(0, 1), log_sum.transpose(0, 1)))
    return tuple(torch.cat(x) for x in zip(*parts))


def dense_blocks(q, k, v, key_mask, key_blocks, query_block, key_block, band=None):
    b, _, n, _ = q.shape
    m = k.shape[2]
    rows = [x.transpose(1, 2).flatten(0, 1) for x in (q, k, v)]
    mask = None if key_mask is None else key_mask.flatten()
    found = dense_packed(*rows, torch.arange(b + 1) * n, mask, key_blocks, query_block, key_block, band, 1, torch.arange(b + 1) * m)
    return tuple(x.unflatten(0, (b, n)).transpose(1, 2) for x in found)


def fourier(x, lengths, length):
    return torch.cat([torch.fft.fft2(rows, s=(length, x.shape[1])).real[: len(rows)] for rows in x.split(lengths)])


# --- random arguments


def numbers(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


def lists(batch: int, heads: int, longest: int, keys: int, query_block: int, key_block: int):
    """Different blocks in any order, some of them beyond the keys or -1."""
    rows, blocks = -(-longest // query_block), -(-keys // key_block) + 1
    shape = (random.choice([1, batch]), random.choice([1, heads]), rows, random.randint(1, blocks))
    order = torch.rand(*shape[:3], blocks).argsort(-1)[..., : shape[3]]
    return order.where(torch.rand(shape) < 0.8, -1)


def packed_case(lengths, heads: int, d: int, key_lengths=None, stride: int = 1, band=None, masked: bool = True, dtype=torch.float64, blocks=None):
    own = key_lengths or lengths
    query_block, key_block = blocks or (random.randint(1, 40), random.randint(1, 40))
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    key_offsets = torch.tensor([0, *key_lengths]).cumsum(0) if key_lengths else None
    q, k, v = (numbers(sum(n), heads, d, dtype=dtype) for n in (lengths, own, own))
    mask = torch.rand(sum(own)) < 0.7 if masked else None
    places = [-(-max(n) // stride) for n in (lengths, own)]
    return q, k, v, offsets, mask, lists(len(lengths), heads, *places, query_block, key_block), query_block, key_block, band, stride, key_offsets


def blocks_case(batch: int, heads: int, n: int, m: int, d: int, band=None, masked: bool = True, dtype=torch.float64):
    query_block, key_block = random.randint(1, 40), random.randint(1, 40)
    q, k, v = numbers(batch, heads, n, d, dtype=dtype), numbers(batch, heads, m, d, dtype=dtype), numbers(batch, heads, m, d, dtype=dtype)
    mask = torch.rand(batch, m) < 0.7 if masked else None
    return q, k, v, mask, lists(batch, heads, n, m, query_block, key_block), query_block, key_block, band


def with_gradients(function, args):
    """Both outputs and the gradients of q, k and v from both; a query without a key has no part in the second."""
    out, log_sum = function(*args)
    generator = torch.Generator().manual_seed(1)
    directions = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype) for x in (out, log_sum)]
    loss = (out * directions[0]).sum() + (log_sum.where(log_sum > -1e29, 0) * directions[1]).sum()
    return out, log_sum, *torch.autograd.grad(loss, args[:3])


torch.manual_seed(0)
random.seed(0)
packed, blocks, fourier_mix = lra.packed_attention.default, lra.block_sparse_attention.default, lra.fourier_mix.default


def packed_cases(dtype):
    yield packed_case([13, 48, 1], 2, 5, dtype=dtype)
    yield packed_case([70], 1, 16, masked=False, dtype=dtype)
    yield packed_case([30, 200], 3, 33, band=11, dtype=dtype)
    yield packed_case([64, 65, 3], 2, 8, stride=3, band=4, dtype=dtype)
    yield packed_case([64, 65, 3], 2, 8, stride=4, dtype=dtype)
    yield packed_case([20, 7], 2, 8, key_lengths=[5, 160], dtype=dtype)
    yield packed_case([9, 14], 2, 8, key_lengths=[0, 6], masked=False, dtype=dtype)
    yield packed_case([150, 130], 2, 8, band=0, blocks=(150, 150), dtype=dtype)


def blocks_cases(dtype):
    yield blocks_case(2, 3, 20, 20, 5, dtype=dtype)
    yield blocks_case(1, 2, 130, 130, 16, band=9, masked=False, dtype=dtype)
    yield blocks_case(3, 2, 40, 77, 8, dtype=dtype)
    yield blocks_case(2, 1, 90, 12, 7, band=30, dtype=dtype)


# --- results and gradients

for dtype in TOLERANCE:
    for function, formula, cases in ((packed, dense_packed, packed_cases), (blocks, dense_blocks, blocks_cases)):
        for _ in range(4):
            for args in cases(dtype):
                # The formula in float64: what float32 is held to.
                exact = [x.detach().double().requires_grad_() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in args]
                wanted = [x.to(dtype) for x in with_gradients(formula, exact)]
                what = f"{function} on {[tuple(x.shape) if isinstance(x, torch.Tensor) else x for x in args]} {dtype}"
                check_close(what, with_gradients(function, args), wanted)
    x = numbers(61, 6, dtype=dtype)
    check_close(f"{fourier_mix} {dtype}", [fourier_mix(x, [20, 40, 1], 44)], [fourier(x, [20, 40, 1], 44)])

# In bfloat16 factors of products may be rounded; sums and the softmax are float32.
for args in packed_cases(torch.float64):
    rounded = [x.detach().bfloat16() for x in args[:3]]
    out, log_sum = packed(*rounded, *args[3:])
    wanted = packed(*(x.float() for x in rounded), *args[3:])
    check(out.dtype == torch.bfloat16 and log_sum.dtype == torch.float32, "bfloat16: wrong types")
    for name, x, y in (("out", out.float(), wanted[0]), ("log_sum", log_sum, wanted[1])):
        check((x - y).abs().max() <= 2e-2 * max(1, y[y.abs() < 1e29].abs().max().item()), f"{name} in bfloat16 is not that of float32, rounded")

for args in (packed_case([5, 1, 9], 2, 3, band=4, blocks=(4, 3)), packed_case([6, 7], 1, 2, key_lengths=[3, 4], masked=False, blocks=(3, 2))):
    some = packed(*args)[1] > -1e29  # what has no key has a constant instead of a logarithm
    check(torch.autograd.gradcheck(lambda *x: (packed(*x, *args[3:])[0], packed(*x, *args[3:])[1][some]), args[:3]), "packed_attention: gradcheck")
check(torch.autograd.gradcheck(lambda *x: blocks(*x, None, torch.tensor([0, 1]).view(1, 1, 2, 1), 4, 5, 3), (numbers(2, 2, 8, 3), numbers(2, 2, 9, 3), numbers(2, 2, 9, 3))),
      "block_sparse_attention: gradcheck")  # fmt: skip
check(torch.autograd.gradgradcheck(lambda x: fourier_mix(x, [3, 5], 6), (numbers(8, 4),)), "fourier_mix: gradgradcheck")

# --- opcheck: schema, registration, shape function, AOTAutograd with unknown sizes

def in_types(cases):
    """In float32, float64 and bfloat16 by turns."""
    for args, dtype in zip(cases(torch.float64), itertools.cycle((torch.float32, torch.float64, torch.bfloat16))):
        yield [*(x.detach().to(dtype).requires_grad_() for x in args[:3]), *args[3:]]


for args in in_types(packed_cases):
    opcheck(packed, args)
    out, log_sum = packed(*args)
    rest = [*(x.detach() for x in (out, log_sum, *args[:3])), *args[3:]]
    for gradients in ([torch.randn_like(out), torch.randn_like(log_sum)], [torch.randn_like(out), None], [None, torch.randn_like(log_sum)]):
        # Nothing requires a gradient here: there is no second derivative.
        opcheck(lra.packed_attention_backward.default, (*gradients, *rest), test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_dynamic"))
for args in in_types(blocks_cases):
    opcheck(blocks, args)
for lengths in ([13, 48, 1], [20]):
    opcheck(fourier_mix, (numbers(sum(lengths), 6), lengths, 50))
    opcheck(fourier_mix, (numbers(7, sum(lengths)).detach().t().requires_grad_(), lengths, 48))

# --- the path of other devices: its graph, traced without data, on the CPU's numbers

for args in blocks_cases(torch.float64):
    tensors = [x for x in args if isinstance(x, torch.Tensor)]

    def run(*given):
        given = iter(given)
        return blocks(*(next(given) if isinstance(x, torch.Tensor) else x for x in args))

    graph = make_fx(run, tracing_mode="symbolic")(*(x.detach().to("meta") for x in tensors))
    for node in graph.graph.nodes:
        if "device" in node.kwargs:
            node.kwargs = node.kwargs | {"device": torch.device("cpu")}
    graph.recompile()
    check("lra" not in graph.code, "other devices: the CPU's kernel in the graph")
    check_close("other devices", with_gradients(lambda *_: graph(*tensors), args), with_gradients(blocks, args))

# --- torch.compile


def mixed(q, k, v, mask, key_blocks):
    """Both attentions among other operations."""
    heads, n = q.shape[1], q.shape[2]
    near, near_sum = lra.block_sparse_attention(q * 2, k, v.sin(), mask, key_blocks, 16, 16, 20)
    rows = [x.transpose(1, 2).flatten(0, 1) for x in (q, k, near)]
    far, far_sum = lra.packed_attention(*rows, torch.arange(len(q) + 1) * n, mask.flatten(), torch.zeros(1, 1, 1, 1, dtype=torch.int64), n, n)
    mixed = lra.fourier_mix(far.flatten(1).cos(), [17], 20) if len(far) == 17 else far.flatten(1)
    return mixed.unflatten(1, (heads, -1)), near_sum.transpose(1, 2).flatten(0, 1) + far_sum


def compile_arguments(n: int):
    key_blocks = torch.arange(-(-n // 16)).view(1, 1, -1, 1)
    return numbers(1, 2, n, 4), numbers(1, 2, n, 4), numbers(1, 2, n, 4), torch.rand(1, n) < 0.9, key_blocks


def works(backend: str) -> bool:
    """inductor needs a compiler and Python's headers."""
    try:
        return bool(torch.compile(lambda x: x.sin() + 1, backend=backend)(torch.zeros(3)).eq(1).all())
    except Exception as error:  # noqa: BLE001: whatever it lacks
        print(f"torch.compile with {backend} is not tested: {type(error).__name__}: {str(error).splitlines()[0]}")
        return False


for backend in filter(works, ("aot_eager", "inductor")):
    compiled = torch.compile(mixed, fullgraph=True, backend=backend)
    args = compile_arguments(17)
    check_close(f"compiled with {backend}", with_gradients(compiled, args), with_gradients(mixed, args))
    torch._dynamo.reset()
    any_length = torch.compile(mixed, fullgraph=True, backend=backend, dynamic=True)
    for n in (40, 77):
        args = compile_arguments(n)
        with torch._dynamo.config.patch(error_on_recompile=n != 40):
            check_close(f"compiled with {backend} for any length, {n}", with_gradients(any_length, args), with_gradients(mixed, args))

elsewhere = torch.compile(lambda *args: blocks(*args, 16, 16, 20), fullgraph=True, backend="aot_eager", dynamic=True)
for n in (40, 77):
    with torch._dynamo.config.patch(error_on_recompile=n != 40):
        out, log_sum = elsewhere(*(x.detach().to("meta") for x in compile_arguments(n)))
    check(out.shape == (1, 2, n, 4) and log_sum.shape == (1, 2, n), f"compiled for other devices: {tuple(out.shape)}, {tuple(log_sum.shape)}")

# --- extremes: nothing to do, and numbers that no sum can hold

nothing = numbers(2, 2, 0, 4)
for device in ("cpu", "meta"):
    out, log_sum = blocks(*(x.to(device) for x in (nothing, nothing, nothing)), None, torch.zeros(1, 1, 0, 1, dtype=torch.int64, device=device), 4, 4)
    check(out.shape == (2, 2, 0, 4) and log_sum.shape == (2, 2, 0), f"no tokens on {device}: {tuple(out.shape)}, {tuple(log_sum.shape)}")
q, k, v, offsets, *_ = packed_case([5, 8], 2, 4, blocks=(4, 4))
wanted, _ = packed(q, k, v, offsets, None, torch.zeros(1, 1, 1, 1).long(), 8, 8)
for size, band in (2**61, None), (2**63 - 1, None), (8, 2**63 - 1):
    out, _ = packed(q, k, v, offsets, None, torch.tensor([0, 1, 4, 2**62]).view(1, 1, 1, 4), size, size, band=band)
    check(torch.equal(out, wanted), f"blocks of {size} places, band {band}: another result than without")

# --- mistakes are sentences

q, k, v, offsets, mask, key_blocks, query_block, key_block, _, _, _ = packed_case([5, 8], 2, 4, blocks=(4, 4))
rest = (mask, key_blocks, query_block, key_block)
rectangle = numbers(1, 2, 6, 4)
for sentence, action in {
    "expected q (T, H, d) and k, v (Tk, H, d), found [13, 2, 4], [13, 2, 3]": lambda: packed(q, k[..., :3], v[..., :3], offsets, *rest),
    "of one type, float32, float64 or bfloat16": lambda: packed(q, k.float(), v, offsets, *rest),
    "12 keys for 13 queries need key_offsets": lambda: packed(q, k[:12], v[:12], offsets, *rest),
    "offsets must rise from 0 to 13, found [0, 5, 12]": lambda: packed(q, k, v, torch.tensor([0, 5, 12]), *rest),
    "expected offsets (B + 1) int64": lambda: packed(q, k, v, offsets.int(), *rest),
    "3 offsets, but 2 key_offsets": lambda: packed(q, k, v, offsets, *rest, key_offsets=torch.tensor([0, 13])),
    "expected key_mask (13) bool": lambda: packed(q, k, v, offsets, mask[:5], *rest[1:]),
    "expected key_blocks (2 or 1, 2 or 1, query blocks, S) int64, found [1, 3, 2, 1]": lambda: packed(q, k, v, offsets, mask, torch.zeros(1, 3, 2, 1).long(), 4, 4),
    "lists for 1 query blocks of 4 places, but there are 8 places": lambda: packed(q, k, v, offsets, mask, torch.zeros(1, 1, 1, 1).long(), 4, 4),
    "names a block twice": lambda: packed(q, k, v, offsets, mask, torch.ones(1, 1, 2, 2).long(), 4, 4),
    "stride 0 must be at least 1": lambda: packed(q, k, v, offsets, *rest, stride=0),
    "packed_attention_backward: results or their gradients have other shapes": lambda: torch.ops.lra.packed_attention_backward(
        q[:3], None, q, q[..., 0], q, k, v, offsets, *rest, None, 1, None),
    "expected dense tensors on the CPU, found": lambda: packed(*(x.to_mkldnn() for x in (q.float(), k.float(), v.float())), offsets, *rest),
    "expected q (B, H, N, d) and k, v (B, H, M, d)": lambda: blocks(rectangle, rectangle[0], rectangle[0], None, key_blocks, 4, 4),
    "expected key_mask (1, 6) bool": lambda: blocks(rectangle, rectangle, rectangle, mask, key_blocks, 4, 4),
    "expected key_blocks (B or 1, H or 1, 3, S)": lambda: blocks(rectangle, rectangle, rectangle, None, key_blocks[:1], 2, 4),
    "expected x (13, D)": lambda: fourier_mix(numbers(12, 4), [5, 8], 8),
    "every length of [5, 8] must be from 1 to 7": lambda: fourier_mix(numbers(13, 4), [5, 8], 7),
}.items():
    try:
        action()
        found = "nothing"
    except Exception as error:  # noqa: BLE001: which type is part of what is shown
        found = f"{type(error).__name__}: {error}"
    check(found.startswith("ValueError") and sentence in found and "\n" not in found, f"expected a ValueError with '{sentence}' in one line, found {found}")
    print(found)
try:
    torch.autograd.grad(torch.autograd.grad(packed(q, k, v, offsets, *rest)[0].square().sum(), q, create_graph=True)[0].sum(), q)
    found = "nothing"
except RuntimeError as error:
    found = str(error)
check("derivative for lra::packed_attention_backward is not implemented" in found, f"a second derivative: expected an error, found {found}")

# --- the example

example = ROOT / "scripts/examples/longformer_layer.py"
spec = importlib.util.spec_from_file_location("longformer_layer", example)
longformer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(longformer)
layer = types.SimpleNamespace(num_heads=2, head_dim=4, one_sided_attn_window_size=6, dropout=0.0, training=True)
for name in ("query", "key", "value", "query_global", "key_global", "value_global"):
    setattr(layer, name, torch.nn.Linear(8, 8, dtype=torch.float64))
padding = torch.arange(40) >= torch.tensor([40, 23, 9]).unsqueeze(1)
chosen = (torch.rand(3, 40) < 0.2) & ~padding
chosen[2] = False


def dense_longformer(x):
    heads = lambda projection: getattr(layer, projection)(x).unflatten(2, (2, 4)).transpose(1, 2)  # noqa: E731
    near = (torch.arange(40).unsqueeze(1) - torch.arange(40)).abs() <= 6
    rows = []
    for kind, seen in ("", near | chosen.unsqueeze(1)), ("_global", torch.ones(3, 40, 40, dtype=torch.bool)):
        seen = (seen & ~padding.unsqueeze(1)).unsqueeze(1)
        rows.append(dense(heads("query" + kind), heads("key" + kind), heads("value" + kind), seen)[0].transpose(1, 2).flatten(2))
    return torch.where(chosen.unsqueeze(2), rows[1], rows[0]).masked_fill(padding.unsqueeze(2), 0)


x = numbers(3, 40, 8)
found, wanted = longformer.kernel_attention(layer, x, None, padding, chosen, True)[0], dense_longformer(x)
check_close("longformer_layer.py", [found, *torch.autograd.grad(found.square().sum(), x)], [wanted, *torch.autograd.grad(wanted.square().sum(), x)])
page = (ROOT / "lib/python/README.md").read_text()
for block in page.split("```python verbatim\n")[1:]:
    code = block.split("```")[0]
    check(code in example.read_text(), f"lib/python/README.md: this is not in {example.name}:\n{code}")
print("operators: all checks passed")
