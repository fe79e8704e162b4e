#!/usr/bin/env bash
# Builds the PKCS#11 module that misbehaves on request (Fixtures/faulty-module/README.md):
#   Scripts/faulty-module.sh LIBRARY.so
# Sanitizers and the like go into CFLAGS.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 LIBRARY.so" >&2; exit 2; }
source=$(dirname "$0")/../Fixtures/faulty-module
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
include=$(pkg-config --cflags-only-I p11-kit-1)
read -r folder <<<"${include#-I}"

# Every CKR, CKM and CKA that the header has a number for.
sed -nE 's/^#define[[:space:]]+(CK[RMA]_[A-Z0-9_]+)[[:space:]]+\(.*/X(\1)/p' "$folder/p11-kit/pkcs11.h" >"$work/names.inc"
# shellcheck disable=SC2086
cc -std=gnu11 -O1 -g -Wall -Wextra -Wno-unused-parameter -Werror -shared -fPIC -fvisibility=hidden ${CFLAGS:-} \
  -DCRYPTOKI_EXPORTS $include -I "$work" -o "$work/module.so" "$source"/*.c -ldl -lpthread
mv "$work/module.so" "$1"
