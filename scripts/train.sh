#!/usr/bin/env bash
# Sets up what is missing, builds, and trains.
#
#   ./scripts/train.sh CONFIG [section.key=value ...]
#
# CONFIG is looked for from where you are, then in the repository; one from there runs there, so that its relative
# paths hold. The rest goes to `penstock train` as it is.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if (($# == 0)); then
  printf 'usage: %s CONFIG [section.key=value ...], e.g. configs/quickstart.yaml\n' "$0" >&2
  exit 64
fi
config=$1
shift
if [[ $config != -* ]]; then
  if [[ ! -e $config && -e $root/$config ]]; then cd "$root"; fi
  if [[ ! -e $config ]]; then
    printf 'train: %s does not exist, neither here nor in %s\n' "$config" "$root" >&2
    exit 65
  fi
fi

# Standard output belongs to the program.
"$root/scripts/setup.sh" >&2
"$root/scripts/build.sh" release >&2
exec "$root/build/release/penstock" train "$config" "$@"
