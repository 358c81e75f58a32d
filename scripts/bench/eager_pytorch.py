"""The reference for step times: the profile `small` on ListOps in ordinary eager PyTorch, as most LRA code in Python is written.

2 layers, width 64, 2 heads, feed-forward 128, pre-LN, exact GELU, biases, learned positions, mean over the padded length, head 64-128-10;
rectangular batches with a key mask, no dropout, fused AdamW. Times forward, backward and optimiser on a task's real batches and prints one line
of JSON.

  eager_pytorch.py --mixer linear|linformer|flash --data data/listops/basic_train.tsv [--pad full|longest]
"""

import argparse
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

VOCABULARY = {token: i + 1 for i, token in enumerate([*"0123456789", "[MIN", "[MAX", "[MED", "[SM", "]"])}
VOCAB_SIZE, TABLE_LENGTH, FULL_LENGTH, CLASSES = 32, 2048, 2000, 10
WIDTH, HEADS, LAYERS, FEED_FORWARD, LINFORMER_K = 64, 2, 2, 128, 256


class Attention(nn.Module):
    def __init__(self, mixer: str):
        super().__init__()
        self.mixer = mixer
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        if mixer == "linformer":
            self.E, self.F = (nn.Parameter(nn.init.xavier_uniform_(torch.empty(TABLE_LENGTH, LINFORMER_K))) for _ in range(2))

    def forward(self, x, mask):
        batch, length, _ = x.shape
        q, k, v = (p(x).view(batch, length, HEADS, -1).transpose(1, 2) for p in (self.query, self.key, self.value))
        y = getattr(self, self.mixer)(q, k, v, mask[:, None, :])
        return self.out(y.transpose(1, 2).reshape(batch, length, WIDTH))

    def linear(self, q, k, v, mask):
        q, k = F.elu(q) + 1, (F.elu(k) + 1) * mask[..., None]
        return q @ (k.transpose(-2, -1) @ v) / (q @ k.sum(-2).unsqueeze(-1))

    def linformer(self, q, k, v, mask):
        length = k.size(-2)
        k = (k * mask[..., None]).transpose(-2, -1) @ self.E[:length]
        v = (v * mask[..., None]).transpose(-2, -1) @ self.F[:length]
        weights = torch.softmax(q @ k / q.size(-1) ** 0.5, dim=-1)
        return weights @ v.transpose(-2, -1)

    def flash(self, q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, :, None, :])


class Block(nn.Module):
    def __init__(self, mixer: str):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = Attention(mixer)
        self.feed_forward = nn.Sequential(nn.Linear(WIDTH, FEED_FORWARD), nn.GELU(), nn.Linear(FEED_FORWARD, WIDTH))

    def forward(self, x, mask):
        x = x + self.attention(self.norm1(x), mask)
        return x + self.feed_forward(self.norm2(x))


class Model(nn.Module):
    def __init__(self, mixer: str):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCAB_SIZE, WIDTH), nn.Embedding(TABLE_LENGTH, WIDTH)
        for table in (self.tokens, self.positions):
            nn.init.normal_(table.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(mixer) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Sequential(nn.Linear(WIDTH, FEED_FORWARD), nn.ReLU(), nn.Linear(FEED_FORWARD, CLASSES))

    def forward(self, ids):
        mask = ids != 0
        x = self.tokens(ids) + self.positions(torch.arange(ids.size(1), device=ids.device))
        for block in self.blocks:
            x = block(x, mask)
        pooled = (self.norm(x) * mask[..., None]).sum(1) / ids.size(1)
        return self.head(pooled)


def read_examples(path: str, count: int):
    """The first `count` examples: the lines of a ListOps file are in random order."""
    examples = []
    with open(path, encoding="ascii", newline=None) as file:
        next(file)
        for line in file:
            source, target = line.rstrip("\n").split("\t")
            examples.append(([VOCABULARY[token] for token in source.split() if token not in "()"], int(target)))
            if len(examples) == count:
                return examples
    sys.exit(f"error: {path} has {len(examples)} examples, {count} are needed: use a larger file, a smaller --batch-size or fewer --steps")


def to_batch(examples, pad: str):
    length = FULL_LENGTH if pad == "full" else max(len(tokens) for tokens, _ in examples)
    ids = torch.zeros(len(examples), length, dtype=torch.long)
    for row, (tokens, _) in zip(ids, examples):
        row[: len(tokens)] = torch.tensor(tokens)
    return ids, torch.tensor([label for _, label in examples])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixer", choices=["linear", "linformer", "flash"], required=True)
    parser.add_argument("--data", default="data/listops/basic_train.tsv")
    parser.add_argument("--pad", choices=["full", "longest"], default="full", help="full: to 2000; longest: to the batch's longest sequence")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=0, help="0: PyTorch's default, all cores")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    total = args.warmup + args.steps
    examples = read_examples(args.data, total * args.batch_size)
    batches = [to_batch(examples[i * args.batch_size : (i + 1) * args.batch_size], args.pad) for i in range(total)]

    model = Model(args.mixer).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0, fused=True)
    seconds = []
    for ids, labels in batches:
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(ids), labels)
        loss.backward()
        optimizer.step()
        loss.item()
        seconds.append(time.perf_counter() - start)
    if not torch.isfinite(loss):
        sys.exit("error: the loss is not a finite number")

    timed = seconds[args.warmup :]
    quartiles = statistics.quantiles([1 / s for s in timed], n=4)
    print(
        json.dumps(
            {
                "implementation": "eager PyTorch",
                "torch": torch.__version__,
                "mixer": args.mixer,
                "pad": args.pad,
                "batch_size": args.batch_size,
                "threads": torch.get_num_threads(),
                "parameters": sum(p.numel() for p in model.parameters()),
                "mean_tokens": round(sum(len(tokens) for tokens, _ in examples) / len(examples), 1),
                "mean_padded_length": round(sum(ids.size(1) for ids, _ in batches) / total, 1),
                "last_loss": round(loss.item(), 4),
                "train_steps_per_second": {
                    "median": statistics.median(1 / s for s in timed),
                    "spread": quartiles[2] - quartiles[0],
                    "samples": [round(1 / s, 5) for s in timed],
                },
            }
        )
    )


if __name__ == "__main__":
    main()
