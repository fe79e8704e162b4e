#!/usr/bin/env bash
# Runs a command with a throw-away SoftHSM token:
#   Scripts/with-softhsm.sh COMMAND [ARGUMENT ...]
# It finds SOFTHSM2_CONF, STRONGROOM_TEST_URI and STRONGROOM_TEST_PIN_FILE set. All is gone afterwards.
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: $0 COMMAND [ARGUMENT ...]" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
module=$(find /usr/lib -name libsofthsm2.so 2>/dev/null | head -n 1)
[ -n "$module" ] || { echo "$0: SoftHSM is not installed; run Scripts/setup.sh test" >&2; exit 1; }
random() { head -c 9 /dev/urandom | base64; }

mkdir "$work/tokens"
printf 'directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n' "$work" >"$work/softhsm2.conf"
(umask 077; random >"$work/pin")
export SOFTHSM2_CONF=$work/softhsm2.conf STRONGROOM_TEST_PIN_FILE=$work/pin
export STRONGROOM_TEST_URI="pkcs11:token=test?module-path=$module&pin-source=file:$work/pin"
softhsm2-util --init-token --free --label test --so-pin "$(random)" --pin "$(cat "$work/pin")" >/dev/null

status=0
"$@" || status=$?
exit "$status"
