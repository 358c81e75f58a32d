#!/usr/bin/env bash
# Prepares what the suites smoke, mini and standins train on: short ListOps and a stand-in for each of the five other tasks. Nothing is downloaded.
#   scripts/prepare_standins.sh DIR N     DIR: folder of the data, from the repository's root; N: training examples (ListOps, which is short: five times as many; Path-X: a twentieth)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ $# = 2 ] && [[ $2 =~ ^[0-9]+$ ]] && [ "$2" -ge 200 ] || fail "expected DIR and a number of examples from 200, found: $*"
dir=$1
prepare() { build/release/bin/lra-run data prepare "$@" --data-dir "$dir" >/dev/null || fail "the data of $1 could not be prepared"; }

sizes() { printf -- '--train %d --valid %d --test %d' "$1" $(($1 / 10)) $(($1 / 5)); }
prepare listops --seed 1 $(sizes $((5 * $2))) --min-length 20 --max-length 120 --max-depth 3 --max-args 6
for task in text_standin retrieval_standin pathfinder_standin; do
  prepare $task --seed 1 $(sizes "$2")
done
prepare pathx_standin --seed 1 $(sizes $(($2 / 20)))
prepare image_standin # Fashion-MNIST as Debian packages it
