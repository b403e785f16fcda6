#!/usr/bin/env bash
# Everything that only a card can check, into one folder of logs: the GPU tests, compute-sanitizer over the kernel
# tests, the benches of kernels, launches and the link. Works in a clone and in the folder of a portable build, without
# network or root.
#
#   ./scripts/gpu_tests.sh [RESULTS_FOLDER]           default: gpu_results
#
#   PENSTOCK_PROGRAMS=DIR      where test_cuda and the benches are (default: beside scripts/, else build/release)
#   PENSTOCK_SANITIZER=FILE    compute-sanitizer (default: the one in PATH or in /usr/local/cuda/bin)
#   PENSTOCK_KERNEL_TESTS=F    GoogleTest filter of what runs under it (default: the kernel tests); it is slow
#
# Exit codes: 0 all that ran passed, 1 something failed, 70 no card.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
results=${1:-gpu_results}
failed=0

say() { printf '%s\n' "$*" | tee -a "$results/summary.txt"; }

# The program's path, in a portable package or in a build folder; empty if it is in neither.
program() {
  local folder folders=("$root" "$root/build/release/tests" "$root/build/release/bench")
  if [[ -n ${PENSTOCK_PROGRAMS:-} ]]; then folders=("$PENSTOCK_PROGRAMS"); fi
  for folder in "${folders[@]}"; do
    if [[ -x $folder/$1 && ! -d $folder/$1 ]]; then
      printf '%s\n' "$folder/$1"
      return
    fi
  done
}

# run NAME COMMAND...: its output into NAME.log, one line of summary.
run() {
  local name=$1 begin=$SECONDS status
  shift
  "$@" >"$results/$name.log" 2>&1
  status=$?
  if grep -q '^\[==========\] 0 tests from 0 test suites ran' "$results/$name.log"; then
    say "FAILED   $name: no test has that name (PENSTOCK_KERNEL_TESTS)"
    failed=1
  elif ((status == 0)); then
    say "passed   $name ($((SECONDS - begin)) s)"
  else
    say "FAILED   $name (exit code $status): $results/$name.log"
    failed=1
  fi
}

count_skipped() { # LOG
  local count
  count=$(grep -cE '^\[  SKIPPED \] [^ ]+ \([0-9]+ ms\)$' "$1")
  if ((count > 0)); then
    say "SKIPPED  $count tests of $(basename "$1" .log): they checked nothing"
  fi
}

smi=$(command -v nvidia-smi || printf '/usr/lib/wsl/lib/nvidia-smi')
if ! "$smi" -L >/dev/null 2>&1; then
  printf 'gpu_tests: no card: nvidia-smi finds none\n' >&2
  exit 70
fi
mkdir -p "$results" || exit 74
: >"$results/summary.txt"
"$smi" --query-gpu=name,memory.total,driver_version,compute_cap --format=csv >"$results/card.txt"
say "$(tail -n1 "$results/card.txt")"

tests=$(program test_cuda)
if [[ -z $tests ]]; then
  say "MISSING  test_cuda: build first, or set PENSTOCK_PROGRAMS"
  failed=1
else
  run test_cuda "$tests" --gtest_brief=0
  count_skipped "$results/test_cuda.log"
  sanitizer=${PENSTOCK_SANITIZER:-$(command -v compute-sanitizer || printf '/usr/local/cuda/bin/compute-sanitizer')}
  if [[ -x $sanitizer ]]; then
    for tool in memcheck racecheck initcheck synccheck; do
      # The launcher of a portable build becomes the test program: the tool must follow it.
      run "sanitizer_$tool" "$sanitizer" --tool "$tool" --target-processes all --error-exitcode 99 \
        "$tests" --gtest_filter="${PENSTOCK_KERNEL_TESTS:-*KernelSuite*:CudaKernels.*}"
    done
  else
    say "NOT RUN  compute-sanitizer: not found (pip and apt have it: cuda-sanitizer); set PENSTOCK_SANITIZER"
  fi
fi

# run_bench NAME OPTIONS...
run_bench() {
  local bench
  bench=$(program "$1")
  if [[ -n $bench ]]; then
    run "$1" "$bench" "${@:2}"
  else
    say "NOT RUN  $1: not built"
  fi
}
run_bench kernel_bench --benchmark_enable_random_interleaving=true --benchmark_repetitions=9 \
  --benchmark_report_aggregates_only=true
run_bench launch_bench
run_bench link_bench
exit "$failed"
