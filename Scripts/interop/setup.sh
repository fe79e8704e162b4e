#!/usr/bin/env bash
# A Python environment with independent implementations of COSE and Tink, for the interoperability tests.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=.build/interop-venv
[ -e "$venv/ready" ] && exit 0
rm -rf "$venv"
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check cwt pycose tink cryptography
touch "$venv/ready"
