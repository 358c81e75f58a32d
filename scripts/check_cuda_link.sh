#!/usr/bin/env bash
# Proves that the programs build and link against a CUDA LibTorch on a machine that has no CUDA toolkit: downloads the CUDA wheel (0.9 GB) into
# build/cuda-wheel, builds build/cuda-link against it, and shows that the program asks for libtorch_cuda and libc10_cuda when it starts.
# It is not started: that needs NVIDIA's libraries, which the wheel's dependencies bring.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=2.13.0
target=${1:-lra-run}
[ -x .venv/bin/python ] || fail "no .venv here: run scripts/setup.sh first"

wheel_dir=build/cuda-wheel
if [ ! -d $wheel_dir/unpacked/torch ]; then
  say "downloading the CUDA wheel of torch $version (0.9 GB)"
  # ===: the wheel named exactly so on the default index is the CUDA build; == would also take 2.13.0+cpu.
  logged cuda-wheel.log .venv/bin/python -m pip download --disable-pip-version-check --no-deps -d $wheel_dir "torch===$version" ||
    fail "pip could not download torch===$version; see build/logs/cuda-wheel.log"
  say "unpacking it into $wheel_dir/unpacked"
  rm -rf $wheel_dir/unpacked.part
  .venv/bin/python -m zipfile -e $wheel_dir/torch-$version-*.whl $wheel_dir/unpacked.part
  mv $wheel_dir/unpacked.part $wheel_dir/unpacked
fi
libtorch="$root/$wheel_dir/unpacked/torch"
[ -e "$libtorch/lib/libtorch_cuda.so" ] || fail "$libtorch is not a CUDA build: lib/libtorch_cuda.so is missing"
say "CUDA build: $(grep -E "^(__version__|cuda)" "$libtorch/version.py" | tr '\n' ' ')"

# No toolkit for this build, even where one is installed.
unset CUDA_HOME CUDA_PATH CUDACXX CUDAToolkit_ROOT
while nvcc=$(command -v nvcc); do
  PATH=$(printf %s "$PATH" | tr ':' '\n' | grep -vFx "$(dirname "$nvcc")" | paste -sd:)
done

say "building $target against it in build/cuda-link (no nvcc, no CUDA_HOME)"
logged cuda-cmake.log cmake -S . -B build/cuda-link -G Ninja -DCMAKE_BUILD_TYPE=Release -DLRA_TESTS=OFF "-DLIBTORCH_ROOT=$libtorch" ||
  fail "CMake could not configure build/cuda-link; see build/logs/cuda-cmake.log"
grep -E 'LibTorch' build/logs/cuda-cmake.log
logged cuda-build.log ninja -C build/cuda-link "$target" || fail "$target does not build against the CUDA wheel; see build/logs/cuda-build.log"

program=build/cuda-link/bin/$target
say "what $program needs"
readelf -d "$program" | grep -E 'NEEDED.*(torch|c10|gomp|lra)|RUNPATH|RPATH'
for library in libtorch_cuda.so libc10_cuda.so; do
  # Not grep -q: readelf would be stopped by a closed pipe.
  readelf -d "$program" | grep "NEEDED.*\[$library\]" >/dev/null || fail "$program does not ask for $library"
done
say "linked against CUDA LibTorch $version without a CUDA toolkit"
