#!/usr/bin/env python3
"""The self-attention of a Hugging Face Longformer by our kernel, with the layer's own projections: how far it is from the original, and how much faster.

    longformer_layer.py [--library build/release/bin/liblra_ops.so] [--lengths 4096,3000] [--rounds 5]

Needs torch of the library's version and transformers 5.24.0 (scripts/bench/peers.py --setup makes a Python that has both). Weights are random, nothing is downloaded.
"""

import argparse
import functools
import pathlib
import statistics
import time

import torch
import torch.nn.functional as F

ROOT = pathlib.Path(__file__).resolve().parents[2]


def kernel_attention(layer, hidden_states, attention_mask, is_index_masked, is_index_global_attn, is_global_attn=None, output_attentions=False):
    """LongformerSelfAttention.forward. hidden_states (B, N, D); is_index_masked, is_index_global_attn (B, N) bool: padding, and tokens with global attention."""
    if output_attentions or layer.training and layer.dropout > 0:
        raise ValueError("the kernel has neither weights to show nor dropout: output_attentions must be False and attention_probs_dropout_prob 0")
    attention = torch.ops.lra.packed_attention
    n, window = hidden_states.shape[1], layer.one_sided_attn_window_size
    everything = torch.zeros(1, 1, 1, 1, dtype=torch.int64)  # one block of n queries sees the first block of n keys: all of them

    def offsets(chosen):  # (B, N) → (B + 1)
        return F.pad(chosen.sum(1).cumsum(0), (1, 0))

    def heads(projection, rows):
        return projection(rows).unflatten(1, (layer.num_heads, layer.head_dim))

    # Nothing is computed on padding: x (T, D) are the real tokens of all sequences, one after another.
    real = ~is_index_masked
    places = real.flatten().nonzero().squeeze(1)
    x = hidden_states.flatten(0, 1).index_select(0, places)
    is_global = is_index_global_attn[real]
    chosen = is_global.nonzero().squeeze(1)
    of_all, of_chosen = offsets(real), offsets(real & is_index_global_attn)

    # All tokens: the window's ordinary keys and the global ones, as one softmax over both.
    q, k, v = heads(layer.query, x), heads(layer.key, x), heads(layer.value, x)
    out, log_sum = attention(q, k, v, of_all, ~is_global, everything, n, n, band=window)
    if len(chosen) > 0:
        some_k, some_v = k.index_select(0, chosen), v.index_select(0, chosen)
        far, far_log_sum = attention(q, some_k, some_v, of_all, None, everything, n, n, key_offsets=of_chosen)
        out = torch.lerp(far, out, torch.sigmoid(log_sum - far_log_sum).unsqueeze(-1))
        # Global tokens see all, with projections of their own.
        some_q = heads(layer.query_global, x.index_select(0, chosen))
        rows, _ = attention(some_q, heads(layer.key_global, x), heads(layer.value_global, x), of_chosen, None, everything, n, n, key_offsets=of_all)
        out = out.index_copy(0, chosen, rows)
    return (torch.zeros_like(hidden_states).flatten(0, 1).index_copy(0, places, out.flatten(1)).view_as(hidden_states),)


def use_kernel(model) -> None:
    """In all layers of a LongformerModel."""
    for layer in model.encoder.layer:
        layer.attention.self.forward = functools.partial(kernel_attention, layer.attention.self)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", default=str(ROOT / "build/release/bin/liblra_ops.so"))
    parser.add_argument("--lengths", default="4096,3000", help="of the sequences of a batch, the others are padded to the longest")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.ops.load_library(args.library)
    from transformers import LongformerConfig, LongformerModel
    from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

    torch.manual_seed(0)
    config = LongformerConfig(num_hidden_layers=2, attention_window=[512, 512], attention_probs_dropout_prob=0, hidden_dropout_prob=0, vocab_size=100)
    layer = LongformerSelfAttention(config, 0)
    lengths = torch.tensor([int(length) for length in args.lengths.split(",")])
    n = -(-int(lengths.max()) // 512) * 512  # the original wants a multiple of the window
    mask = (torch.arange(n) < lengths.unsqueeze(1)).float()  # as LongformerModel: 0 padding, 1 window, 2 global
    mask[:, 0] = 2
    mask[0, torch.randperm(int(lengths[0]))[:15]] = 2
    state = {"attention_mask": (mask - 1) * 10000, "is_index_masked": mask == 0, "is_index_global_attn": mask == 2, "is_global_attn": True}
    x = torch.randn(len(lengths), n, config.hidden_size, requires_grad=True)
    direction = torch.randn_like(x)

    def step(forward) -> tuple[float, dict]:
        start = time.perf_counter()
        y = forward(x, **state)[0]
        gradients = torch.autograd.grad(y, [x, *layer.parameters()], direction)
        return time.perf_counter() - start, dict(zip(["output", "gradient of the input", *(f"gradient of {name}" for name, _ in layer.named_parameters())], [y, *gradients]))

    ours = functools.partial(kernel_attention, layer)
    (_, wanted), (_, found) = step(layer), step(ours)
    print("largest difference to the original layer, and the largest number there:")
    for name, value in wanted.items():
        print(f"  {name:32} {(found[name] - value).abs().max():.1e} {value.abs().max():.1e}")

    model = LongformerModel(config, add_pooling_layer=False)
    ids = torch.randint(100, (len(lengths), 512))
    parts = {"attention_mask": (mask[:, :512] > 0).float(), "global_attention_mask": (mask[:, :512] == 2).float()}
    before = model(ids, **parts).last_hidden_state
    use_kernel(model)
    print(f"  {'output of a model of two layers':32} {(model(ids, **parts).last_hidden_state - before).abs().max():.1e} {before.abs().max():.1e}")

    seconds = [(step(layer)[0], step(ours)[0]) for _ in range(args.rounds)]
    ratios = sorted(theirs / mine for theirs, mine in seconds)
    theirs, mine = (1000 * statistics.median(column) for column in zip(*seconds))
    print(f"forward and backward, lengths {args.lengths}, {torch.get_num_threads()} threads: original {theirs:.0f} ms, kernel {mine:.0f} ms, "
          f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
