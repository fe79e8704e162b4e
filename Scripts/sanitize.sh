#!/usr/bin/env bash
# Runs the tests under the address sanitizer (with leaks) and the thread sanitizer:
#   Scripts/sanitize.sh [address|thread|both [ARGUMENT OF swift test ...]]
# Each builds in a folder of its own (.build/address, .build/thread); some 30 minutes each on two cores. It fails when a
# test does or when a sanitizer has found something: what it says is left in the folder's `reports`.
set -euo pipefail
cd "$(dirname "$0")/.."
which=${1:-both}
shift || true
case $which in
  address | thread) kinds=("$which") ;;
  both) kinds=(address thread) ;;
  *) echo "usage: $0 [address|thread|both [ARGUMENT OF swift test ...]]" >&2; exit 2 ;;
esac
Scripts/setup.sh test

# What others leak and race for is not ours to mend: each line says whose it is.
suppressions=$PWD/Scripts/sanitizer-suppressions
export SWIFT_BACKTRACE=enable=no
# jemalloc and a sanitizer cannot both stand in for malloc (Package.swift).
export STRONGROOM_SANITIZED=1
status=0
for kind in "${kinds[@]}"; do
  folder=.build/$kind
  build=(--sanitize "$kind" --scratch-path "$folder")
  # gold cannot export some of the address sanitizer's own symbols, and says so a thousand times.
  swift build "${build[@]}" --build-tests --quiet 2>&1 | { grep -v 'gold: warning: Cannot export local symbol' || true; }
  rm -rf "$folder/reports"
  mkdir "$folder/reports"
  # The processes that tests start write their reports there as well.
  common="log_path=$PWD/$folder/reports/report"
  export ASAN_OPTIONS="detect_leaks=1:$common" LSAN_OPTIONS="suppressions=$suppressions/leaks:print_suppressions=0"
  export TSAN_OPTIONS="suppressions=$suppressions/races:$common"
  # Two at a time: deadlines of the programs under test pass where more of them share two slow processors.
  swift test "${build[@]}" --skip-build --experimental-maximum-parallelization-width 2 "$@" || status=1
  for report in "$folder"/reports/*; do
    [ -e "$report" ] || continue
    echo "== $report" >&2
    cat "$report" >&2
    status=1
  done
done
exit "$status"
