#!/usr/bin/env bash
# Compiles the kernels for every listed GPU architecture and links all programs with them (CI compiles one).
#
#   ./scripts/build_all_architectures.sh              into build/all-architectures
#   ./scripts/build_all_architectures.sh portable     the same as programs for another machine (docs/gpu.md), tested
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
preset=${1:-all-architectures}
case $preset in
  all-architectures | portable) ;;
  *)
    printf "build_all_architectures: unknown preset '%s': all-architectures or portable\n" "$preset" >&2
    exit 64
    ;;
esac
"$root/scripts/setup.sh" --test
"$root/scripts/build.sh" "$preset"

# Every kernel's compile line must hold every architecture: a cache of an older configuration would pass otherwise.
"$root/.venv/bin/python" - "$root/build/$preset" <<'PYTHON'
import json
import pathlib
import re
import sys

folder = pathlib.Path(sys.argv[1])
kernels = [entry for entry in json.loads((folder / "compile_commands.json").read_text()) if entry["file"].endswith(".cu")]
listed = {"80", "86", "89", "90a", "100", "120"}
found = {entry["file"]: set(re.findall(r"code=\[?(?:compute_\w+,)?sm_(\w+)", entry["command"])) for entry in kernels}
for file, architectures in found.items():
    if architectures != listed:
        sys.exit(f"{file} is compiled for {sorted(architectures)}, not for {sorted(listed)}")
if not found:
    sys.exit("no kernel was compiled: is PENSTOCK_CUDA off?")
print(f"{len(found)} kernel files, each for {', '.join(sorted(listed, key=lambda name: (len(name), name)))}")
PYTHON
if [[ $preset == portable ]]; then
  PENSTOCK_PACKAGE=$root/build/portable/package "$root/.venv/bin/python" -m pytest -q -p no:cacheprovider \
    "$root/tests/cli/portable_test.py"
fi
