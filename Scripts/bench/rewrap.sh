#!/usr/bin/env bash
# Bulk rewrap on SoftHSM against the C floor (kw-unwrap and kw-wrap) of the same run:
#   Scripts/bench/rewrap.sh [FIELDS] [FILES] [MIB_EACH]
# Needs what Scripts/setup.sh installs, a C compiler, and room in $TMPDIR for the files (1,000 of 10 MiB by default).
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -z "${STRONGROOM_TEST_URI:-}" ]; then exec Scripts/with-softhsm.sh "$0" "$@"; fi
fields=${1:-100000} files=${2:-1000} mib=${3:-10}
[ -n "${SKIP_BUILD:-}" ] || swift build -c release --product strongroom --quiet
PATH=$(swift build -c release --show-bin-path):$PATH
floor=${FLOOR_SOURCE:-../shared/bench/p11floor.c}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc -O2 -pthread $(pkg-config --cflags p11-kit-1) -o "$work/p11floor" "$floor" -ldl
cd "$work"
cat >strongroom.yaml <<END
provider: hsm
providers: { hsm: { type: pkcs11, uri: "$STRONGROOM_TEST_URI" } }
data-at-rest: { kms-key-id: bench }
END
module=$(sed -n 's/.*module-path=\([^&]*\).*/\1/p' <<<"$STRONGROOM_TEST_URI")

# seconds and peak MiB of a command
timed() { /usr/bin/time -f '%e %M' -o timing "$@" >output 2>errors || { cat output errors >&2; exit 1; }; read -r seconds kib <timing; }
rate() { python3 -c "print(f'{$1 / $seconds:.0f}')"; }
per_second() { awk -v name="$1" '$1 == name { print $3 }' floor; }
show() { printf '%-44s %9s s %10s/s %6d MiB\n' "$1" "$seconds" "$(rate "$2")" "$((kib / 1024))"; }

strongroom key create bench >/dev/null
python3 -c "
print('id,value')
for i in range($fields): print(f'{i},value {i:08d}')" >plain.csv
timed strongroom encrypt plain.csv -o fields.csv --column value --row-key id
show "encrypt $fields fields" "$fields"
for jobs in 1 2; do
  strongroom key rotate bench --reason bench >/dev/null
  "$work/p11floor" "$module" test "$(cat "$STRONGROOM_TEST_PIN_FILE")" "$jobs" 3 >floor
  timed strongroom rewrap fields.csv --column value --row-key id --jobs "$jobs"
  show "rewrap $fields fields, CSV, $jobs jobs" "$fields"
  python3 - "$(per_second kw-wrap)" "$(per_second kw-unwrap)" "$(rate "$fields")" "$jobs" <<'END'
import sys
wrap, unwrap, rate = map(float, sys.argv[1:4])
floor = 1 / (1 / wrap + 1 / unwrap)
checked = 1 / (1 / wrap + 2 / unwrap)
print(f"  floor, {sys.argv[4]} threads: kw-unwrap + kw-wrap {floor:.0f}/s, ratio {rate / floor:.2f}; "
      f"with the check's second kw-unwrap {checked:.0f}/s, ratio {rate / checked:.2f}")
END
done

[ "$files" -gt 0 ] || exit 0
mkdir folder
head -c "$((mib << 20))" /dev/urandom >plain
strongroom encrypt plain -o folder/1
# A file's rewrap looks at its header alone: copies of one file, each with blocks of its own, will do.
for ((i = 2; i <= files; i++)); do cp --reflink=never folder/1 "folder/$i"; done
sync
strongroom key rotate bench --reason bench >/dev/null
timed strongroom rewrap folder
show "rewrap $files files of $mib MiB" "$files"
strongroom key rotate bench --reason bench >/dev/null
timed strongroom rewrap folder --in-place
show "the same, --in-place" "$files"
