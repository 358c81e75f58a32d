# Sourced by the other scripts: the repository's root, one line per step, one clear sentence on failure.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '== %s\n' "$*"; }
fail() {
  trap - ERR
  printf 'error: %s\n' "$*" >&2
  exit 1
}
# Ctrl-C ends a script without a word; a command that handles it itself ends with 130.
trap 'exit 130' INT
trap '[ $? = 130 ] && exit 130; fail "$(basename "$0") stopped in line $LINENO at: $BASH_COMMAND"' ERR

# logged LOG COMMAND...: runs it with its output in build/logs/LOG; false if it fails.
logged() {
  local log="$root/build/logs/$1"
  shift
  mkdir -p "$root/build/logs"
  printf '$ %s\n' "$*" >>"$log"
  "$@" >>"$log" 2>&1 </dev/null
}

# build TARGET...: builds them in build/release, which is configured; all without a name.
build() {
  # A file that includes LibTorch takes 1.5 GB to compile. A container may have less memory than its machine.
  local memory limit jobs quiet=()
  memory=$(awk '/MemAvailable/ {print $2}' /proc/meminfo)
  for file in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
    limit=$(cat "$file" 2>/dev/null) || continue
    case $limit in *[!0-9]* | "") continue ;; esac
    [ $((limit / 1024)) -ge "$memory" ] || memory=$((limit / 1024))
  done
  jobs=$((memory / 1572864))
  [ "$jobs" -lt "$(nproc)" ] || jobs=$(nproc)
  [ "$jobs" -ge 1 ] || jobs=1
  say "building ${*:-everything} with $jobs jobs (the first time it takes minutes)"
  [ -t 1 ] || quiet=(--quiet)
  ninja -C build/release -j "$jobs" "${quiet[@]}" "$@" || fail "the build failed; the compiler's message is above"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}
apt_quiet() { logged apt.log as_root env DEBIAN_FRONTEND=noninteractive apt-get -q "$@"; }
installed() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

# has_python_packages NAME==VERSION...: whether .venv has them all
has_python_packages() {
  .venv/bin/python - "$@" 2>/dev/null <<'PY'
import importlib.metadata, sys
sys.exit(any(importlib.metadata.version(name) != version for name, version in (p.split("==") for p in sys.argv[1:])))
PY
}
pip_install() { logged pip.log .venv/bin/python -m pip install --disable-pip-version-check --no-input "$@"; }
