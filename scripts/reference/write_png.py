#!/usr/bin/env python3
"""Writes the PNG fixtures of the tests: tests/fixtures/png and tests/fixtures/pathfinder. Python's zlib only, so that libpng is checked against
another program. Pixel (y, x) of picture k is (7 y + 13 x + 31 k) mod 256."""

import struct
import zlib
from pathlib import Path

FIXTURES = Path(__file__).resolve().parents[2] / "tests" / "fixtures"


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, rows, depth=8, colour=0, interlaced=0, extra=b""):
    """rows: filter byte and filtered bytes of each row, all joined."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def pixel(y, x, k):
    return (7 * y + 13 * x + 31 * k) % 256


def paeth(a, b, c):
    p = a + b - c
    return min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]


def grey(width, height, k):
    """Row y has the filter y mod 5."""
    data = bytearray()
    for y in range(height):
        data.append(y % 5)
        for x in range(width):
            a = pixel(y, x - 1, k) if x else 0
            b = pixel(y - 1, x, k) if y else 0
            c = pixel(y - 1, x - 1, k) if x and y else 0
            data.append((pixel(y, x, k) - (0, a, b, (a + b) // 2, paeth(a, b, c))[y % 5]) % 256)
    return png(width, height, bytes(data))


def write(path, data):
    path = FIXTURES / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def plain(width, height, bytes_per_pixel):
    return bytes(v for y in range(height) for v in [0] + [pixel(y, x, 0) for x in range(width * bytes_per_pixel)])


write("png/grey.png", grey(6, 10, 0))
write("png/colour.png", png(4, 3, plain(4, 3, 3), colour=2))
write("png/grey_alpha.png", png(4, 3, plain(4, 3, 2), colour=4))
write("png/grey16.png", png(4, 3, plain(4, 3, 2), depth=16))
write("png/grey1.png", png(8, 3, plain(1, 3, 1), depth=1))
write("png/palette.png", png(4, 3, bytes([0, 0, 1, 0, 1] * 3), colour=3, extra=chunk(b"PLTE", bytes([0, 0, 0, 255, 255, 255]))))
# Adam7 of a 1 x 1 picture is its only pass.
write("png/interlaced.png", png(1, 1, bytes([0, 77]), interlaced=1))

# The official layout, with its nesting: batches 0, 2 and 10, and an empty picture.
hard = "pathfinder/lra_release/lra_release/pathfinder32/curv_contour_length_14"
tail = "1.0 14 4 2 0.5 1 1"
write(f"{hard}/imgs/0/sample_0.png", grey(32, 32, 0))
write(f"{hard}/imgs/0/sample_1.png", grey(32, 32, 1))
write(f"{hard}/imgs/2/sample_0.png", b"")
write(f"{hard}/imgs/10/sample_0.png", grey(32, 32, 2))
write(f"{hard}/metadata/0.npy", f"imgs/0 sample_0.png 0 1 {tail}\nimgs/0 sample_1.png 1 0 {tail}\n".encode())
write(f"{hard}/metadata/2.npy", f"imgs/2 sample_0.png 0 1 {tail}\n".encode())
write(f"{hard}/metadata/10.npy", f"imgs/10 sample_0.png 0 1.0 {tail}\n".encode())
