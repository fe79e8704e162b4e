#!/usr/bin/env bash
# Installs what is missing, then checks the format and runs every test.
set -euo pipefail
cd "$(dirname "$0")/.."

Scripts/setup.sh test
# A test whose material could not be fetched is skipped with its reason.
Scripts/fetch-vectors.sh || echo "test: no test-vector packages; their tests are skipped" >&2
Scripts/interop/setup.sh || echo "test: no Python packages; interoperability tests are skipped" >&2

swift format lint --strict --recursive --parallel Sources Tests Package.swift
Scripts/check-docc.sh
export SWIFT_BACKTRACE=enable=no
swift build --build-tests --quiet
# All at once, each would wait long for one of the two cores, and clocks run while it waits.
swift test --skip-build --experimental-maximum-parallelization-width 6 "$@"
