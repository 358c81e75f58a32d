#!/usr/bin/env bash
# Feeds the readers of files with random input, under the address and undefined-behaviour sanitizers.
#
#   scripts/fuzz.sh [SECONDS [READER...]]     each reader of tests/fuzz (default: all) for SECONDS (default: 60)
#
# What is found to reach new code is kept in build/fuzz/corpus and is where the next call begins.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seconds=${1:-60}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "usage: scripts/fuzz.sh [SECONDS [READER...]]; SECONDS is a number of at least 1, found '$seconds'"
readers=("${@:2}")
if [ ${#readers[@]} = 0 ]; then
  for source in tests/fuzz/fuzz_*.cpp; do readers+=("$(basename "${source#tests/fuzz/fuzz_}" .cpp)"); done
fi
for reader in "${readers[@]}"; do
  [ -f "tests/fuzz/fuzz_$reader.cpp" ] || fail "there is no reader '$reader': tests/fuzz/fuzz_$reader.cpp is missing"
done

has_clang() { echo 'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }' | clang++ -fsanitize=fuzzer,address -x c++ - -o /dev/null 2>/dev/null; }
if ! has_clang; then
  command -v apt-get >/dev/null || fail "clang++ with libFuzzer is missing and this is not a Debian-like system; install it and run this again"
  say "installing clang"
  apt_quiet update || fail "apt-get update failed; see build/logs/apt.log"
  apt_quiet install -y --no-install-recommends clang || fail "apt-get could not install clang; see build/logs/apt.log"
  if ! has_clang; then  # newer Debians have the runtime in a package of its own
    package="libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"
    say "installing $package"
    apt_quiet install -y --no-install-recommends "$package" || fail "apt-get could not install $package; see build/logs/apt.log"
  fi
  has_clang || fail "clang++ is there but cannot link -fsanitize=fuzzer,address; install the runtime libraries of its version"
fi

say "building build/fuzz"
logged fuzz.log cmake --preset fuzz || fail "CMake could not configure build/fuzz; see build/logs/fuzz.log"
logged fuzz.log cmake --build build/fuzz --target fuzz_targets || fail "the build of build/fuzz failed; see build/logs/fuzz.log"

for reader in "${readers[@]}"; do
  corpus=build/fuzz/corpus/$reader log=build/logs/fuzz_$reader.log
  crash=build/fuzz/crash_$reader
  mkdir -p "$corpus" "tests/fuzz/seeds/$reader"
  rm -f "$crash"
  say "$reader: $seconds seconds"
  if ! build/fuzz/bin/"fuzz_$reader" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 \
    -exact_artifact_path="$crash" "$corpus" "tests/fuzz/seeds/$reader" >"$log" 2>&1; then
    [ -s "$crash" ] || fail "$reader: the fuzzer stopped without an input; see $log"
    build/fuzz/bin/"fuzz_$reader" -minimize_crash=1 -max_total_time=30 -exact_artifact_path="$crash.small" "$crash" >>"$log" 2>&1 || true
    [ -s "$crash.small" ] || cp "$crash" "$crash.small"
    grep -m 3 -E 'ERROR: |runtime error|unprintable|terminate called|what\(\)' "$log" >&2 || true
    fail "$reader fails on $crash.small ($(wc -c <"$crash.small") bytes); see it again with: build/fuzz/bin/fuzz_$reader $crash.small"
  fi
  say "$reader: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, no failure; corpus of $(find "$corpus" -type f | wc -l)"
done
