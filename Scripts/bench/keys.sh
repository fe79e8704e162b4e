#!/usr/bin/env bash
# Wrapping and unwrapping through everything (manager, decorator, log `written`, sessions) on SoftHSM, against the C floor
# of the same run: Scripts/bench/keys.sh [ROUNDS [SECONDS]]. In each round the floor is taken before and after; medians.
# The 99th percentile is held against that of the token's bare calls, made in the same process. Beside it python-pkcs11,
# which logs nothing and keeps no versions; skipped with a word where it cannot be installed.
. "$(dirname "$0")/prepare.sh"
with_token "$@"
build strongroom
export BIN ROUNDS=${1:-5} SECONDS_EACH=${2:-1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc -O2 -pthread $(pkg-config --cflags p11-kit-1) -o "$work/p11floor" Scripts/bench/p11floor.c -ldl
for algorithm in A256KW A256GCM; do
  cat >"$work/$algorithm.yaml" <<END
provider: hsm
providers: { hsm: { type: pkcs11, uri: "$STRONGROOM_TEST_URI", wrap-algorithms: [$algorithm] } }
access-log: { path: $work/log }
END
done
export PEER=
if has_python pkcs11 python-pkcs11; then PEER=$python
else echo "skipped: python-pkcs11 (pip install python-pkcs11, in .build/bench)"; fi
export WORK=$work MODULE=$(sed -n 's/.*module-path=\([^&]*\).*/\1/p' <<<"$STRONGROOM_TEST_URI")
python3 - <<'END'
import json, os, statistics, subprocess
work, seconds = os.environ["WORK"], os.environ["SECONDS_EACH"]
pin = open(os.environ["STRONGROOM_TEST_PIN_FILE"]).read().strip()

def rates(command, **given):
    out = subprocess.run(command, check=True, capture_output=True, text=True, **given).stdout
    return {line.split()[0]: float(line.split()[2]) for line in out.splitlines()}

def floor(callers):
    return rates([work + "/p11floor", os.environ["MODULE"], "test", pin, str(callers), seconds])

def peer():
    return rates([os.environ["PEER"], "Scripts/bench/wrap_pkcs11.py", os.environ["MODULE"], "test", seconds], input=pin + "\n")

def bench(algorithm, callers):
    out = subprocess.run([os.environ["BIN"] + "/strongroom", "bench", "--config", f"{work}/{algorithm}.yaml", "--only", "keys",
                          "--callers", str(callers), "--seconds", seconds, "--json"], check=True, capture_output=True, text=True).stdout
    return {row["what"]: row for row in json.loads(out)["rows"]}

def shown(values, digits=2):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"

names = {"A256KW": ("kw-wrap", "kw-unwrap"), "A256GCM": ("gcm-wrap", "gcm-unwrap")}
print("| | callers | a second | of the C floor | p99 of the bare calls' |\n|---|---|---|---|---|")
for algorithm, (wrap, unwrap) in names.items():
    for callers in (1, 2):
        rows = {wrap: [], unwrap: []}
        for _ in range(int(os.environ["ROUNDS"])):
            before, measured, after = floor(callers), bench(algorithm, callers), floor(callers)
            for name, what, bare in ((wrap, "encrypt", "bare calls: wrap"), (unwrap, "decrypt", "bare calls: unwrap")):
                rate = measured[what]["per_second"]
                rows[name].append((rate, rate / statistics.mean((before[name], after[name])),
                                   measured[what]["p99_us"] / measured[bare]["p99_us"]))
        for name, values in rows.items():
            made, shares, tails = zip(*values)
            print(f"| {name} | {callers} | {statistics.median(made):,.0f} | {shown(shares)} | {shown(tails)} |")
if os.environ["PEER"]:
    rounds = [(floor(1), peer(), floor(1)) for _ in range(int(os.environ["ROUNDS"]))]
    for name in rounds[0][1]:
        shares = [made[name] / statistics.mean((before[name], after[name])) for before, made, after in rounds]
        print(f"| python-pkcs11: {name} | 1 | {statistics.median(r[1][name] for r in rounds):,.0f} | {shown(shares)} | |")
END
