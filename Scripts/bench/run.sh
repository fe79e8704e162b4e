#!/usr/bin/env bash
# Runs every benchmark, some 30 minutes, and writes what they say into docs/performance.md, with the machine and commands:
#   Scripts/bench/run.sh [SCRIPT ...]       keys fields files startup rewrap log growth, unless some are named
# Leave the machine alone meanwhile. Peers that are not installed are skipped with a word. The page stays as it is where
# a script fails, or only some were named.
. "$(dirname "$0")/prepare.sh"
scripts=("$@") failed=
[ $# -gt 0 ] || scripts=(keys fields files startup rewrap log growth)
# Here, so that nothing that a build says is among the figures.
build strongroom FieldCost AccessLogWriter
export BIN
results=$(mktemp)
trap 'rm -f "$results"' EXIT
{
  echo "Machine: $(nproc) processors, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(free -h | awk '/Mem/ { print $2 }') of memory;"
  echo "$(. /etc/os-release && echo "$PRETTY_NAME"), Linux $(uname -r), $(swift --version 2>/dev/null | sed -n 's/.*Swift version \([^ ]*\).*/Swift \1/p' | head -n 1), commit $(git rev-parse --short HEAD), $(date -u +%F)."
} >"$results"
for script in "${scripts[@]}"; do
  echo "== $script" >&2
  { echo; echo "\`Scripts/bench/$script.sh\`"; echo; echo '```text'; } >>"$results"
  "Scripts/bench/$script.sh" 2>&1 | tee -a /dev/stderr >>"$results" || failed+=" $script"
  echo '```' >>"$results"
done
[ -z "$failed" ] || { echo "$0: failed:$failed; docs/performance.md stays as it was" >&2; exit 1; }
[ $# -eq 0 ] || exit 0
RESULTS=$results python3 - <<'END'
import os
path, begin = "docs/performance.md", "<!-- What follows is written by Scripts/bench/run.sh. -->\n"
text = open(path).read()
head = text.split(begin)[0].rstrip("\n")
with open(path + ".new", "w") as file:
    file.write(f"{head}\n\n{begin}\n## The last whole run\n\n" + open(os.environ["RESULTS"]).read())
os.replace(path + ".new", path)
END
