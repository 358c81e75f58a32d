# Sourced by the other scripts: the repository's root, one line per step, one clear sentence on failure.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '== %s\n' "$*"; }
fail() {
  trap - ERR
  printf 'error: %s\n' "$*" >&2
  exit 1
}
trap 'fail "$(basename "$0") stopped in line $LINENO at: $BASH_COMMAND"' ERR

# logged LOG COMMAND...: runs it with its output in build/logs/LOG; false if it fails.
logged() {
  local log="$root/build/logs/$1"
  shift
  mkdir -p "$root/build/logs"
  printf '$ %s\n' "$*" >>"$log"
  "$@" >>"$log" 2>&1 </dev/null
}
