"""Writes the reference outputs and input gradients of every mixer into tests/reference/.

Regenerate, after a mixer or one of its test variants is new:
    build/release/bin/lra_tests "[write_references]"       the cases: weights, input, direction
    .venv/bin/python scripts/reference/write.py            what mixers.py beside this file makes of them

The loss is the sum of output * direction. The same cases give the same bytes.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from mixers import MIXERS, Weights

FOLDER = Path(__file__).resolve().parents[2] / "tests/reference"
DTYPES = {"F64": np.float64, "I64": np.int64}
RESULTS = ("output", "input_gradient")


def read(file):
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    metadata = header.pop("__metadata__")
    data = content[8 + size :]
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = torch.from_numpy(values.copy())
    return tensors, metadata


def write(file, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, tensor in sorted(tensors.items()):
        values = tensor.numpy()
        dtype = next(key for key, value in DTYPES.items() if value == values.dtype)
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [len(data), len(data) + values.nbytes]}
        data += values.tobytes()
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    temporary = file.with_name(file.name + ".tmp")
    temporary.write_bytes(len(text).to_bytes(8, "little") + text + data)
    temporary.replace(file)


def compute(tensors, metadata):
    """output and input gradient (tokens, d_model), one sequence at a time"""
    prefix = "mixer."
    weights = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    options, spec = json.loads(metadata["options"]), json.loads(metadata["spec"])
    outputs, gradients = [], []
    start = 0
    for n in tensors["lengths"].tolist():
        mine = slice(start, start + n)
        start += n
        x = tensors["x"][mine].clone().requires_grad_()
        output = MIXERS[metadata["mixer"]](Weights(weights, options, spec, tensors["token_ids"][mine]), x)
        (gradient,) = torch.autograd.grad((output * tensors["direction"][mine]).sum(), x)
        outputs.append(output.detach())
        gradients.append(gradient)
    return dict(zip(RESULTS, (torch.cat(outputs), torch.cat(gradients))))


def main():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    files = sorted(FOLDER.glob("*.safetensors"))
    if not files:
        sys.exit(f'{FOLDER} has no cases: build/release/bin/lra_tests "[write_references]" writes them')
    for file in files:
        tensors, metadata = read(file)
        begin = time.perf_counter()
        tensors.update(compute(tensors, metadata))
        seconds = time.perf_counter() - begin
        write(file, tensors, metadata)
        print(f"{file.stem:20} {seconds:6.2f} s  {file.stat().st_size / 1024:5.1f} KiB  {metadata['options']}")


if __name__ == "__main__":
    main()
