#!/usr/bin/env bash
# Files beside what they cannot be faster than (the copy of cp, the cipher of evpfloor.c) and beside their peers, on a
# memory-backed file system:
#   Scripts/bench/files.sh [MIB] [ROUNDS] [WHAT…]
# WHAT: strongroom age openssl tink aws; all of them when it is left out. Peers that are not here are skipped.
# Installed for it, outside git: .build/bench holds a Python environment with tink and aws-encryption-sdk (PIP=no skips
# it). FOLDER (/dev/shm), and BIN as in the other scripts.
. "$(dirname "$0")/prepare.sh"
with_token "$@"
mib=${1:-1024} rounds=${2:-5}
what=("${@:3}")
[ ${#what[@]} -gt 0 ] || what=(strongroom age openssl tink aws)
build strongroom
PATH=$BIN:$PATH
bench=$PWD/Scripts/bench
cores=$(nproc)
work=$(mktemp -d -p "${FOLDER:-/dev/shm}")
trap 'rm -rf "$work"' EXIT
cc -O2 -pthread -o "$work/evpfloor" "$bench/evpfloor.c" -lcrypto
cd "$work"
cat >strongroom.yaml <<END
provider: hsm
providers: { hsm: { type: pkcs11, uri: "$STRONGROOM_TEST_URI" } }
data-at-rest: { kms-key-id: bench }
END
strongroom key create bench >/dev/null
head -c "$((mib << 20))" /dev/urandom >plain

wants() { [[ " ${what[*]} " == *" $1 "* ]]; }
skip() { echo "skipped: $1"; }

# The system gives back what was free for a while, and is slow to get it again: memory that was just freed is not.
warm() { head -c "$((mib << 20))" /dev/zero >warm; rm warm; }
# A command that makes `out`: seconds, CPU seconds and peak memory to the file `runs`. What is made for the next command
# is kept as the name given first.
timed() {
  local name=$1 kept=$2
  shift 2
  rm -f out
  warm
  /usr/bin/time -q -f '%e %U %S %M' -o timing "$@" >output 2>&1 || { cat output >&2; return 1; }
  echo "$name|$(cat timing)" >>runs
  if [ -n "$kept" ] && [ ! -e "$kept" ]; then mv out "$kept"; else rm -f out; fi
}
floor() {
  local threads
  for threads in 1 "$cores"; do ./evpfloor "$threads" 0.5 1048560 0 >>floor; done
}

strongroom_round() {
  timed 'strongroom encrypt' sealed strongroom encrypt plain -o out
  timed 'strongroom decrypt' '' strongroom decrypt sealed -o out
  timed 'strongroom encrypt, pipes' '' sh -c 'cat plain | strongroom encrypt - -o - | cat >out'
  timed 'strongroom decrypt, pipes' '' sh -c 'cat sealed | strongroom decrypt - -o - | cat >out'
}
age_round() {
  timed 'age' aged age -r "$recipient" -o out plain
  timed 'age -d' '' age -d -i age.key -o out aged
}
openssl_round() {
  timed 'openssl enc -aes-256-ctr (no authentication)' ctr openssl enc -aes-256-ctr -K "$key" -iv "$iv" -in plain -out out
  timed 'openssl enc -d' '' openssl enc -d -aes-256-ctr -K "$key" -iv "$iv" -in ctr -out out
  timed 'openssl cms -aes-256-gcm' cms openssl cms -encrypt -binary -stream -outform DER -aes-256-gcm \
    -secretkey "$key" -secretkeyid 01 -in plain -out out
  timed 'openssl cms -decrypt' '' openssl cms -decrypt -binary -inform DER -secretkey "$key" -secretkeyid 01 -in cms -out out
}
tink_round() {
  timed 'tink (Python, AES256_GCM_HKDF_1MB)' tinked "$python" "$bench/tinkfile.py" encrypt plain out
  timed 'tink, opening' '' "$python" "$bench/tinkfile.py" decrypt tinked out
}
aws_round() {
  timed 'aws-encryption-sdk (Python, raw key)' awsed "$python" "$bench/awsfile.py" encrypt plain out
  timed 'aws-encryption-sdk, opening' '' "$python" "$bench/awsfile.py" decrypt awsed out
}

peers=()
wants strongroom && peers+=(strongroom)
if wants age; then
  if command -v age >/dev/null; then
    age-keygen -o age.key 2>/dev/null
    recipient=$(age-keygen -y age.key) peers+=(age)
  else skip "age (apt-get install age)"; fi
fi
if wants openssl; then
  key=$(openssl rand -hex 32) iv=$(openssl rand -hex 16) peers+=(openssl)
fi
if wants tink; then
  if has_python tink.streaming_aead tink; then peers+=(tink); else skip "tink (pip install tink, in .build/bench)"; fi
fi
if wants aws; then
  if has_python aws_encryption_sdk aws-encryption-sdk; then peers+=(aws)
  else skip "aws (pip install aws-encryption-sdk, in .build/bench)"; fi
fi

for ((round = 1; round <= rounds; round++)); do
  floor
  timed 'cp' '' cp plain out
  for peer in "${peers[@]}"; do
    "${peer}_round" || skip "$peer: it failed"
  done
  timed 'cp' '' cp plain out
  floor
done

python3 - "$mib" "$cores" <<'END'
import statistics, sys
mib, cores = int(sys.argv[1]), int(sys.argv[2])
gib = mib / 1024
runs = {}
for line in open("runs"):
    name, figures = line.strip().split("|")
    runs.setdefault(name, []).append([float(figure) for figure in figures.split()])
floor = {}
for line in open("floor"):
    words = line.split()
    for what, ns in ((words[3], words[4]), (words[5], words[6])):
        floor.setdefault((int(words[2]), what), []).append(float(ns))
median = statistics.median
rate = lambda threads, what: threads * 1048560 / median(floor[threads, what])  # GB/s
copy = mib * 1.048576e-3 / median(run[0] for run in runs["cp"])
print(f"{mib} MiB, {cores} cores; medians, with the range")
for threads in sorted({1, cores}):
    print(f"bare EVP, {threads} threads: seal {rate(threads, 'seal'):.2f} GB/s, open {rate(threads, 'open'):.2f} GB/s")
print(f"cp: {copy:.2f} GB/s")
for name, all in runs.items():
    wall = [run[0] for run in all]
    cpu = [run[1] + run[2] for run in all]
    bytes = mib * 1.048576
    line = (f"{name:48} {median(wall):6.2f} s ({min(wall):.2f} to {max(wall):.2f})  {bytes * 1e-3 / median(wall):5.2f} GB/s"
            f"  CPU {median(cpu) / bytes * 1e3:6.2f} ns/byte  {max(run[3] for run in all) / 1024:5.0f} MiB")
    if name in ("strongroom encrypt", "strongroom decrypt"):
        what = "seal" if name.endswith("encrypt") else "open"
        limit = min(copy, cores * rate(1, what))
        line += f"  {bytes * 1e-3 / median(wall) / limit:.2f} of the limit"
    print(line)
END
