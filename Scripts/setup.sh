#!/usr/bin/env bash
# Installs what the project needs and this machine lacks: Debian packages only, asking nothing.
#   Scripts/setup.sh build|demo|test
set -euo pipefail

packages=(git libgfshare-dev libisal-dev libjemalloc-dev libp11-kit-dev libsqlite3-dev libssl-dev pkg-config)
case "${1:-build}" in
  build) ;;
  demo) packages+=(softhsm2) ;;
  test)
    packages+=(
      softhsm2 bindfs chromium fuse3 gcc libc6-dev libgfshare-bin libnss3 libnss3-tools opensc opensc-pkcs11 openssl
      p11-kit prometheus python3 python3-venv python3-pip sqlite3)
    ;;
  *) echo "usage: $0 build|demo|test" >&2; exit 2 ;;
esac

if ! command -v swift >/dev/null; then
  echo "setup: Swift 6.3 is not installed; see https://www.swift.org/install/linux/" >&2
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "setup: installing ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "setup: run it as root, or install: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
