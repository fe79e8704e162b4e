#!/usr/bin/env bash
# Makes the DocC documentation of the libraries in .build/docs/MODULE, to be shown by any web server.
#   Scripts/docs.sh [MODULE ...]
# In KMSCore, whose articles are the guides, a link that leads nowhere or an undocumented parameter is an error.
set -euo pipefail
cd "$(dirname "$0")/.."

modules=("$@")
[ $# -gt 0 ] || modules=(KMSCore KMSTesting Envelope AccessLog DataAtRest Strongroom)
bin=$(swift build --show-bin-path)
triple=$(swift -print-target-info | sed -n '0,/"triple"/s/.*"triple": "\(.*\)",/\1/p')
include=(-I "$bin/Modules")
for folder in Sources/C* "$bin"/C*.build .build/checkouts/*/Sources/C*/include; do include+=(-I "$folder"); done
for flag in $(pkg-config --cflags-only-I p11-kit-1 libcrypto); do include+=(-I "${flag#-I}"); done

for module in "${modules[@]}"; do
  graphs=.build/docs-symbols/$module
  rm -rf "$graphs" ".build/docs/$module"
  mkdir -p "$graphs" .build/docs
  swift build --quiet --target "$module"
  swift-symbolgraph-extract -module-name "$module" -target "$triple" "${include[@]}" -minimum-access-level public \
    -emit-extension-block-symbols -skip-inherited-docs -output-dir "$graphs"
  options=(--diagnostic-level error)
  [ "$module" != KMSCore ] || options=(Sources/KMSCore/Documentation.docc --warnings-as-errors)
  docc convert "${options[@]}" --additional-symbol-graph-dir "$graphs" --fallback-display-name "$module" \
    --fallback-bundle-identifier "strongroom.$module" --output-path ".build/docs/$module"
  echo ".build/docs/$module"
done
