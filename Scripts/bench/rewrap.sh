#!/usr/bin/env bash
# Bulk rewrap on SoftHSM against the C floor (kw-unwrap and kw-wrap) of the same run:
#   Scripts/bench/rewrap.sh [FIELDS] [FILES] [MIB_EACH]
# Five rounds of the fields (ROUNDS), and one of the files. Needs what Scripts/setup.sh installs, a C compiler, and room
# in $TMPDIR for the files (1,000 of 10 MiB by default).
. "$(dirname "$0")/prepare.sh"
with_token "$@"
fields=${1:-100000} files=${2:-1000} mib=${3:-10} rounds=${ROUNDS:-5}
build strongroom
PATH=$BIN:$PATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc -O2 -pthread $(pkg-config --cflags p11-kit-1) -o "$work/p11floor" Scripts/bench/p11floor.c -ldl
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
# The mean time a call of the two, as a rate.
per_second() { awk -v name="$1" '$1 == name { time += 1 / $3; n++ } END { printf "%.0f", n / time }' floor; }
show() { printf '%-44s %9s s %10s/s %6d MiB\n' "$1" "$seconds" "$(rate "$2")" "$((kib / 1024))"; }

strongroom key create bench >/dev/null
python3 -c "
print('id,value')
for i in range($fields): print(f'{i},value {i:08d}')" >plain.csv
timed strongroom encrypt plain.csv -o fields.csv --column value --row-key id
show "encrypt $fields fields" "$fields"
# The floor is taken before and after each run, as a virtual machine's speed changes by the minute; then the medians.
run_floor() { "$work/p11floor" "$module" test "$(cat "$STRONGROOM_TEST_PIN_FILE")" "$jobs" 2 | tee -a floor >/dev/null; }
for jobs in 1 2; do
  : >runs
  for ((round = 1; round <= rounds; round++)); do
    : >floor
    strongroom key rotate bench --reason bench >/dev/null
    run_floor
    timed strongroom rewrap fields.csv --column value --row-key id --jobs "$jobs"
    run_floor
    show "rewrap $fields fields, CSV, $jobs jobs" "$fields"
    echo "$(rate "$fields") $(per_second kw-wrap) $(per_second kw-unwrap)" >>runs
  done
  python3 - "$jobs" <<'END'
import statistics, sys
ratios, checked = [], []
for line in open("runs"):
    rate, wrap, unwrap = map(float, line.split())
    ratios.append(rate * (1 / wrap + 1 / unwrap))
    checked.append(rate * (1 / wrap + 2 / unwrap))
def shown(values): return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
print(f"  of the floor with {sys.argv[1]} threads: {shown(ratios)} of kw-unwrap + kw-wrap; "
      f"{shown(checked)} with the check's second kw-unwrap")
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
