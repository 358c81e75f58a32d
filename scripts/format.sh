#!/usr/bin/env bash
# Formats the C++ of the repository with clang-format (.clang-format: Google's style, 120 columns).
#
#   scripts/format.sh            writes the files
#   scripts/format.sh --check    changes nothing; exit code 1 and the places if a file is not formatted
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
package=clang-format==23.1.5
has_python_packages "$package" || pip_install "$package" || fail "pip could not install $package; see build/logs/pip.log"
case ${1:-} in
  "") mode=(-i) ;;
  --check) mode=(--dry-run --Werror) ;;
  *) fail "expected --check or nothing, found: $*" ;;
esac
git ls-files -z -- '*.cpp' '*.h' | xargs -0 .venv/bin/clang-format "${mode[@]}" || fail "run scripts/format.sh"
