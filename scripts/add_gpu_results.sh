#!/usr/bin/env bash
# Measures Penstock beside its peers on this machine's card and adds the result to bench/results.
#
#   ./scripts/add_gpu_results.sh [OPTIONS OF bench/peers/run_peers.py]
#   ./scripts/add_gpu_results.sh --case all --megatrain ../MegaTrain --llmq ../llmq
#
# Sets up and builds what is missing. The file is named after the card; it holds card, driver, CPU and RAM, and no name
# or path of the machine. Peers that need a package or a checkout that is not there are listed as skipped.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
smi=$(command -v nvidia-smi || printf '/usr/lib/wsl/lib/nvidia-smi')
card=$("$smi" --query-gpu=name --format=csv,noheader -i 0 2>/dev/null | head -n1) || card=""
if [[ -z $card ]]; then
  printf 'add_gpu_results: no card: nvidia-smi finds none\n' >&2
  exit 70
fi
name=$(tr '[:upper:]' '[:lower:]' <<<"$card" | sed -e 's/^nvidia //; s/geforce //; s/[^a-z0-9]\+/_/g; s/^_//; s/_$//')

"$root/scripts/setup.sh" --test >&2
"$root/scripts/build.sh" release >&2
"$root/.venv/bin/python" "$root/bench/peers/run_peers.py" --out "$name" "$@"
printf '\nbench/results/%s.json and %s.txt are what to send: git add, commit, pull request\n' "$name" "$name"
