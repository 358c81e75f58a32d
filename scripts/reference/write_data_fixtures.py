"""Writes the tiny data sets in the official formats into tests/fixtures/{imdb,aan,cifar10,idx,archive}, and first inputs for
scripts/fuzz.sh into tests/fuzz/seeds: the same bytes at every call.

    .venv/bin/python scripts/reference/write_data_fixtures.py

Prints the values that tests/core/test_{cifar10,idx}.cpp expect, computed here with NumPy.
"""

import gzip
import hashlib
import io
import random
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

FIXTURES = Path(__file__).resolve().parents[2] / "tests/fixtures"


def write(name, content):
    file = FIXTURES / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def write_imdb():
    reviews = {
        "train/neg/0_3.txt": "A waste of time.<br /><br />\"Never\" again.",
        "train/neg/10_1.txt": "Bad.",
        "train/neg/2_4.txt": "I fell asleep.\r\nTwice.\n",
        "train/pos/0_9.txt": "Amélie is a delight — see it!",
        "train/pos/1_7.txt": "Good enough",
        "train/pos/11_10.txt": "x" * 5000 + "end",
        "test/neg/0_2.txt": "Poor plot\tand worse acting.",
        "test/neg/1_4.txt": "No.",
        "test/pos/0_10.txt": "Ten out of ten",
        "test/pos/1_8.txt": "Yes.",
    }
    for name, review in reviews.items():
        write(f"imdb/aclImdb/{name}", review.encode())
    write("imdb/aclImdb/train/neg/._0_3.txt", b"not a review")
    write("imdb/aclImdb/train/urls_neg.txt", b"not a review either\n")


def write_aan():
    write("aan/new_aan_pairs.train.tsv", (
        "1.0\tP01-1001\tP02-1002\tWe parse \"text\" well.\tA \"quote\n"
        "0.0\t2\t3\t\tthe first text is empty\n"
        "1\t4\t5\t" + "a" * 9999 + "bc\t" + "d" * 9999 + "é and more\n"
        "0\t6\t7\tnaïve Bayes\t\n"
        "1.00\t8\t9\tx\ty\n"
        "0.00\t8\t9\ty\tx\n").encode())
    write("aan/new_aan_pairs.eval.tsv", b"1.0\ta\tb\tone\ttwo\r\n0.0\tc\td\tthree\tfour\r\n")
    write("aan/new_aan_pairs.test.tsv", b"0.0\te\tf\tfive\tsix\n1.0\tg\th\tseven\teight")


def grey(rgb):
    """(..., 3) bytes to grey, in float32, one rounding an operation."""
    scaled = rgb.astype(np.float32) * np.float32(1 / 255)
    weighted = scaled * np.array([0.2989, 0.5870, 0.1140], np.float32)
    return ((weighted[..., 0] + weighted[..., 1] + weighted[..., 2]) * np.float32(255.5)).astype(np.uint8)


def sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def write_cifar10():
    rng = random.Random(0)
    for i, name in enumerate(["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]):
        records = b"".join(bytes([(2 * i + j) % 10]) + rng.randbytes(3072) for j in range(2))
        write(f"cifar10/cifar-10-batches-bin/{name}.bin", records)
        if i == 0:
            pictures = np.frombuffer(records, np.uint8).reshape(2, 3073)[:, 1:].reshape(2, 3, 1024).transpose(0, 2, 1)
            values = grey(pictures)
            print("cifar10 data_batch_1: first", values[0, :4], "last", values[1, -4:], "sha256", sha256(values))
    levels = np.arange(256, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    values = grey(colours)
    print("cifar10 all colours, red slowest: sha256", sha256(values))
    other = colours.astype(np.float32) / np.float32(255)
    other = ((other * np.array([0.2989, 0.5870, 0.1140], np.float32)).sum(-1) * np.float32(255.5)).astype(np.uint8)
    print("colours that a division by 255 would make another grey:", int((other != values).sum()))


def write_idx():
    for name, count, compress in (("train", 6, True), ("t10k", 3, False)):
        n, row, column = np.ogrid[:count, :28, :28]
        pictures = ((n * 50 + row * 9 + column) % 256).astype(np.uint8)
        labels = (np.arange(count) * 3 % 10).astype(np.uint8)
        files = {
            "images-idx3": np.array([0x803, count, 28, 28], ">u4").tobytes() + pictures.tobytes(),
            "labels-idx1": np.array([0x801, count], ">u4").tobytes() + labels.tobytes(),
        }
        for kind, content in files.items():
            if compress:
                write(f"idx/{name}-{kind}-ubyte.gz", gzip.compress(content, mtime=0))
            else:
                write(f"idx/{name}-{kind}-ubyte", content)
        padded = np.pad(pictures, ((0, 0), (2, 2), (2, 2)))
        print(f"idx {name}: sha256 of the padded pictures", sha256(padded), "labels", labels)


def tar(entries):
    """Entries: (name, content), or (name, None, the name a link points to, its type)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content, *link in entries:
            info = tarfile.TarInfo(name)
            if link:
                info.linkname, info.type = link
            elif content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content or b""))
    return out.getvalue()


def write_archives():
    numbers = "".join(f"{i}\n" for i in range(3000)).encode()
    files = [
        ("./lra_release/lra_release/tsv_data/new_aan_pairs.test.tsv", b"0.0\ta\tb\tc\td\n"),
        ("./lra_release/listops-1000/numbers.txt", numbers),
        ("./lra_release/empty.txt", b""),
    ]
    folder = ("./lra_release", None)
    links = [("./lra_release/soft.txt", None, "/etc/passwd", tarfile.SYMTYPE),
             ("./lra_release/hard.txt", None, "./lra_release/empty.txt", tarfile.LNKTYPE)]
    plain = tar([folder, *files, *links])
    write("archive/lra_release.gz", gzip.compress(plain, mtime=0))
    write("archive/lra_release.tar", plain)
    with zipfile.ZipFile(FIXTURES / "archive/lra_release.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    write("archive/parent.tar.gz", gzip.compress(tar([("ok.txt", b"ok"), ("x/../../evil.txt", b"evil")]), mtime=0))
    write("archive/absolute.tar.gz", gzip.compress(tar([("/tmp/lra_evil.txt", b"evil")]), mtime=0))
    # The wrong checksum lies far behind the last file.
    padded = bytearray(gzip.compress(plain + bytes(3 << 20), mtime=0))
    padded[-8] ^= 1
    write("archive/wrong_checksum.tar.gz", padded)
    write("archive/no_archive.gz", gzip.compress(b"just a text\n", mtime=0))


def png(side):
    """A grey picture."""
    def chunk(kind, content):
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    rows = b"".join(b"\0" + bytes((row * column) % 256 for column in range(side)) for row in range(side))
    header = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def write_seeds():
    def seed(name, content):
        write(f"../fuzz/seeds/{name}", content)

    seed("listops/good", b"( ( ( [MAX 4 ) ( ( ( ( [MED 7 ) 1 ) 2 ) ] ) ) ] )\t4\r\n7\t7\n( ( ( [SM 9 ) 9 ) ] )\t8\n")
    seed("listops/bad", b"( [MIN ] )\t1\n1 2\t1\n\n\xff\t1\n")
    seed("aan/good", b"1.0\ta\tb\tone \"text\ttwo\r\n0\t\t\t\t\n")
    seed("aan/bad", b"1e-0\ta\tb\tc\td\n2.0\ta\tb\tc\n")
    seed("cifar10/good", bytes([9]) + bytes(range(256)) * 12)
    images = np.array([0x803, 1, 28, 28], ">u4").tobytes() + bytes(784)
    labels = np.array([0x801, 1], ">u4").tobytes() + b"\x09"
    seed("idx/plain", len(images).to_bytes(2, "big") + images + labels)
    images, labels = gzip.compress(images, mtime=0), gzip.compress(labels, mtime=0)
    seed("idx/gzip", len(images).to_bytes(2, "big") + images + labels)
    seed("pathfinder/good", b"imgs/0 sample_0.png 0 1 1.8 14 4 5 1.5 3 1\nimgs/0 sample_1.png 1 0.0 1.8 14 4 5 1.5 3 1\r\n")
    seed("pathfinder/bad", b"/x a 0 1\n../y b 0 1\nimgs a/b 0 2\n\n")
    seed("png/side_2", png(2))
    seed("png/side_32", png(32))
    seed("config/task", b'{"task": "listops", "seq_len": 2000, "vocab_size": 17, "num_classes": 10}\0{"limit": 5, "task": "x"}')
    seed("config/model", b'{"num_layers": 4, "dropout": 1e-1, "pooling": "cls", "mixer_options": {"k": [1, -2]}, "attention_bias": true}')
    seed("config/train", b'{"seed": 1, "learning_rate": 0.05, "schedule": "rsqrt", "cycle_momentum": false, "memory_limit_gb": 1e300}')
    seed("config/nested", b'{"a": {"measure_steps": 20}, "b": [[[[{"c": null}]]]]}\0{"a": {"a/b~0": "\\u00e9\xc3\xa9"}}')


write_seeds()
write_imdb()
write_aan()
write_cifar10()
write_idx()
write_archives()
