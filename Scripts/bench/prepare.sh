# Sourced by the scripts beside it. The project's root becomes the working folder.
set -euo pipefail
script=$(realpath "$0")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# An operator's own configuration has no part in this.
for variable in "${!STRONGROOM_@}"; do [[ $variable == STRONGROOM_TEST_* ]] || unset "$variable"; done

# Starts the script again with a throw-away SoftHSM token, unless it has one: with_token "$@"
with_token() { [ -n "${STRONGROOM_TEST_URI:-}" ] || exec Scripts/with-softhsm.sh "$script" "$@"; }

# Builds products, unless BIN says where they are: build PRODUCT...
build() {
  [ -z "${BIN:-}" ] || return 0
  local product
  for product in "$@"; do swift build -c release --static-swift-stdlib --product "$product" --quiet; done
  BIN=$(swift build -c release --show-bin-path)
}

# Whether Python has a module, after an attempt to install its package beside the build, outside git (PIP=no: none is
# made): has_python MODULE PACKAGE. It is run by $python.
python=$PWD/.build/bench/bin/python
has_python() {
  [ -x "$python" ] || [ "${PIP:-}" = no ] || python3 -m venv "$(dirname "$(dirname "$python")")" || return 1
  "$python" -c "import $1" 2>/dev/null && return
  [ "${PIP:-}" != no ] && "$python" -m pip -q install "$2" >/dev/null 2>&1 && "$python" -c "import $1" 2>/dev/null
}
