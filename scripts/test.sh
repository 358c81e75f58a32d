#!/usr/bin/env bash
# Sets up, builds the tests too, installs what only tests need, then runs all tests.
#   scripts/test.sh --mixer NAME     builds what has changed and runs the tests that every mixer must pass, for this one: seconds
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
if [ $# = 2 ] && [ "$1" = --mixer ]; then
  [ -e build/release/build.ninja ] || "$root/scripts/setup.sh"
  build lra-run lra_tests
  build/release/bin/lra-run ls mixers "$2" >/dev/null || exit 2
  LRA_TEST_MIXER=$2 build/release/bin/lra_tests "[each]"
  exit
fi
[ $# = 0 ] || fail "expected nothing or --mixer NAME, found: $*"
"$root/scripts/setup.sh"

# Tests that miss one of these are skipped and say so.
python_packages=(tensorboard==2.21.0 playwright==1.65.2)
system_packages=(chromium fonts-liberation)

for package in "${python_packages[@]}"; do
  if ! has_python_packages "$package"; then
    say "installing $package into .venv"
    pip_install "$package" || say "pip could not install $package; see build/logs/pip.log"
  fi
done
missing=()
for package in "${system_packages[@]}"; do
  installed "$package" || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  say "installing ${missing[*]}"
  { apt_quiet update && apt_quiet install -y --no-install-recommends "${missing[@]}"; } || say "apt-get could not install ${missing[*]}; see build/logs/apt.log"
fi

say "running the tests"
ctest --test-dir build/release --output-on-failure
