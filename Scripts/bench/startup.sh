#!/usr/bin/env bash
# How long `strongroom encrypt` of a small file takes with a SoftHSM token, beside pkcs11-tool, which logs in and lists
# the keys: Scripts/bench/startup.sh [ROUNDS]. One after the other in each round; medians of wall clock.
. "$(dirname "$0")/prepare.sh"
with_token "$@"
build strongroom
export BIN ROUNDS=${1:-40}
command -v pkcs11-tool >/dev/null || { echo "$0: pkcs11-tool is not installed (opensc)" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/strongroom.yaml" <<END
provider: hsm
providers: { hsm: { type: pkcs11, uri: "$STRONGROOM_TEST_URI" } }
data-at-rest: { kms-key-id: bench }
access-log: { path: $work/log }
END
cd "$work"
echo "a small file" >small
"$BIN/strongroom" key create bench >/dev/null
MODULE=$(sed -n 's/.*module-path=\([^&]*\).*/\1/p' <<<"$STRONGROOM_TEST_URI") python3 - <<'END'
import os, statistics, subprocess, time
pin = open(os.environ["STRONGROOM_TEST_PIN_FILE"]).read().strip()
strongroom = os.environ["BIN"] + "/strongroom"
commands = {
    "pkcs11-tool, log in and list keys": ["pkcs11-tool", "--module", os.environ["MODULE"], "--token-label", "test",
        "--login", "--pin", "env:PIN", "--list-objects", "--type", "secrkey"],
    "strongroom encrypt": [strongroom, "encrypt", "small", "-o", "sealed", "--force"],
    "strongroom --version": [strongroom, "--version"],
}
times = {name: [] for name in commands}
for _ in range(int(os.environ["ROUNDS"])):
    for name, command in commands.items():
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"PIN": pin})
        times[name].append(time.perf_counter() - start)
first = statistics.median(times["pkcs11-tool, log in and list keys"])
for name, values in times.items():
    median = statistics.median(values)
    print(f"{name:40} {median * 1000:6.1f} ms   {median / first:5.2f}")
END
