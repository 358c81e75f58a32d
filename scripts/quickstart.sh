#!/usr/bin/env bash
# From a fresh clone to the bubble chart: sets up, makes a small ListOps, trains and measures eight mixers, writes the report.
#   scripts/quickstart.sh [quickstart|lecture]     lecture: all mixers
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
suite=${1:-quickstart}
[ $# -le 1 ] && [[ $suite = quickstart || $suite = lecture ]] || fail "expected quickstart or lecture, found: $*"
"$root/scripts/setup.sh"

bin=build/release/bin
say "generating short ListOps sequences in data/quickstart (unless they are there)"
$bin/lra-run data prepare listops --data-dir data/quickstart --seed 1 --train 24000 --valid 1000 --test 2000 \
  --min-length 20 --max-length 120 --max-depth 3 --max-args 6 >/dev/null
say "training and measuring the mixers of the suite $suite (2 cores: quickstart 4 minutes, lecture 20; finished runs are skipped)"
# Exit code 3: a run ended with another status than ok; the report shows which.
$bin/lra-run --config "configs/suites/$suite.json" --out "runs/$suite" || [ $? = 3 ]
say "drawing the atlas of mechanisms"
$bin/lra-run atlas --out "runs/$suite/atlas" >/dev/null
say "writing the report"
$bin/lra-report "runs/$suite" -o report
say "the report: $root/report/index.html"
