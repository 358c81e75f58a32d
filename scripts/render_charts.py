"""Renders Vega-Lite files to SVG, PNG and PDF beside them, and SVG files to PNG. Needs vl-convert-python; called by lra-report and lra-run atlas.

usage: render_charts.py X.vl.json ... Y.svg ...     writes X.svg, X.png (twice the size) and X.pdf; Y.png (twice the size)
"""

import os
import socket
import sys
from pathlib import Path

SUFFIX = ".vl.json"


def write(path, content):
    temporary = path.with_name(path.name + f".tmp.{socket.gethostname()}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def main(files):
    try:
        import vl_convert
    except ImportError:
        sys.exit("the module vl_convert is missing (pip install vl-convert-python)")
    if not files or not all(name.endswith((SUFFIX, ".svg")) for name in files):
        sys.exit(f"usage: render_charts.py X{SUFFIX} ... Y.svg ...")
    for name in files:
        if name.endswith(".svg"):
            write(Path(name).with_suffix(".png"), vl_convert.svg_to_png(Path(name).read_text(encoding="utf-8"), scale=2))
            continue
        spec = Path(name).read_text(encoding="utf-8")
        base = name[: -len(SUFFIX)]
        local = {"allowed_base_urls": []}  # the data is in the file: nothing is fetched
        write(Path(base + ".svg"), vl_convert.vegalite_to_svg(spec, **local).encode())
        write(Path(base + ".png"), vl_convert.vegalite_to_png(spec, scale=2, **local))
        write(Path(base + ".pdf"), vl_convert.vegalite_to_pdf(spec, **local))


if __name__ == "__main__":
    main(sys.argv[1:])
