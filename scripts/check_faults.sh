#!/usr/bin/env bash
# Plants each fault of tests/faults/*.patch, one for each rule that holds for all mixers and one for each thing that public implementations get wrong,
# and checks that the test it names catches it. The patches go into lib/ (which must be committed) and come out again.
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

build() { cmake --build build/release --target lra_tests >"$log" 2>&1; }
# With kernels and without.
passes() { build/release/bin/lra_tests "$1" >"$log" 2>&1 && LRA_TEST_REFERENCE=1 build/release/bin/lra_tests "$1" >"$log" 2>&1; }
caught_by() { sed -n 's/^Caught by: //p' "$1"; }

say "without faults, the tests that are to catch them pass"
build || { tail -20 "$log"; fail "the build failed"; }
for patch in "${patches[@]}"; do caught_by "$patch"; done | sort -u | while read -r tests; do
  passes "$tests" || { tail -20 "$log"; fail "\"$tests\" fails, or names no test"; }
done

missed=0
for patch in "${patches[@]}"; do
  name=$(basename "$patch" .patch)
  git apply "$patch" || fail "$patch does not apply: the code has moved on, renew it"
  planted=$patch
  build || { grep -m5 error "$log"; fail "$patch does not compile"; }
  if passes "$(caught_by "$patch")"; then
    echo "MISSED  $name"
    missed=$((missed + 1))
  else
    echo "caught  $name: $(head -1 "$patch")"
  fi
  restore
done
build
[ $missed = 0 ] || fail "$missed of ${#patches[@]} faults were not caught"
say "all ${#patches[@]} faults were caught"
