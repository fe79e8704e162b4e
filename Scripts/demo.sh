#!/usr/bin/env bash
# The whole life of a key, on a private SoftHSM token: made, used, rotated; data rewrapped and opened again.
# Leaves nothing behind but the build.
set -euo pipefail
cd "$(dirname "$0")/.."
# An operator's own configuration has no part in this.
unset "${!STRONGROOM_@}"

Scripts/setup.sh demo
echo "building (the first time takes some minutes) ..."
swift build --product strongroom --quiet
project=$PWD
PATH=$(swift build --show-bin-path):$PATH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }
[ -t 1 ] || say() { printf '\n== %s\n' "$*"; }

say "A private token"
export HOME=$work SOFTHSM2_CONF=$work/softhsm2.conf
mkdir tokens
printf 'directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n' "$work" >"$SOFTHSM2_CONF"
(umask 077; head -c 9 /dev/urandom | base64 >pin)
softhsm2-util --init-token --free --label demo --so-pin "$(head -c 9 /dev/urandom | base64)" --pin "$(cat pin)" >/dev/null
module=$(find /usr/lib -name libsofthsm2.so | head -n 1)

say "A configuration, and a key made inside the token"
run strongroom init --module "$module" --token demo --pin-source file:pin --key customer-pii
run strongroom doctor

say "The access log is signed by another key in the token; its public half is kept apart"
sed -i 's|^access-log: .*|access-log: { path: ./signed-log, signing-key: access-log }|' strongroom.yaml
strongroom log key --create | tee log.pub

say "A file and a table of records are encrypted"
cp "$(command -v strongroom)" program
cp "$project/Fixtures/people.csv" people.csv
run strongroom encrypt program -o program.sealed --context path=program
run strongroom encrypt people.csv -o people.sealed.csv --context table=people \
  --column email --column card_number --row-key id
sed -n '1,4s/^\(.\{100\}\).*/\1 .../p' people.sealed.csv
run strongroom inspect program.sealed

say "The key is rotated; the data is rewrapped for its new version, bodies untouched"
run strongroom key rotate customer-pii --reason "demo"
run strongroom rewrap program.sealed --context path=program
run strongroom rewrap people.sealed.csv --context table=people --column email --column card_number --row-key id
run strongroom key list

say "Everything opens again, byte for byte"
run strongroom decrypt program.sealed -o program.opened --context path=program
run strongroom decrypt people.sealed.csv -o people.opened.csv --context table=people \
  --column email --column card_number --row-key id
cmp program program.opened
cmp people.csv people.opened.csv
echo "both are the same as before"

say "Another context does not open it"
if strongroom decrypt program.sealed -o other --context path=other; then exit 1; else echo "exit code $?"; fi
[ ! -e other ]

say "The access log (its end) and the report"
strongroom log show --since 10m | tail -n 12
strongroom report --since 1h | sed -n '1,45p'

say "Nobody can change that log unseen"
run strongroom log verify signed-log --public-key log.pub
sed -i '2s/"success":true/"success":null/' "$(find signed-log -name '*.jsonl' | sort | tail -n 1)"
if strongroom log verify signed-log --public-key log.pub; then exit 1; else echo "exit code $?"; fi
