#!/usr/bin/env bash
# Sets up what the build and the running program need: system packages, then .venv with torch and nvcc.
# Idempotent; with nothing to do it only compares a stamp. Called by train.sh and test.sh.
#
#   ./scripts/setup.sh          what the product needs
#   ./scripts/setup.sh --test   also what the tests compare with (transformers ...)
#
# Asks before any sudo, and refuses instead when nobody can answer. Exit codes as penstock's: 64 usage, 69 the machine
# lacks something, 74 disk or network.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
needed_disk_gb=8       # 4.6 GB of wheels installed, their downloads beside them for a while
minimum_driver=580.65  # CUDA 13

apt_packages=(g++ cmake ninja-build ccache lld pkg-config python3-venv libyaml-cpp-dev libgtest-dev libgmock-dev
  libbenchmark-dev libcli11-dev nlohmann-json3-dev libspdlog-dev libfmt-dev libsimdjson-dev libxxhash-dev
  libhwloc-dev)
dnf_packages=(gcc-c++ cmake ninja-build ccache lld pkgconf-pkg-config python3 yaml-cpp-devel gtest-devel gmock-devel
  google-benchmark-devel cli11-devel json-devel spdlog-devel fmt-devel simdjson-devel xxhash-devel
  hwloc-devel)
pacman_packages=(gcc cmake ninja ccache lld pkgconf python yaml-cpp gtest benchmark cli11 nlohmann-json spdlog fmt
  simdjson xxhash hwloc)

say() { printf 'setup: %s\n' "$*"; }

fail() {
  local code=$1
  shift
  printf 'setup: %s\n' "$*" >&2
  exit "$code"
}

# Prints the packages of this system that are not installed.
missing_apt() {
  local installed
  # dpkg-query fails when it does not know one of the names; what it does know is printed all the same.
  installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "${apt_packages[@]}" 2>/dev/null || true)
  local package
  for package in "${apt_packages[@]}"; do
    grep -qxF "installed $package" <<<"$installed" || printf '%s\n' "$package"
  done
}

missing_by() { # QUERY... -- PACKAGE...
  local query=()
  while [[ $1 != -- ]]; do
    query+=("$1")
    shift
  done
  shift
  local package
  for package in "$@"; do
    "${query[@]}" "$package" >/dev/null 2>&1 || printf '%s\n' "$package"
  done
}

