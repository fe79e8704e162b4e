#!/usr/bin/env bash
# Uses a SoftHSM token by eight tasks for some minutes, while the faulty module misbehaves by chance:
#   Scripts/soak.sh [MINUTES [late]]        10 unless given
# With `late`, the deadline is 20 ms and calls outlast it again and again. It fails when an answer was wrong, sessions or
# objects were left behind, calls hang still, memory grew, or the token was not used again within 35 s of the last fault.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-10} mood=${2:-ordinary}
swift build -c release --product Soak --quiet
soak=$(swift build -c release --show-bin-path)/Soak

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
Scripts/faulty-module.sh "$work/faulty.so"
mkdir "$work/tokens"
printf 'directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n' "$work" >"$work/softhsm2.conf"
export SOFTHSM2_CONF=$work/softhsm2.conf SWIFT_BACKTRACE=enable=no
(umask 077; head -c 9 /dev/urandom | base64 >"$work/pin")
softhsm2-util --init-token --free --label soak --so-pin "$(head -c 9 /dev/urandom | base64)" --pin "$(cat "$work/pin")" \
  >/dev/null
# What holds all the time.
echo "count-sessions $work/faulty.so.conf.sessions" >"$work/faulty.so.conf.base"
"$soak" $((minutes * 60)) "$work/faulty.so" "$work/faulty.so.conf" soak "$work/pin" "$mood"
