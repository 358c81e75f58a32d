#!/usr/bin/env bash
# Makes what the suites quickstart and lecture train on: short generated ListOps in data/quickstart. Data that are there already are kept.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
build/release/bin/lra-run data prepare listops --data-dir data/quickstart --seed 1 --train 24000 --valid 1000 --test 2000 \
  --min-length 20 --max-length 120 --max-depth 3 --max-args 6
