#!/usr/bin/env bash
# Fetches data sets from their official addresses, goes on where an earlier call stopped, and checks them.
#
#   scripts/fetch_data.sh [imdb|cifar10|lra_release|all] [DIR]     default: all, into $LRA_DATA/downloads or data/downloads; DIR from the repository's root
#
# lra_release is 7.7 GB. Environment: LRA_MIRROR (an address that has files of the same names, used in place of the official ones).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

what=${1:-all}
folder=${2:-${LRA_DATA:-data}/downloads}
attempts=5

case $what in
  all) names=(imdb cifar10 lra_release) ;;
  imdb | cifar10 | lra_release) names=("$what") ;;
  *) fail "usage: scripts/fetch_data.sh [imdb|cifar10|lra_release|all] [DIR]; found '$what'" ;;
esac
command -v curl >/dev/null || fail "curl is missing; install it (apt-get install curl) and run this again"
mkdir -p "$folder" || fail "the folder $folder cannot be made"

# describe NAME: sets address, bytes and md5 (empty where none is published), and the tasks made of it.
describe() {
  bytes='' md5=''
  case $1 in
    imdb)
      address=https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz
      bytes=84125825 md5=7c2ac02c03563afcf9b574c7e56c153a tasks='text'
      ;;
    cifar10)
      address=https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz
      bytes=170052171 md5=c32a1d4ab5d03f1284b67883e8d87530 tasks='image'
      ;;
    lra_release)
      address=https://storage.googleapis.com/long-range-arena/lra_release.gz
      tasks='retrieval, pathfinder, pathfinder64, pathx, pathfinder256 or listops'
      ;;
  esac
  [ -z "${LRA_MIRROR:-}" ] || address=${LRA_MIRROR%/}/${address##*/}
}

size_of() { if [ -f "$1" ]; then stat -c %s "$1"; else echo 0; fi; }

# The length that the server announces, or nothing.
announced_size() {
  curl -sfIL --connect-timeout 20 --max-time 60 "$1" 2>/dev/null | tr -d '\r' | awk 'tolower($1) == "content-length:" {n = $2} END {print n}' || true
}

# reason CODE STATUS: what curl's exit code says.
reason() {
  case $1 in
    6) echo "its host name cannot be resolved (no network, or a proxy is needed)" ;;
    7) echo "its host refuses the connection or cannot be reached" ;;
    18 | 56) echo "the connection broke off" ;;
    22) echo "the server answered with HTTP status $2" ;;
    23) echo "the file cannot be written (is the disk full?)" ;;
    28) echo "nothing came for a minute" ;;
    35 | 51 | 53 | 54 | 58 | 59 | 60) echo "no secure connection could be made" ;;
    *) echo "curl ended with code $1" ;;
  esac
}

problem() { printf 'error: %s\n' "$*" >&2; }

# transfer ADDRESS PART: fetches the rest of PART; false, with a sentence on the error stream, if that cannot be done.
transfer() {
  local address=$1 part=$2 attempt code status before
  local quiet=(--silent)
  [ ! -t 2 ] || quiet=(--progress-bar)
  for ((attempt = 1; ; ++attempt)); do
    before=$(size_of "$part") code=0
    # No --retry: it would begin at the same place each time, not where the last attempt ended.
    status=$(curl -fL "${quiet[@]}" --connect-timeout 20 --speed-limit 1 --speed-time 60 -C - -o "$part" -w '%{http_code}' "$address") || code=$?
    [ $code != 0 ] || return 0
    if [ $code = 33 ]; then
      say "the server cannot go on where the last call stopped: beginning again"
      rm -f "$part"
    elif [ $code = 22 ] && [[ $status = 4* ]] && [ "$status" != 408 ] && [ "$status" != 429 ] || [ $code = 23 ]; then
      break
    elif [ $attempt -ge $attempts ] && [ "$(size_of "$part")" -le "$before" ]; then
      break
    elif [ "$(size_of "$part")" -gt "$before" ]; then
      attempt=0
      say "the connection broke off after $(size_of "$part") bytes: going on from there"
    else
      sleep "${LRA_FETCH_PAUSE:-$((attempt * attempt))}"
    fi
  done
  problem "$address cannot be fetched: $(reason $code "$status"); try again later, or fetch it by other means and put it at ${part%.part}"
  return 1
}

fetch() {
  local name=$1 file part found
  describe "$name"
  file=$folder/${address##*/} part=$file.part
  if [ ! -f "$file" ]; then
    [ -n "$bytes" ] || bytes=$(announced_size "$address")
    say "$name: fetching $address${bytes:+ ($((bytes / 1000000)) MB)} into $folder"
    local left=$((${bytes:-0} - $(size_of "$part"))) free
    free=$(df --output=avail -B1 "$folder" | tail -n 1)
    if [ "$left" -gt "$free" ]; then
      problem "$folder has $((free / 1000000)) MB free, $name needs $((left / 1000000)) MB more; name another folder"
      return 1
    fi
    if [ -z "$bytes" ] || [ "$(size_of "$part")" != "$bytes" ]; then transfer "$address" "$part" || return 1; fi
    mv "$part" "$file"
  fi
  if [ -n "$bytes" ] && [ "$(size_of "$file")" != "$bytes" ]; then
    problem "$file has $(size_of "$file") bytes, expected $bytes; delete it and run this again"
    return 1
  fi
  if [ -n "$md5" ]; then
    found=$(md5sum "$file" | cut -d ' ' -f 1)
    if [ "$found" != "$md5" ]; then
      problem "$file has the MD5 $found, expected $md5; delete it and run this again"
      return 1
    fi
    say "$name: $file is complete (MD5 $md5)"
  else
    say "$name: $file is there (no checksum is published; unpacking it will tell whether it is whole)"
  fi
  say "next: lra-run data prepare TASK --from $file, where TASK is $tasks"
}

failed=()
for name in "${names[@]}"; do
  fetch "$name" || failed+=("$name")
done
[ ${#failed[@]} = 0 ] || fail "not fetched: ${failed[*]}"
