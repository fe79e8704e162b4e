#!/usr/bin/env bash
# What a field costs through everything, beside the cipher alone (evpfloor.c: the same plaintext and associated data, a
# context that is used again, random IVs drawn in blocks); a million rows in constant memory; and the rewrap of shared
# DEKs on SoftHSM:
#   Scripts/bench/fields.sh [PLAINTEXT] [FIELDS] [DEKS]
# Medians of five rounds (ROUNDS), the floor taken before and after each measurement.
. "$(dirname "$0")/prepare.sh"
with_token "$@"
plaintext=${1:-64} fields=${2:-1000000} deks=${3:-100} rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-0.3}
build FieldCost
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc -O2 -pthread -o "$work/floor" Scripts/bench/evpfloor.c -lcrypto
# Enc_structure of a field with three pairs in its context: 85 bytes.
floor() { "$work/floor" "$1" "$seconds" "$plaintext" 85 | sed "s/^/$2 /" >>"$work/runs"; }

for ((round = 1; round <= rounds; round++)); do
  for mode in each summary; do
    for callers in 1 2; do
      floor "$callers" "$mode"
      "$BIN/FieldCost" "$seconds" "$plaintext" "$mode" "$callers" >>"$work/runs"
      floor "$callers" "$mode"
      echo end >>"$work/runs"
    done
  done
done
python3 - "$work/runs" <<'END'
import collections, statistics, sys
ratios, times = collections.defaultdict(list), collections.defaultdict(list)
part = []
for line in open(sys.argv[1]):
    if line.strip() != "end":
        part.append(line.split())
        continue
    floors = [p for p in part if p[1] == "floor"]
    seal, open_ = (statistics.mean(float(p[i]) for p in floors) for i in (5, 7))
    for mode, callers, kind, s, o in (p for p in part if p[1] != "floor"):
        ratios[mode, callers, kind].append((float(s) / seal, float(o) / open_))
        times[mode, callers, kind].append((float(s), float(o), seal, open_))
    part = []
print(f"{'log':8} {'callers':7} {'fields a call':13} {'sealed':>20} {'opened':>20} {'floor':>13}")
for key, values in sorted(ratios.items(), key=lambda item: (item[0][0], item[0][2], item[0][1])):
    ns = [statistics.median(v) for v in zip(*times[key])]
    ratio = [statistics.median(v) for v in zip(*values)]
    shown = [f"{ns[i]:.0f} ns = {ratio[i]:.2f}" for i in (0, 1)]
    many = {"one": "1", "batch": "1000"}[key[2]]
    print(f"{key[0]:8} {key[1]:7} {many:13} {shown[0]:>20} {shown[1]:>20} {ns[2]:>6.0f} {ns[3]:>6.0f}")
END
"$BIN/FieldCost" rows "$fields"
"$BIN/FieldCost" deks "$fields" "$deks"
