#!/usr/bin/env bash
# Builds the report of everything in results/, takes the README's pictures from it, and writes the README's table and
# results/lecture/report.html, a sample page.
#   scripts/figures.sh [--check]     --check: changes nothing; fails unless all of them are those of the records
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ $# = 0 ] || [ "$*" = --check ] || fail "expected nothing or --check, found: $*"

report=build/figures
rm -rf "$report"
sums=results/figures/SHA256SUMS
sample=results/lecture/report.html
hashes() { (cd "$report" && LC_ALL=C sha256sum index.html charts/*.vl.json); }

# Without pictures, which take most of the time: the hashes are those of this page.
build/release/bin/lra-report results -o "$report" --no-pictures >/dev/null
if [ "${1:-}" = --check ]; then
  diff "$sums" <(hashes) || fail "the README's pictures are not those of the records in results/: run scripts/figures.sh and look at them"
  python3 scripts/readme_table.py --check || exit 1
  build/release/bin/lra-report results/lecture --page "$report/sample.html" >/dev/null
  cmp "$report/sample.html" "$sample" || fail "$sample is not the page of the records beside it: run scripts/figures.sh and look at it"
  say "page, charts and table are those of the README, and the sample page is that of its records"
  exit
fi

hashes > "$sums"
build/release/bin/lra-report results -o "$report"
for chart in bubble_listops_lecture curves_listops_listops-small bubble_text_standin_mini growth_time growth_share roofline; do
  cp "$report/charts/$chart.png" results/figures/
done
.venv/bin/python - "$report/atlas.svg" results/figures/atlas.png <<'PY'
import pathlib, sys, vl_convert
pathlib.Path(sys.argv[2]).write_bytes(vl_convert.svg_to_png(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"), scale=1))
PY
python3 scripts/readme_table.py
build/release/bin/lra-report results/lecture --page "$sample"
say "the pictures are in results/figures"