install_packages() {
  local missing command
  if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
    mapfile -t missing < <(missing_apt)
    command=(apt-get install -y --no-install-recommends)
  elif command -v dnf >/dev/null; then
    mapfile -t missing < <(missing_by rpm -q --whatprovides -- "${dnf_packages[@]}")
    command=(dnf install -y)
  elif command -v pacman >/dev/null; then
    mapfile -t missing < <(missing_by pacman -Q -- "${pacman_packages[@]}")
    command=(pacman -S --needed --noconfirm)
  else
    say "no apt, dnf or pacman here: the packages' names on Debian are: ${apt_packages[*]}"
    return
  fi
  if ((${#missing[@]} == 0)); then return; fi
  command+=("${missing[@]}")
  if [[ $(id -u) == 0 ]]; then
    say "installing ${missing[*]}"
    run_installer "${command[@]}"
    return
  fi
  say "these system packages are missing; this installs them:"
  printf '  sudo %s\n' "${command[*]}"
  [[ -t 0 ]] || fail 69 "run that line, then this script again (there is no terminal here to ask whether sudo may be used)"
  command -v sudo >/dev/null || fail 69 "run that line as root, then this script again (sudo is not installed)"
  local answer
  read -r -p 'setup: run it now? [y/N] ' answer || answer=no
  [[ $answer == [yY]* ]] || fail 69 "run that line, then this script again"
  run_installer sudo "${command[@]}"
}

run_installer() {
  local command=("$@") update=()
  [[ ${command[0]} == sudo ]] && update=(sudo)
  if [[ " ${command[*]} " == *" apt-get "* ]]; then
    "${update[@]}" apt-get update -qq || fail 74 "apt-get update failed: check the network and /etc/apt, then run this again"
    command=("${update[@]}" env DEBIAN_FRONTEND=noninteractive "${command[@]:${#update[@]}}")
  fi
  "${command[@]}" || fail 74 "installing the system packages failed: see the lines above, then run this again"
}

# One line on the GPU's driver; an old one is no error, because the host device needs none.
check_driver() {
  local version=""
  local pattern='[0-9]{3,}\.[0-9]+(\.[0-9]+)?'
  if [[ -r /proc/driver/nvidia/version ]]; then
    version=$(grep -m1 NVRM /proc/driver/nvidia/version | grep -oE "$pattern" | head -n1 || true)
  elif command -v nvidia-smi >/dev/null; then
    version=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | grep -oE "$pattern" | head -n1 || true)
  else
    return 0
  fi
  if [[ -z $version ]]; then
    say "there is an NVIDIA driver but it does not tell its version: the GPU needs $minimum_driver or newer (CUDA 13)"
  elif [[ $(printf '%s\n' "$minimum_driver" "$version" | sort -V | head -n1) == "$minimum_driver" ]]; then
    say "NVIDIA driver $version is new enough for CUDA 13"
  else
    say "NVIDIA driver $version is too old for CUDA 13: update it to $minimum_driver or newer to use the GPU (the host device works without)"
  fi
}

check_disk() {
  compgen -G "$venv/lib/python3*/site-packages/torch/lib/libtorch_cpu.so" >/dev/null && return
  local free_gb
  free_gb=$(($(df -Pk "$root" | awk 'NR == 2 {print $4}') / 1000000))
  ((free_gb >= needed_disk_gb)) ||
    fail 74 "$root has $free_gb GB free and the set-up needs $needed_disk_gb GB: free some space or move the clone to a larger disk"
}

create_venv() {
  if "$venv/bin/python" -c 'import pip' 2>/dev/null; then return; fi
  command -v python3 >/dev/null || fail 69 "python3 is not installed: install Python 3.10 or newer, then run this again"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail 69 "$(command -v python3) is $(python3 --version): put Python 3.10 or newer first in PATH, then run this again"
  python3 -c 'import venv, ensurepip' 2>/dev/null ||
    fail 69 "$(command -v python3) has no venv module: install python3-venv (Debian, Ubuntu), then run this again"
  say "creating $venv with $(python3 --version)"
  python3 -m venv --clear "$venv" || fail 74 "python3 -m venv $venv failed: check that the directory may be written"
}

install_requirements() {
  local options=(--disable-pip-version-check)
  [[ -t 1 ]] || options+=(--quiet)
  say "installing the Python packages into $venv (the first time downloads about 5 GB)"
  "$venv/bin/python" -m pip install "${options[@]}" "$@" ||
    fail 74 "pip could not install the packages: see the lines above, check network and disk, then run this again"
}

main() {
  local requirements=("$root/requirements.txt") stamp=$venv/setup-stamp
  case "${1:-}" in
    "") ;;
    --test)
      requirements+=("$root/requirements-test.txt")
      stamp=$venv/setup-stamp-test
      ;;
    *) fail 64 "unknown argument '$1': the only option is --test" ;;
  esac

  install_packages
  check_driver
  local wanted
  wanted=$(cat "$root/scripts/setup.sh" "${requirements[@]}" | sha256sum)
  if [[ -x $venv/bin/python && -r $stamp && $(<"$stamp") == "$wanted" ]]; then return; fi

  check_disk
  create_venv
  local arguments=() file
  for file in "${requirements[@]}"; do arguments+=(-r "$file"); done
  install_requirements "${arguments[@]}"
  printf '%s\n' "$wanted" >"$stamp"
  say "done"
}

main "$@"
