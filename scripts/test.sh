#!/usr/bin/env bash
# Sets up, installs what only tests need, then runs all tests.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
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
