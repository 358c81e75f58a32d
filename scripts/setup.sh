#!/usr/bin/env bash
# Installs what is missing (apt packages; LibTorch and a few Python packages into .venv), then builds build/release. Can be run again.
#   scripts/setup.sh [TARGET...]     what to build, for example lra-run lra-report; without a name everything, the tests too
#
# Environment: LRA_WERROR=ON (warnings are errors), LIBTORCH_ROOT (a LibTorch folder to use), LRA_PYTHON (a Python whose torch to use), LRA_TORCH=cpu|cuda (which build of
# torch to install where none is found; default: cuda where an NVIDIA GPU is seen, else cpu).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

torch_version=2.13.0
python_packages=(numpy==2.4.6 safetensors==0.8.0 vl-convert-python==1.9.0.post1)
rm -rf build/logs

# --- system packages
has_catch2() { dpkg --compare-versions "$(dpkg-query -W -f '${Version}' catch2 2>/dev/null || echo 0)" ge 3; }
offers_catch2() { dpkg --compare-versions "$(apt-cache madison catch2 | awk '{print $3}' | sort -V | tail -n 1)" ge 3; }

missing=()
command -v g++ >/dev/null || missing+=(g++)
command -v cmake >/dev/null || missing+=(cmake)
command -v ninja >/dev/null || missing+=(ninja-build)
command -v ccache >/dev/null || missing+=(ccache)
command -v git >/dev/null || missing+=(git)
command -v python3 >/dev/null || missing+=(python3)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)

if command -v apt-get >/dev/null; then
  for package in nlohmann-json3-dev libfmt-dev libspdlog-dev libcli11-dev libarchive-dev libpng-dev zlib1g-dev dataset-fashion-mnist; do
    installed "$package" || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ] || ! has_catch2; then
    wanted="${missing[*]}"
    has_catch2 || wanted="$wanted catch2 (version 3)"
    if [ "$(id -u)" != 0 ]; then
      command -v sudo >/dev/null || fail "these packages are missing and neither root nor sudo is at hand: $wanted"
      say "sudo is used to install packages"
      sudo true || fail "sudo was refused; install these packages and run this again: $wanted"
    fi
    say "reading the package lists"
    apt_quiet update || fail "apt-get update failed; see build/logs/apt.log"
  fi
  if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]}"
    apt_quiet install -y --no-install-recommends "${missing[@]}" || fail "apt-get could not install ${missing[*]}; see build/logs/apt.log"
  fi
  if ! has_catch2; then
    . /etc/os-release
    if ! offers_catch2 && [ "${ID:-}" = debian ]; then
      say "adding Debian's ${VERSION_CODENAME}-backports for Catch2 3"
      printf 'Types: deb\nURIs: http://deb.debian.org/debian\nSuites: %s-backports\nComponents: main\nSigned-By: %s\n' \
        "$VERSION_CODENAME" /usr/share/keyrings/debian-archive-keyring.gpg |
        as_root tee "/etc/apt/sources.list.d/$VERSION_CODENAME-backports.sources" >/dev/null
      apt_quiet update || fail "apt-get update failed after adding $VERSION_CODENAME-backports; see build/logs/apt.log"
    fi
    if offers_catch2; then
      version=$(apt-cache madison catch2 | awk '{print $3}' | sort -V | tail -n 1)
      say "installing catch2 $version"
      # Packages whose version differs from the default one are named with theirs.
      names=("catch2=$version")
      [ -z "$(apt-cache madison libcatch2-dev)" ] || names+=("libcatch2-dev=$version")
      apt_quiet install -y --no-install-recommends "${names[@]}" || fail "apt-get could not install catch2 $version; see build/logs/apt.log"
    else
      say "no package of Catch2 3 here: CMake will download it"
    fi
  fi
elif [ ${#missing[@]} -gt 0 ]; then
  fail "this is not a Debian-like system; install these and run this again: ${missing[*]}"
fi

# --- Python: torch (unless there is one), and what draws the charts
torch_of() { "$1" -c 'import importlib.metadata as m; print(m.version("torch"))' 2>/dev/null || true; }

if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
  say "making the Python environment .venv"
  logged pip.log python3 -m venv --clear .venv || fail "python3 -m venv .venv failed; see build/logs/pip.log"
fi
if ! has_python_packages "${python_packages[@]}"; then
  say "installing ${python_packages[*]} into .venv"
  pip_install "${python_packages[@]}" || fail "pip could not install ${python_packages[*]}; see build/logs/pip.log"
fi

if [ -n "${LIBTORCH_ROOT:-}" ]; then
  say "LibTorch: LIBTORCH_ROOT=$LIBTORCH_ROOT"
elif [ -n "${LRA_PYTHON:-}" ]; then
  [ -n "$(torch_of "$LRA_PYTHON")" ] || fail "LRA_PYTHON=$LRA_PYTHON has no torch; unset it or name a Python that has torch $torch_version"
  say "LibTorch: torch $(torch_of "$LRA_PYTHON") of $LRA_PYTHON"
elif [ -n "$(torch_of .venv/bin/python)" ]; then
  say "LibTorch: torch $(torch_of .venv/bin/python) of .venv"
elif [[ "$(torch_of python3)" == "$torch_version"* ]]; then
  say "LibTorch: torch $(torch_of python3) of $(command -v python3)"
else
  kind=${LRA_TORCH:-}
  if [ -z "$kind" ]; then
    if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then kind=cuda; else kind=cpu; fi
  fi
  case $kind in
    cuda)
      say "installing torch $torch_version (CUDA build, several GB) into .venv"
      # ===: exactly this name, so that no CPU build (2.13.0+cpu) that pip may see is taken for it.
      pip_install "torch===$torch_version" || fail "pip could not install torch $torch_version; see build/logs/pip.log"
      ;;
    cpu)
      say "installing torch $torch_version (CPU build, 190 MB) into .venv"
      # Named +cpu, which the default index hasn't: gigabytes of CUDA are never taken for it. A local or company index may have it (first
      # try); PyTorch's own has it.
      pip_install "torch==$torch_version+cpu" ||
        pip_install --retries 2 --timeout 60 --extra-index-url https://download.pytorch.org/whl/cpu "torch==$torch_version+cpu" ||
        fail "pip could not install torch $torch_version+cpu from the default index or from download.pytorch.org; see build/logs/pip.log"
      ;;
    *) fail "LRA_TORCH=$kind: use cpu or cuda" ;;
  esac
fi

# --- Vega's JavaScript for the report's page, as a plain <script> that defines vegaEmbed
bundle=.venv/share/lra/vega_bundle.js
if [ ! -s "$bundle" ]; then
  say "writing Vega's JavaScript to $bundle"
  logged pip.log .venv/bin/python scripts/write_vega_bundle.py "$bundle" || fail "Vega's JavaScript could not be written; see build/logs/pip.log"
fi

# --- build
say "configuring build/release"
logged cmake.log cmake --preset release -DLRA_WERROR="${LRA_WERROR:-OFF}" || {
  grep -A 8 'CMake Error' build/logs/cmake.log >&2 || true
  fail "CMake could not configure build/release; see build/logs/cmake.log"
}
build "$@"
say "ready: build/release/bin/lra-run, build/release/bin/lra-report"
