#!/usr/bin/env bash
# Sets up what is missing, builds, and runs the tests.
#
#   ./scripts/test.sh [CTEST ARGUMENTS]          e.g. -R AdamW
#   PENSTOCK_NIGHTLY=1 ./scripts/test.sh         the slow ones too
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/scripts/setup.sh" --test
"$root/scripts/build.sh" release

selection=(-LE nightly)
if [[ ${PENSTOCK_NIGHTLY:-0} == 1 ]]; then selection=(); fi
exec "$root/.venv/bin/python" "$root/scripts/run_ctest.py" ctest --test-dir "$root/build/release" -j2 --output-on-failure "${selection[@]}" "$@"
