#!/usr/bin/env bash
# Sets up, then runs all tests.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
"$root/scripts/setup.sh"

say "running the tests"
ctest --test-dir build/release --output-on-failure
