#!/usr/bin/env bash
# What the access log costs an operation, beside a floor in C, and how fast it is read:
#   ROUNDS=5 Scripts/bench/log.sh [EVENTS] [MIB]
# CPU counts all threads, writing, hashing and signing included; what makes the events is left out, or what a wrap in
# memory costs without a log. In each round the floor is taken just before.
. "$(dirname "$0")/prepare.sh"
events=${1:-300000} mib=${2:-1024}
build AccessLogWriter strongroom
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc -O2 -pthread -o "$work/logfloor" Scripts/bench/logfloor.c -lcrypto

for signed in "" signed; do
  for callers in 1 2; do
    for _ in $(seq "${ROUNDS:-5}"); do
      "$work/logfloor" "$work" "$events" "$callers" $signed
      for what in "" wraps; do
        echo "${what:-events}: $("$BIN/AccessLogWriter" "$work/log" written "$events" "$callers" $signed $what)"
        rm -rf "$work/log"
      done
    done | python3 -c '
import re, statistics, sys
cpu = {}
for line in sys.stdin:
    cpu.setdefault(line.split(":")[0], []).append(int(re.search(r"cpu (\d+) ns", line)[1]) / 1000)
text = lambda v: f"{statistics.median(v):.2f} us ({min(v):.2f} to {max(v):.2f})"
ratio = lambda v: "%.2f" % statistics.median(a / b for a, b in zip(v, cpu["floor"]))
print(sys.argv[1], "| CPU an event | floor", text(cpu["floor"]), "| events", text(cpu["events"]), ratio(cpu["events"]),
      "of the floor | of wraps", text(cpu["wraps"]), ratio(cpu["wraps"]))' "${signed:-unsigned}, $callers callers"
  done
done
# Whether it holds more the longer it is.
for part in 10 1; do
  printf '%s' "signed, $((events / part)) events: "
  "$BIN/AccessLogWriter" "$work/log" written $((events / part)) 2 signed
  rm -rf "$work/log"
done

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
