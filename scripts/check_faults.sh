#!/usr/bin/env bash
# Plants each fault of tests/faults/*.patch (rules that hold for all mixers, what public implementations get wrong, what would lose or falsify a result)
# and checks that the test it names catches it: "Caught by: TEST" of lra_tests, or "Caught by lra_core_tests: TEST". The patches go into lib/ (which must be
# committed) and come out again.
#
#   scripts/check_faults.sh [NAME ...]     all of them, or those named (without .patch)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ -x build/release/bin/lra_tests ] || fail "build first: scripts/setup.sh"
[ -z "$(git status --porcelain -- lib)" ] || fail "lib/ has uncommitted changes: commit or stash them, the patches are planted there"

patches=(tests/faults/*.patch)
if [ $# -gt 0 ]; then patches=("${@/#/tests/faults/}"); patches=("${patches[@]/%/.patch}"); fi
log=$(mktemp)
planted=
restore() { [ -z "$planted" ] || git apply --reverse "$planted"; planted=; }
trap 'restore; rm -f "$log"' EXIT

build() { cmake --build build/release --target "$@" >"$log" 2>&1; }
# With kernels and without.
passes() { build/release/bin/"$1" "$2" >"$log" 2>&1 && LRA_TEST_REFERENCE=1 build/release/bin/"$1" "$2" >"$log" 2>&1; }
# "PROGRAM TESTS" of each patch
caught_by() { sed -n -e 's/^Caught by: /lra_tests /p' -e 's/^Caught by lra_core_tests: /lra_core_tests /p' "$@"; }

say "without faults, the tests that are to catch them pass"
mapfile -t programs < <(caught_by "${patches[@]}" | cut -d' ' -f1 | sort -u)
build "${programs[@]}" || { tail -20 "$log"; fail "the build failed"; }
caught_by "${patches[@]}" | sort -u | while read -r program tests; do
  passes "$program" "$tests" || { tail -20 "$log"; fail "\"$tests\" fails, or names no test"; }
done

missed=0
for patch in "${patches[@]}"; do
  name=$(basename "$patch" .patch)
  git apply "$patch" || fail "$patch does not apply: the code has moved on, renew it"
  planted=$patch
  read -r program tests < <(caught_by "$patch")
  build "$program" || { grep -m5 error "$log"; fail "$patch does not compile"; }
  if passes "$program" "$tests"; then
    echo "MISSED  $name"
    missed=$((missed + 1))
  else
    echo "caught  $name: $(head -1 "$patch")"
  fi
  restore
done
build "${programs[@]}"
[ $missed = 0 ] || fail "$missed of ${#patches[@]} faults were not caught"
say "all ${#patches[@]} faults were caught"
