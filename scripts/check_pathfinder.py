#!/usr/bin/env python3
"""Can generated Pathfinder pictures be learnt, and only by following the curves?

    OMP_NUM_THREADS=1 .venv/bin/python scripts/check_pathfinder.py [EASIER ...] FOLDER

FOLDER is a pathfinder32/curv_contour_length_14, whose last tenth is the test. Trains a linear classifier on its pixels, which must stay near
50 %, and a small residual network. From hard pictures alone that needs very many of them before it leaves 50 %, so it sees easier ones
first, in the order given, each until it recognises 85 % of them (`lra-run data prepare pathfinder_standin --contour-length 3`, then 4, 6, 9). A
hundred steps take some 6 s of one core; a GPU is used where there is one. Prints one JSON object; progress goes to standard error.
"""

import argparse
import json
import struct
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

SIZE = 32


def decode(data):
    """Pixels of an 8-bit grey PNG of SIZE x SIZE, by another program than the one that wrote it."""
    at, packed = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR" and struct.unpack(">IIBBBBB", body) != (SIZE, SIZE, 8, 0, 0, 0, 0):
            raise SystemExit(f"expected 8-bit grey PNG files of {SIZE} x {SIZE} pixels")
        if kind == b"IDAT":
            packed += body
        at += length + 12
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(SIZE, SIZE + 1)
    if not rows[:, 0].any():
        return rows[:, 1:]
    pixels = np.zeros((SIZE + 1, SIZE + 1), np.int64)  # a row and a column of zeros before the picture
    for y in range(SIZE):
        for x in range(SIZE):
            a, b, c = pixels[y + 1, x], pixels[y, x + 1], pixels[y, x]
            paeth = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            pixels[y + 1, x + 1] = (rows[y, x + 1] + (0, a, b, (a + b) // 2, paeth)[rows[y, 0]]) % 256
    return pixels[1:, 1:].astype(np.uint8)


def read(folder, limit):
    pictures, labels = [], []
    for file in sorted((folder / "metadata").glob("*.npy"), key=lambda f: int(f.stem)):
        for line in file.read_text().splitlines():
            columns = line.split(" ")
            data = (folder / columns[0] / columns[1]).read_bytes()
            if data and len(labels) < limit:
                pictures.append(decode(data))
                labels.append(int(float(columns[3])))
    return torch.from_numpy(np.stack(pictures)).unsqueeze(1), torch.tensor(labels)


class Block(nn.Module):
    def __init__(self, channels, dilation):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(channels),
        )
        nn.init.zeros_(self.layers[-1].weight)  # the identity at first, so that sums do not grow

    def forward(self, x):
        return functional.relu(x + self.layers(x))


class Network(nn.Module):
    """Halves the picture once, then sees all of it by dilated convolutions."""

    def __init__(self, channels=32):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, channels, 6, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            *(Block(channels, dilation) for dilation in (1, 1, 2, 2, 4, 1)),
        )
        self.head = nn.Sequential(nn.LayerNorm(2 * channels), nn.Linear(2 * channels, 2))

    def forward(self, x):
        x = self.body(x).flatten(2)
        return self.head(torch.cat([x.amax(2), x.mean(2)], 1))


def prepared(pictures):
    return (pictures.float() / 255 - 0.1).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def accuracy(model, pictures, labels):
    model.eval()
    right = sum((model(prepared(x)).argmax(1) == y).sum().item() for x, y in zip(pictures.split(500), labels.split(500)))
    model.train()
    return right / len(labels)


def train(name, model, data, steps, enough=1.0, batch=32, learning_rate=1e-3):
    """Adam, until `enough` of 300 batches' pictures are recognised or `steps` are done; the rate falls to zero over the last half of them.
    Each batch is turned and mirrored at random, which changes no label. Returns the accuracy on the test."""
    (pictures, labels), test = data
    model = model.to(pictures.device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    right, every = 0, 300
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = learning_rate * min(1, 2 * (1 - step / steps))
        chosen = torch.randint(len(labels), (batch,), device=labels.device)
        x = torch.rot90(pictures[chosen], int(torch.randint(4, ())), (2, 3))
        x = x.flip(3) if torch.rand(()) < 0.5 else x
        scores = model(prepared(x))
        optimiser.zero_grad()
        functional.cross_entropy(scores, labels[chosen]).backward()
        optimiser.step()
        right += (scores.argmax(1) == labels[chosen]).sum().item()
        if (step + 1) % every == 0:
            print(f"{name}: step {step + 1}/{steps}, training accuracy {right / every / batch:.3f}, {time.process_time():.0f} s of CPU", file=sys.stderr)
            if right >= enough * every * batch:
                break
            right = 0
    score = accuracy(model, *test)
    print(f"{name}: test accuracy {score:.3f}", file=sys.stderr)
    return score


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--limit", type=int, default=60000, help="pictures to use of each folder")
    parser.add_argument("--steps", type=int, default=12000, help="of 32 pictures, on the last folder; on each easier one half as many at most")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def load(folder):
        pictures, labels = (tensor.to(device) for tensor in read(folder, arguments.limit))
        cut = len(labels) * 9 // 10
        return (pictures[:cut], labels[:cut]), (pictures[cut:], labels[cut:])

    network = Network()
    for folder in arguments.folders[:-1]:
        train(f"network on {folder.name}", network, load(folder), arguments.steps // 2, enough=0.85)
    data = load(arguments.folders[-1])
    accuracy_of_network = train(f"network on {arguments.folders[-1].name}", network, data, arguments.steps)
    linear = train("linear", nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 2)), data, 3000)
    pictures, labels = (torch.cat(pair) for pair in zip(*data))
    result = {
        "pictures": len(labels),
        "label_1": labels.float().mean().item(),
        "nonzero_pixels": (pictures > 0).float().mean().item(),
        "linear_accuracy": linear,
        "network_accuracy": accuracy_of_network,
    }
    print(json.dumps({key: round(value, 4) for key, value in result.items()}))


main()
