#!/usr/bin/env bash
# Feeds what takes bytes from outside with anything, by libFuzzer and with the address sanitizer:
#   Scripts/fuzz.sh [MINUTES [TARGET ...]]        1 minute for each of cbor, envelope, file, configuration, uri, log
# It fails at a crash, a hang of 10 s, or memory out of proportion to the input (Tests/FuzzTargets says how much). The
# input is left in .build/fuzz/TARGET-…; mend the fault and put the input into Fixtures/fuzz/TARGET, which the suite runs.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-1}
shift || true
targets=("$@")
[ $# -gt 0 ] || targets=(cbor envelope file configuration uri log)

# Two programs' main: libFuzzer's comes first.
build=(--configuration release --scratch-path .build/fuzz --sanitize fuzzer --sanitize address
  -Xlinker --allow-multiple-definition)
swift build "${build[@]}" --product Fuzzer --quiet
fuzzer=$(swift build "${build[@]}" --show-bin-path)/Fuzzer

for target in "${targets[@]}"; do
  new=.build/fuzz/corpus/$target
  mkdir -p "$new"
  limits=(-max_len=4096 -rss_limit_mb=1024 -malloc_limit_mb=64 -timeout=10)
  dictionary=Fixtures/fuzz/$target.dict
  [ ! -e "$dictionary" ] || limits+=("-dict=$dictionary")
  echo "== $target, $minutes minutes"
  # New inputs are kept for the next run; those that teach something belong into Fixtures/fuzz.
  FUZZ_TARGET=$target SWIFT_BACKTRACE=enable=no "$fuzzer" "${limits[@]}" -max_total_time=$((minutes * 60)) \
    -print_final_stats=1 -artifact_prefix=".build/fuzz/$target-" "$new" "Fixtures/fuzz/$target" 2>&1 |
    grep -vE '^#[0-9]+.*(NEW|REDUCE|RELOAD|pulse|INITED)|NEW_FUNC' || [ "${PIPESTATUS[0]}" -eq 0 ]
done
