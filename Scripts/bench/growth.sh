#!/usr/bin/env bash
# How time grows with what there is more of, as curves: keys in the token, callers, size of the log, keys in the cache.
#   Scripts/bench/growth.sh [FOLDER]        the SVG files go there, docs/performance unless given
# KEYS, CALLERS, LOG_MIB and CACHE say how far, PARTS which of the four, as lists with spaces.
. "$(dirname "$0")/prepare.sh"
with_token "$@"
build strongroom
export BIN OUT=${1:-docs/performance}
export PARTS=${PARTS:-keys callers log cache} KEYS=${KEYS:-1 100 1000 10000} CALLERS=${CALLERS:-1 2 4 8 16 32 64} LOG_MIB=${LOG_MIB:-16 64 256 1024} CACHE=${CACHE:-1 100 10000 100000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc -O2 $(pkg-config --cflags p11-kit-1) -o "$work/fillkeys" Scripts/bench/fillkeys.c -ldl
mkdir -p "$OUT"
WORK=$work MODULE=$(sed -n 's/.*module-path=\([^&]*\).*/\1/p' <<<"$STRONGROOM_TEST_URI") python3 Scripts/bench/growth.py
