#!/usr/bin/env bash
# From a fresh clone to the bubble chart: sets up, makes a small ListOps, trains and measures eight mixers, writes the report.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
"$root/scripts/setup.sh"

bin=build/release/bin
say "generating short ListOps sequences in data/quickstart (unless they are there)"
$bin/lra-run data prepare listops --data-dir data/quickstart --seed 1 --train 24000 --valid 1000 --test 2000 \
  --min-length 20 --max-length 120 --max-depth 3 --max-args 6 >/dev/null
say "training and measuring eight mixers (about 8 minutes on 2 cores; finished runs are skipped)"
# Exit code 3: a run ended with another status than ok; the report shows which.
$bin/lra-run --config configs/suites/quickstart.json --out runs/quickstart || [ $? = 3 ]
say "writing the report"
$bin/lra-report runs/quickstart -o report
say "the report: $root/report/index.html"
