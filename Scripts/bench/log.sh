#!/usr/bin/env bash
# What the access log costs an operation, and how fast it is read:
#   Scripts/bench/log.sh [EVENTS] [MIB]
# CPU counts all threads, writing, hashing and signing included; what makes the events is left out.
. "$(dirname "$0")/prepare.sh"
events=${1:-1000000} mib=${2:-1024}
build AccessLogWriter strongroom
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for signed in "" signed; do
  for callers in 1 2; do
    printf '%-28s ' "${signed:-unsigned}, $events events:"
    "$BIN/AccessLogWriter" "$work/log" written "$events" "$callers" $signed
    rm -rf "$work/log"
  done
done
printf '%-28s ' "signed, $((events / 10)) events:"
"$BIN/AccessLogWriter" "$work/log" written $((events / 10)) 2 signed
rm -rf "$work/log"

# A log of so many MiB, plain and then compressed, read with a filter that finds one line in a million.
export SIZE=$mib LOG=$work/log
mkdir "$LOG"
python3 - <<'END'
import os
size, folder = int(os.environ["SIZE"]) << 20, os.environ["LOG"]
with open(f"{folder}/access-20261124T000000.000000000Z-1.jsonl", "w") as out:
    n = written = 0
    while written < size:
        n += 1
        key = "rare" if n % 1000000 == 7 else "customer-pii"
        written += out.write(
            f'{{"timestamp":"2026-11-24T08:{n // 60000000 % 60:02d}:{n // 1000000 % 60:02d}.{n % 1000000:06d}000Z","sequence":{n},"operation":"unwrap",'
            f'"phase":"outcome","key_id":"{key}","key_version":"019ab3f0-1234-7abc-8def-0123456789ab","provider":"hsm",'
            f'"success":true,"accessed_by":"billing-service","request_id":"{n}","context_names":["table","column"],'
            f'"duration_us":41.207,"cached":false}}\n')
    print(f"{n} records, {written >> 20} MiB")
END
printf 'providers: { test: { type: memory } }\naccess-log: { path: %s }\n' "$LOG" >"$work/c.yaml"
scan() {
  for what in "wc -l" "grep -c '\"key_id\":\"rare\"'"; do
    /usr/bin/time -f "%e s, %U s user, %M KiB  plain scan: $1$what" sh -c "$1$what $2 | cat >/dev/null"
  done
  /usr/bin/time -f '%e s, %U s user, %M KiB  log show --key rare' \
    "$BIN/strongroom" log show --key rare --config "$work/c.yaml" >"$work/found"
  /usr/bin/time -f '%e s, %U s user, %M KiB  log show --since 08:00:02 --outcome failure' \
    "$BIN/strongroom" log show --since 2026-11-24T08:00:02Z --outcome failure --config "$work/c.yaml"
  wc -l <"$work/found"
}
cat "$LOG"/* >/dev/null
echo "not compressed:"
scan "" "$LOG/*.jsonl"
gzip -6 "$LOG"/*.jsonl
echo "compressed, $(du -m "$LOG" | cut -f 1) MiB:"
scan "zcat $LOG/*.gz | " "-"
