#!/usr/bin/env bash
# Configures when needed and builds one preset of CMakePresets.json into build/<preset>.
#
#   ./scripts/build.sh [PRESET]   default: release
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
preset=${1:-release}
cd "$root"

# A new virtual environment may hold another torch or Python: paths found in the old one are worth nothing.
if [[ ! -f build/$preset/build.ninja || .venv/pyvenv.cfg -nt build/$preset/CMakeCache.txt ]]; then
  cmake --fresh --preset "$preset"
fi
cmake --build --preset "$preset"
