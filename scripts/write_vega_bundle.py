"""Writes Vega, Vega-Lite and Vega-Embed, which vl-convert carries, as one JavaScript file for a plain <script>; it defines vegaEmbed.

Usage: write_vega_bundle.py OUT.js
"""

import os
import pathlib
import sys

import vl_convert


def main() -> None:
    out = pathlib.Path(sys.argv[1])
    code = vl_convert.javascript_bundle("globalThis.vegaEmbed = vegaEmbed;")
    # In a function, so that the bundle's other names stay out of the page; and nothing in it may end the <script> that holds it.
    code = "(() => {\n" + code.replace("</script", "<\\/script").replace("<!--", "<\\!--") + "\n})();\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix(".tmp")
    temporary.write_text(code, encoding="utf-8")
    os.replace(temporary, out)


if __name__ == "__main__":
    main()
