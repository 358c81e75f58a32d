#!/usr/bin/env bash
# From a fresh clone to the bubble chart: sets up, makes a small ListOps, trains and measures eight mixers, writes the report.
#   scripts/quickstart.sh [quickstart|lecture]     lecture: all mixers
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
suite=${1:-quickstart}
[ $# -le 1 ] && [[ $suite = quickstart || $suite = lecture ]] || fail "expected quickstart or lecture, found: $*"
"$root/scripts/setup.sh" lra-run lra-report

bin=build/release/bin
say "making short ListOps sequences (unless they are there)"
"$root/scripts/prepare_quickstart.sh"
say "training and measuring the mixers of the suite $suite (2 cores: quickstart 4 minutes, lecture 20; what is done is not done again)"
# Exit code 3: a run ended with another status than ok; the report shows which.
$bin/lra-run suite "$suite" || [ $? = 3 ]
say "drawing the atlas of mechanisms"
$bin/lra-run atlas --out "runs/$suite/atlas" >/dev/null
say "writing the report"
$bin/lra-report "runs/$suite" -o report
